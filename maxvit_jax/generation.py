"""Images from random latents, the same ones whatever the batch size.

model, variables = gans.load_pretrained("hit_gan_128", "runs/gan", generator_only=True)
sampler = Sampler(model, variables)
images = sampler(draw_latents(0, range(64), model.latent_dim))
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax import Array
from jax import numpy as jnp

from common.compiled import announcing
from common.config import require


def draw_latents(
    seed: int, positions: Sequence[int] | Array, length: int, truncation: float = np.inf
) -> Array:
    """Draws a latent for every position, a function of seed and position alone.

    Args:
      seed: 0 or more.
      positions: int `[batch]`, 0 or more.
      length: of a latent.
      truncation: values beyond it are drawn again (the truncation trick, arXiv:1809.11096, section
        3.1): images vary less, and more of them look right. Infinite: N(0, 1).

    Returns:
      float32 `[batch, length]`.
    """
    return _drawn(jax.random.key(seed), jnp.asarray(positions, jnp.int32), length, truncation)


@partial(jax.jit, static_argnums=2)
def _drawn(key: Array, positions: Array, length: int, truncation: Array) -> Array:
    def draw(position: Array) -> Array:
        own = jax.random.fold_in(key, position)
        return jax.random.truncated_normal(own, -truncation, truncation, (length,))

    return jax.vmap(draw)(positions)


def between(first: Array, last: Array, shares: Array) -> Array:
    """Returns latents on the great circle from one to another (arXiv:1609.04468, section 2.1).

    On a straight line lengths would shrink on the way, to latents as none are drawn.

    Args:
      first: `[length]`.
      last: `[length]`.
      shares: `[steps]`, 0 at the first latent and 1 at the last.

    Returns:
      `[steps, length]`.
    """
    cosine = jnp.vdot(first, last) / (jnp.linalg.norm(first) * jnp.linalg.norm(last))
    angle = jnp.arccos(jnp.clip(cosine, -1, 1))
    weights = jnp.sin(jnp.stack((1 - shares, shares)) * angle) / jnp.maximum(jnp.sin(angle), 1e-6)
    return weights[0, :, None] * first + weights[1, :, None] * last


def to_pixels(images: Array) -> Array:
    """Maps images of -1..1, clipped, to uint8."""
    return jnp.rint((jnp.clip(images, -1, 1) + 1) * 127.5).astype(jnp.uint8)


def from_pixels(images: Array) -> Array:
    """Maps uint8 images to float32 ones of -1..1."""
    return images.astype(jnp.float32) / 127.5 - 1


def made_images(model: nn.Module, variables: Mapping[str, Any], latents: Array) -> Array:
    """The program that evaluation and `Sampler` share.

    Args:
      model: of `maxvit_jax.gans`.
      variables: of it; its discriminator's are not needed.
      latents: `[batch, latent_dim]`.

    Returns:
      uint8 `[batch, side, side, channels]`.
    """
    return to_pixels(model.apply(variables, latents))


class Sampler:
    """Makes images of latents, some at once; compiles once.

    Args:
      model: of `maxvit_jax.gans`.
      variables: of it.
      batch_size: images at once.
    """

    def __init__(self, model: nn.Module, variables: Mapping[str, Any], *, batch_size: int = 16):
        require(batch_size > 0, f"batch_size={batch_size} must be positive")
        self.model, self.batch_size = model, batch_size
        self._variables = jax.device_put(variables)
        self._run = announcing(jax.jit(partial(made_images, model)), lambda *_: "the generator")

    def __call__(self, latents: Array | np.ndarray) -> np.ndarray:
        """Returns an image of each latent `[count, latent_dim]`, uint8 `[count, side, side, 3]`."""
        return np.stack(list(self.stream(latents)))

    def stream(self, latents: Array | np.ndarray) -> Iterator[np.ndarray]:
        """Yields the images one by one, so that any number of them needs no more memory."""
        for start in range(0, len(latents), self.batch_size):
            part = np.asarray(latents[start : start + self.batch_size])
            padding = [(0, self.batch_size - len(part)), (0, 0)]
            images = self._run(self._variables, np.pad(part, padding))
            yield from np.asarray(images)[: len(part)]
