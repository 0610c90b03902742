"""Finding objects in photos of any size, from a notebook or a script.

model, variables = detectors.load_pretrained("poolformer_s12+retinanet", "runs/detector")
canvas, meaning = meaning_of_weights("runs/detector", model.num_classes)
detector = Detector(model, variables, canvas, meaning)
found = detector(photo)  # boxes in the photo's own pixels
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array

from common.compiled import announcing, sides
from common.data.detection_transform import EvalDetection
from common.data.image_files import Photo, read_photo
from common.detections import Detections, in_original_pixels
from common.errors import UserError
from common.weights.checksum import checksum
from maxvit_jax.dense_weights import normalized
from maxvit_jax.detector_info import Canvas, Meaning
from maxvit_jax.models.detection import DetectionModel


def find_objects(
    model: DetectionModel, data: Any, variables: Mapping[str, Any], images: Array, sizes: Array
) -> dict[str, Array]:
    """The program that evaluation, `Detector` and export share.

    Args:
      model: a detector.
      data: has `mean` and `std`, per channel on the 0..255 scale.
      variables: of the model.
      images: `[batch, height, width, channels]`, values 0..255.
      sizes: int `[batch, 2]`: height and width of what is image; the rest, at the bottom and the
        right, is padding, whatever its values.

    Returns:
      `boxes`, `scores`, `classes`, and `masks` where the model has them: see `Objects`.
    """
    found = model.apply(variables, normalized(data, images, sizes), sizes=sizes)
    return {name: array for name, array in found._asdict().items() if array is not None}


class Detector:
    """Finds objects in photos of any size. Every photo is put on one canvas: one compilation.

    Args:
      model: a detector.
      variables: of the model.
      canvas: how photos are prepared.
      meaning: what classes are; None: numbers.
    """

    def __init__(
        self,
        model: DetectionModel,
        variables: Mapping[str, Any],
        canvas: Canvas,
        meaning: Meaning | None = None,
    ):
        """Puts the variables on the device."""
        self.meaning, self.num_classes = meaning, model.num_classes
        self._model, self._canvas = model, canvas
        self._transform = EvalDetection(size=canvas.image_size, resize=canvas.resize)
        self._variables = jax.device_put(variables)

        @jax.jit
        def find(variables: Mapping[str, Any], images: Array, sizes: Array) -> dict[str, Array]:
            return find_objects(model, canvas, variables, images, sizes)

        self._find = announcing(find, lambda _, images, sizes: f"the model for {sides(images)}")

    def __call__(self, photo: Photo) -> Detections:
        """Finds the objects of one photo, by descending score.

        Args:
          photo: uint8 `[height, width, 3]`, or an image file or its content, of any kind and size
            (see `common.data.images.decode`).

        Returns:
          Up to 100 objects, boxes in pixels of the photo; masks of its size, run-length coded.

        Raises:
          UserError: something that is no image, or a result that is not finite.
        """
        return next(self.of_batch([read_photo(photo, "look for objects in")]))

    @functools.cached_property
    def settings(self) -> str:
        """What results depend on beside the photos, in words."""
        return f"{self._model} {checksum(self._variables)} {self._canvas} {self.meaning}"

    def of_batch(self, photos: Sequence[np.ndarray]) -> Iterator[Detections]:
        """Yields the objects of each of some photos, uint8 `[height, width, 3]`."""
        nothing = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0), "crowd": np.zeros(0, bool)}
        rows = [self._transform({"image": p, "image_id": 0, **nothing}) for p in photos]
        images, sizes = (np.stack([row[key] for row in rows]) for key in ("image", "size"))
        found = jax.device_get(self._find(self._variables, images, sizes))
        if not all(np.isfinite(array).all() for array in found.values()):
            raise UserError("the result is not finite: are these weights trained?")
        for i, row in enumerate(rows):
            of_photo = {name: array[i] for name, array in found.items()}
            yield in_original_pixels(of_photo, row["scale"], row["original_size"])
