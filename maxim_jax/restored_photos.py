"""A photo in, before and after out: what `launch.demo` shows of a restoration model."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import linen as nn

from common.data.images import decode
from common.demo.demos import Upload
from common.demo.shown import Comparison, Shown
from common.pictures import encoded
from maxim_jax.inference import Restorer

_TILE = 512  # about: larger photos are restored in parts, so that memory is bounded


class RestoredPhotos:
    """A model as `common.demo.demos.Demo`.

    Args:
      model: of `maxim_jax`.
      variables: of it.
    """

    takes_photo = True
    settings = ()

    def __init__(self, model: nn.Module, variables: Mapping[str, Any]):
        multiple = math.lcm(64, model.size_multiple)  # what `Restorer` takes
        tile = max(1, _TILE // multiple) * multiple
        self._restorer = Restorer(model, variables, tile=tile, few_sizes=True)

    def __call__(self, photo: Upload | None, settings: Mapping[str, float | None]) -> list[Shown]:
        """See `common.demo.demos.Demo`."""
        before = decode(photo.content)
        restored = self._restorer(before / np.float32(255))
        after = np.rint(np.clip(restored, 0, 1) * 255).astype(np.uint8)
        return [Comparison(encoded(before), encoded(after), f"{photo.stem}.restored.png")]
