"""Random erasing (arXiv:1708.04896) on device, inside the jitted step, as timm's mode `pixel`."""

import math

import jax
import jax.numpy as jnp
from jax import Array

ATTEMPTS = 10


def random_erase(
    rng: Array,
    images: Array,
    probability: float,
    area: tuple[float, float] = (0.02, 1 / 3),
    aspect: float = 0.3,
) -> Array:
    """Fills one rectangle of some images with noise, every pixel drawn from N(0, 1).

    Area and logarithm of the aspect are uniform; a rectangle that is not smaller than the image in
    both directions is drawn again, `ATTEMPTS` times in all, else the image stays whole.

    Args:
      rng: key; a function of the step.
      images: `[batch, height, width, channels]`, normalised: the noise has their scale.
      probability: share of images with a rectangle.
      area: smallest and largest share of the image that a rectangle covers.
      aspect: smallest height / width of a rectangle; the largest is its inverse.

    Returns:
      Images of the same shape and type.
    """
    batch, height, width, _ = images.shape
    chance_rng, area_rng, aspect_rng, top_rng, left_rng, noise_rng = jax.random.split(rng, 6)
    tries = (batch, ATTEMPTS)
    pixels = jax.random.uniform(area_rng, tries, minval=area[0], maxval=area[1]) * height * width
    limit = -math.log(aspect)
    ratio = jnp.exp(jax.random.uniform(aspect_rng, tries, minval=-limit, maxval=limit))
    rows = jnp.round(jnp.sqrt(pixels * ratio)).astype(jnp.int32)
    columns = jnp.round(jnp.sqrt(pixels / ratio)).astype(jnp.int32)
    fits = (rows < height) & (columns < width)
    first = fits.argmax(1)[:, None]
    rows, columns = (jnp.take_along_axis(side, first, 1)[:, 0] for side in (rows, columns))
    erased = jax.random.bernoulli(chance_rng, probability, (batch,)) & fits.any(1)

    inside = erased[:, None, None, None]
    for axis, length, side, place_rng in (
        (1, height, rows, top_rng),
        (2, width, columns, left_rng),
    ):
        start = jax.random.randint(place_rng, (batch,), 0, jnp.maximum(length - side, 0) + 1)
        position = jax.lax.broadcasted_iota(jnp.int32, (1, *images.shape[1:3], 1), axis)
        start, end = (place[:, None, None, None] for place in (start, start + side))
        inside &= (start <= position) & (position < end)
    noise = jax.random.normal(noise_rng, images.shape, images.dtype)
    return jnp.where(inside, noise, images)
