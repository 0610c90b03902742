"""Photos in, pictures of what restoration does to them out: what `launch.explain` makes of them."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from common.config import require
from common.data.images import decode
from common.errors import TooLarge
from common.explanation import Explanation
from common.heat_maps import enlarged, heat_colors, heat_figure, signed_picture
from common.pictures import comparison_sheet
from common.task import option
from common.whole_images import PaddedSizes
from maxim_jax.explain import StageResults, stage_results
from maxim_jax.inference import OFFICIAL_MULTIPLE, pad_image
from maxim_jax.models.maxim import MAXIM
from maxim_jax.protocols import picture as as_picture

SIDE = 256  # of a picture, at least


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """What `launch.explain` takes for a restoration model."""

    crop: int = option(
        256,
        "Side in pixels of the central part of a photo that is shown; 0: the whole photo.",
    )

    def __post_init__(self):
        require(self.crop >= 0, f"--crop={self.crop} must not be negative")


class ExplainedPhotos:
    """MAXIM as `common.explanation.Explainer`: per stage result, residual and attention.

    Args:
      model: any MAXIM.
      variables: of the model.
      options: of the command line.

    Raises:
      UserError: the model is not for photos.
    """

    def __init__(self, model: MAXIM, variables: Mapping[str, Any], options: ExplainOptions):
        colors = f"in_channels={model.in_channels}, num_outputs={model.num_outputs}: 3 are needed"
        require(model.in_channels == model.num_outputs == 3, f"photos have 3 channels; {colors}")
        self._model, self._variables = model, jax.device_put(variables)
        self._sizes = PaddedSizes(math.lcm(OFFICIAL_MULTIPLE, model.size_multiple))
        self._crop = options.crop

    def __call__(self, name: str, photo: bytes) -> Explanation:
        """See `common.explanation.Explainer`."""
        shown = self._central(decode(photo))
        image = shown.astype(np.float32) / 255
        padded, inside = pad_image(image, self._sizes)
        restored, attention = (
            [np.asarray(found[0], np.float32)[inside] for found in part]
            for part in self._run(padded)
        )
        require(
            all(bool(np.isfinite(result).all()) for result in restored),
            "the result is not finite: are these weights trained? try float32",
        )
        residuals = [result - image for result in restored]
        bound = max(float(np.quantile(np.abs(residuals[-1]), 0.995)), 1 / 255)
        rows, captions = [], []
        for stage, (result, residual) in enumerate(zip(restored, residuals, strict=True), 1):
            pictures = {
                "input": shown,
                f"stage {stage}": as_picture(result),
                f"residual, gray 0, white +{255 * bound:.0f}": signed_picture(residual, bound),
            }
            if stage <= len(attention):
                heat = attention[stage - 1].mean(-1)
                low, high = float(heat.min()), float(heat.max())
                heat = (heat - low) / max(high - low, np.finfo(np.float32).tiny)
                pictures[f"attention, {low:.3f} to {high:.3f}"] = heat_colors(heat)
            rows.append([enlarged(picture, SIDE) for picture in pictures.values()])
            captions.append([*pictures])
        captions[0][0] = name
        rms = float(np.sqrt(np.mean(np.square(255 * residuals[-1]))))
        row = {"stages": len(restored), "rms_residual": f"{rms:.4g}"}
        side, ends = (
            max(SIDE, *shown.shape[:2]),
            ("attention, mean over features: lowest", "highest"),
        )
        if attention:
            figure = heat_figure(rows, captions, ends, side=side)
        else:
            figure = comparison_sheet(rows, captions, side=side)
        return Explanation(f"changed by {rms:.4g} of 255 (root mean square)", row, figure)

    def _run(self, image: np.ndarray) -> StageResults:
        try:
            return jax.device_get(stage_results(self._model, self._variables, image[None]))
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise TooLarge("it needs more memory than there is: use a smaller --crop") from error

    def _central(self, photo: np.ndarray) -> np.ndarray:
        """The part that is shown."""
        if not self._crop:
            return photo
        starts = [max(0, (side - self._crop) // 2) for side in photo.shape[:2]]
        return photo[tuple(slice(start, start + self._crop) for start in starts)]
