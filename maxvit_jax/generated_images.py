"""Images from a seed: what `launch.demo` shows of a GAN."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import linen as nn

from common.demo.demos import Setting, Upload
from common.demo.shown import File, Shown
from common.pictures import captioned_sheet, encoded
from maxvit_jax.generation import Sampler, draw_latents

_COUNT = 16  # images


class GeneratedImages:
    """A generator as `common.demo.demos.Demo`: the first images of `launch.generate`.

    Args:
      model: of `maxvit_jax.gans`.
      variables: of it.
    """

    takes_photo = False
    settings = (
        Setting("seed", "Seed", 0, 999_999_999, 0, whole=True),
        Setting("truncation", "Truncation (empty: none)", 0.05, 10, None),
    )

    def __init__(self, model: nn.Module, variables: Mapping[str, Any]):
        self._sampler = Sampler(model, variables, batch_size=_COUNT)

    def __call__(self, photo: Upload | None, settings: Mapping[str, float | None]) -> list[Shown]:
        """See `common.demo.demos.Demo`."""
        seed, truncation = settings["seed"], settings["truncation"]
        length, bound = self._sampler.model.latent_dim, truncation or np.inf
        images = self._sampler(draw_latents(seed, np.arange(_COUNT), length, bound))
        images = np.broadcast_to(images, (*images.shape[:3], 3))  # gray ones too
        captions = [str(position) for position in range(_COUNT)]
        sheet = captioned_sheet(images, captions, side=max(128, images.shape[1]))
        return [File(f"seed_{seed}.png", encoded(sheet))]
