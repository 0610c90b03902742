"""Mixup (arXiv:1710.09412) and CutMix (arXiv:1905.04899) on device, inside the jitted step."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array


def mix(
    rng: Array,
    images: Array,
    labels: Array,
    mixup_alpha: float = 0.0,
    cutmix_alpha: float = 0.0,
    prepare: Callable[[Array, Array], tuple[Array, Array]] = lambda *batch: batch,
) -> tuple[Array, Array]:
    """Mixes every image and its label with those of a partner: the batch in reverse order.

    A share lambda ~ Beta(alpha, alpha) is drawn for every example. Mixup averages pixels; CutMix
    pastes a box of the partner, and the label share becomes the exact share of pixels kept. With
    both switched on, each batch gets one of them with equal probability.

    Where a batch is split over devices the partner lies on another one: uint8 images and integer
    labels, normalised and encoded by `prepare`, are a fraction of the bytes to move.

    Args:
      rng: key; a function of the step.
      images: `[batch, height, width, channels]`.
      labels: one-hot or soft `[batch, classes]`, or what `prepare` makes that of.
      mixup_alpha: a number of 0 or more; 0 switches mixup off.
      cutmix_alpha: a number of 0 or more; 0 switches CutMix off.
      prepare: applied to images and labels, and to the partners', before they are mixed.

    Returns:
      Images (in the type that `prepare` gives when floating, else float32) and float32 labels.
    """
    choice_rng, mixup_rng, cutmix_rng = jax.random.split(rng, 3)
    if mixup_alpha and cutmix_alpha:
        cut = jax.random.bernoulli(choice_rng)
        keep = jnp.where(
            cut,
            _cutmix_mask(cutmix_rng, images.shape, cutmix_alpha),
            _mixup_share(mixup_rng, images.shape, mixup_alpha),
        )
    elif cutmix_alpha:
        keep = _cutmix_mask(cutmix_rng, images.shape, cutmix_alpha)
    elif mixup_alpha:
        keep = _mixup_share(mixup_rng, images.shape, mixup_alpha)
    else:
        keep = None
    own, own_labels = prepare(images, labels)
    dtype = own.dtype if jnp.issubdtype(own.dtype, jnp.floating) else jnp.float32
    if keep is None:
        return own.astype(dtype), own_labels.astype(jnp.float32)
    partner, partner_labels = prepare(images[::-1], labels[::-1])
    mixed = keep * own.astype(jnp.float32) + (1 - keep) * partner.astype(jnp.float32)
    share = keep.mean((1, 2, 3))[:, None]
    mixed_labels = share * own_labels + (1 - share) * partner_labels
    return mixed.astype(dtype), mixed_labels.astype(jnp.float32)


def _mixup_share(rng: Array, shape: tuple[int, ...], alpha: float) -> Array:
    """The weight of an image's own pixels, `[batch, 1, 1, 1]`."""
    return jax.random.beta(rng, alpha, alpha, (shape[0], 1, 1, 1), jnp.float32)


def _cutmix_mask(rng: Array, shape: tuple[int, ...], alpha: float) -> Array:
    """1 where an image keeps its own pixels, 0 inside the box, `[batch, height, width, 1]`."""
    share_rng, center_rng = jax.random.split(rng)
    side = jnp.sqrt(1 - _mixup_share(share_rng, shape, alpha))
    inside = jnp.ones((), bool)
    for axis, axis_rng in zip((1, 2), jax.random.split(center_rng), strict=True):
        length = shape[axis]
        half = (side * length).astype(jnp.int32) // 2
        center = jax.random.randint(axis_rng, (shape[0], 1, 1, 1), 0, length)
        position = jax.lax.broadcasted_iota(jnp.int32, (1, *shape[1:3], 1), axis)
        inside &= (center - half <= position) & (position < center + half)
    return 1 - inside.astype(jnp.float32)
