"""Augmentation that gradients pass through (DiffAugment, Zhao et al., NeurIPS 2020,
https://arxiv.org/abs/2006.10738), on device: real and made images are varied alike, so that a
discriminator can't learn a small set by heart.
"""

import jax
from jax import Array
from jax import numpy as jnp

from common.config import require
from common.errors import did_you_mean

SHIFT = 1 / 8  # of a side, at most
CUTOUT = 1 / 2  # of a side


def diff_augment(rng: Array, images: Array, kinds: tuple[str, ...]) -> Array:
    """Varies every image at random, in the order of the kinds.

    Args:
      rng: key; a function of the step.
      images: `[batch, height, width, channels]`, values in -1..1.
      kinds: of `KINDS`: `"color"` (brightness, saturation, contrast), `"translation"` (by an eighth
        of a side; zeros move in) and `"cutout"` (a box of half a side becomes zeros).

    Returns:
      Images of that shape; colours may leave the range.
    """
    for index, kind in enumerate(kinds):
        images = _AUGMENTATIONS[kind](jax.random.fold_in(rng, index), images)
    return images


def check_kinds(kinds: tuple[str, ...], where: str) -> None:
    """Raises UserError for a kind that there isn't; `where` is the field, for the message."""
    for kind in kinds:
        require(kind in KINDS, f"{where}={kinds}: {kind!r}, {did_you_mean(kind, KINDS)}")


def _color(rng: Array, x: Array) -> Array:
    brightness, saturation, contrast = jax.random.uniform(rng, (3, len(x), 1, 1, 1), x.dtype)
    x += brightness - 0.5
    gray = x.mean(-1, keepdims=True)
    x = (x - gray) * (2 * saturation) + gray
    mean = x.mean((1, 2, 3), keepdims=True)
    return (x - mean) * (contrast + 0.5) + mean


def _translation(rng: Array, x: Array) -> Array:
    most = [int(side * SHIFT + 0.5) for side in x.shape[1:3]]
    padded = jnp.pad(x, [(0, 0), *((m, m) for m in most), (0, 0)])
    rngs = jax.random.split(rng)
    starts = [
        jax.random.randint(r, (len(x),), 0, 2 * m + 1) for r, m in zip(rngs, most, strict=True)
    ]

    def cut(image: Array, top: Array, left: Array) -> Array:
        return jax.lax.dynamic_slice(image, (top, left, 0), x.shape[1:])

    return jax.vmap(cut)(padded, *starts)


def _cutout(rng: Array, x: Array) -> Array:
    inside = []
    for r, side in zip(jax.random.split(rng), x.shape[1:3], strict=True):
        length = int(side * CUTOUT + 0.5)
        centre = jax.random.randint(r, (len(x), 1), 0, side + 1 - length % 2)
        place = jnp.arange(side) - (centre - length // 2)
        inside.append((place >= 0) & (place < length))
    box = inside[0][:, :, None, None] & inside[1][:, None, :, None]
    return jnp.where(box, 0, x)


_AUGMENTATIONS = {"color": _color, "translation": _translation, "cutout": _cutout}
KINDS = tuple(_AUGMENTATIONS)
