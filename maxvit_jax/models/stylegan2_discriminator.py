"""The residual discriminator of StyleGAN2 (Karras et al., CVPR 2020,
https://arxiv.org/abs/1912.04958, section 4.1), as HiT-GAN uses it: without equalised learning
rates.

Numerics follow google-research/hit-gan.
"""

import math
from functools import partial

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from common.config import require
from common.errors import nearest_valid
from common.layers.blur_pool import blur_pool
from common.layers.conv import conv
from common.layers.mlp import Dense

SMALLEST_MAP = 4
STDDEV_GROUP = 4

leaky_relu = partial(nn.leaky_relu, negative_slope=0.2)
_init = nn.initializers.glorot_uniform()


class ResidualDown(nn.Module):
    """Two convolutions with a blurred halving between, added to a blurred and projected shortcut.

    Attributes:
      features: output channels.
      dtype: compute type.
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[batch, height, width, in]` to `[batch, height / 2, width / 2, features]`."""
        dense = partial(Dense, use_bias=False, dtype=self.dtype, kernel_init=_init)
        shortcut = dense(self.features, name="shortcut")(blur_pool(x))
        convolve = partial(conv, dtype=self.dtype, kernel_init=_init)
        x = leaky_relu(convolve(x.shape[-1], name="conv_0")(x))
        x = leaky_relu(convolve(self.features, name="conv_1")(blur_pool(x)))
        return (x + shortcut) / math.sqrt(2)


def minibatch_stddev(x: Array) -> Array:
    """Appends a channel: how much images differ from others (arXiv:1710.10196, section 3).

    The standard deviation over a group of images, averaged over positions and channels. Images of a
    group are as far apart in the batch as can be.

    Args:
      x: `[batch, height, width, channels]`; a batch above `STDDEV_GROUP` is a multiple of it.

    Returns:
      `[batch, height, width, channels + 1]`.

    Raises:
      UserError: a batch that doesn't divide into groups.
    """
    group = min(len(x), STDDEV_GROUP)
    hint = f"for minibatch_stddev, {nearest_valid(len(x), group)}"
    require(len(x) % group == 0, f"batches of {len(x)} don't divide into groups of {group} {hint}")
    deviation = jnp.sqrt(jnp.var(x.reshape(group, -1, *x.shape[1:]), axis=0) + 1e-8)
    deviation = jnp.tile(deviation.mean((1, 2, 3)), group)
    channel = jnp.broadcast_to(deviation[:, None, None, None], (*x.shape[:-1], 1))
    return jnp.concatenate((x, channel), axis=-1)


class Discriminator(nn.Module):
    """Images to one logit each: how real they look.

    Attributes:
      widths: channels by map, that of the image first, each map half as long, the last of 4x4.
      minibatch_stddev: append the deviation over images of a batch to the last map.
      dtype: compute type; parameters and logits are float32.
    """

    widths: tuple[int, ...]
    minibatch_stddev: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Judges images.

        Args:
          images: `[batch, side, side, channels]`, values in -1..1; a side of `4 * 2^n` for n + 1
            widths.

        Returns:
          float32 `[batch]`.
        """
        convolve = partial(conv, dtype=self.dtype, kernel_init=_init)
        dense = partial(Dense, dtype=self.dtype, kernel_init=_init)
        x = leaky_relu(convolve(self.widths[0], name="conv_in")(images.astype(self.dtype)))
        for index, width in enumerate(self.widths[1:]):
            x = ResidualDown(width, dtype=self.dtype, name=f"down_{index}")(x)
        if self.minibatch_stddev:
            x = minibatch_stddev(x)
        x = leaky_relu(convolve(self.widths[-1], name="conv_out")(x))
        x = leaky_relu(dense(self.widths[-1], name="dense")(x.reshape(len(x), -1)))
        return dense(1, name="logit")(x)[:, 0].astype(jnp.float32)
