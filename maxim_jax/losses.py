"""Training losses of MAXIM (arXiv:2201.02973): Charbonnier plus a frequency loss.

The training code was never released. The terms and their weights are the paper's (not checked
again); mean reduction and the unnormalised Fourier transform are our choice.
"""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def charbonnier_loss(restored: Array, target: Array, eps: float = 1e-3) -> Array:
    """Returns the mean of `sqrt(difference^2 + eps^2)`: L1 with a rounded tip.

    Args:
      restored: float32 `[batch, height, width, channels]`.
      target: the same.
      eps: width of the tip, on the images' scale.
    """
    return jnp.sqrt(jnp.square(restored - target) + eps**2).mean()


def frequency_loss(
    restored: Array, target: Array, norm: Literal["backward", "ortho", "forward"] = "backward"
) -> Array:
    """Returns the mean modulus of the difference of the images' 2-D Fourier transforms.

    Args:
      restored: float32 `[batch, height, width, channels]`; transformed over height and width.
      target: the same.
      norm: of the transform, as in `jnp.fft`: `"backward"` doesn't scale (so the loss grows with
        the image's side), `"ortho"` keeps the energy, `"forward"` divides by height x width.
    """
    difference = (restored - target).astype(jnp.complex64)
    # Products with the transform's matrices: XLA would gather a sharded batch before an FFT.
    rows, columns = (np.fft.fft(np.eye(n), norm=norm) for n in difference.shape[1:3])
    spectrum = jnp.einsum(
        "bhwc,hk,wl->bklc",
        difference,
        rows.astype(np.complex64),
        columns.astype(np.complex64),
        precision=jax.lax.Precision.HIGHEST,
    )
    return jnp.abs(spectrum).mean()  # its gradient at zero is zero


def multi_stage_loss(
    outputs: Sequence[Sequence[Array]],
    target: Array,
    *,
    eps: float = 1e-3,
    frequency_weight: float = 0.1,
    frequency_norm: Literal["backward", "ortho", "forward"] = "backward",
) -> Array:
    """Sums `charbonnier + frequency_weight * frequency` over all stages and scales.

    Args:
      outputs: per stage, per scale (finest first) `[batch, height / 2^s, width / 2^s, channels]`,
        as a MAXIM returns them.
      target: `[batch, height, width, channels]`; resized bilinearly, antialiased, to each scale.
      eps: of the Charbonnier term.
      frequency_weight: of the frequency term; 0 leaves it out.
      frequency_norm: of its transform.
    """
    total = jnp.zeros((), jnp.float32)
    for scales in zip(*outputs, strict=True):  # the stages' outputs of one scale
        resized = jax.image.resize(target, scales[0].shape, "bilinear")
        for restored in scales:
            total += charbonnier_loss(restored, resized, eps)
            if frequency_weight:
                total += frequency_weight * frequency_loss(restored, resized, frequency_norm)
    return total
