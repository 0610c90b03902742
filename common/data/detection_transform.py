"""What happens to an image and its objects between the source and the batch.

Small and importing little: worker processes load it on start. All shapes are static: images lie at
the top left of a canvas, objects are followed by padding. There may be two canvases, one for
landscape and one for portrait images, whose batches then are those of `orientations`.
"""

import dataclasses

import numpy as np
from PIL import Image

from common.data.detection import DetectionExample
from common.data.images import CorruptImage, decode
from common.data.resized_crops import Limits, bilinear_crop, fit_factor, limit_factor, scaled_size
from common.errors import UserError

MASK_SIZE = 112  # of a mask within its box
_LEAST_SIDE = 1.0  # pixels of a box that is kept


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainDetection:
    """A random crop of the randomly scaled image, flipped: large-scale jitter (arXiv:2012.07177).

    Called with an example and a generator, returns

    - `image`: uint8 `[height, width, 3]`; 0 where there is no image, at the bottom and the right;
    - `size`: int32 `[2]`, height and width of what is image;
    - `boxes`: float32 `[max_objects, 4]`, x1, y1, x2, y2 in its pixels, the last two outside; of
      examples with masks the bounds of what is left of the mask, else of the box; padding is 0;
    - `labels`: int32 `[max_objects]`; -1 is padding;
    - `masks`, of examples that have some: uint8 `[max_objects, 112, 112]`, each what of the mask is
      in the box; 255 is inside, 0 outside, values between are the share of a pixel inside.

    Crowds are left out, as are boxes of which less than a pixel is left in height or width.

    Attributes:
      size: height and width of the canvas, or its side, in pixels.
      resize: first brings the image to the largest size, keeping its aspect, whose longer side is
        at most `max(resize)` and whose shorter side is at most `min(resize)`, such as (1333, 800);
        None: to the largest that fits the canvas.
      scale: smallest and largest factor of that size, drawn evenly; (1.0, 1.0): no jitter.
      flip: mirror half of the images left to right.
      max_objects: those after so many, in the data's order, are left out.
      masks: return the masks of examples that have some; boxes are their bounds in any case.
      turned: portrait images get the canvas turned: (800, 1344) is (1344, 800) for them.

    Raises:
      UserError: a number out of range.
    """

    size: int | tuple[int, int]
    resize: Limits | None = None
    scale: tuple[float, float] = (0.1, 2.0)
    flip: bool = True
    max_objects: int = 100
    masks: bool = True
    turned: bool = False

    def __post_init__(self):
        _check_sizes(self.size, self.resize, self.turned)
        least, most = self.scale
        if not 0 < least <= most:
            raise UserError(f"scale={self.scale} is no range of factors; such as (0.1, 2.0)")
        if self.max_objects < 1:
            raise UserError(f"max_objects={self.max_objects} leaves none; nearest valid: 1")

    def __call__(
        self, example: DetectionExample, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        image = decoded(example)
        shape = image.shape[:2]
        canvas = _canvas(self.size, turned=self.turned and shape[0] > shape[1])
        limit = limit_factor(shape, self.resize) if self.resize else fit_factor(shape, canvas)
        full = scaled_size(shape, rng.uniform(*self.scale) * limit)
        crop = min(canvas[0], full[0]), min(canvas[1], full[1])
        top, left = (int(rng.integers(a - b + 1)) for a, b in zip(full, crop, strict=True))
        flip = self.flip and rng.random() < 0.5
        image = bilinear_crop(image, full, top, left, crop)
        # In pixels of the example: what the crop shows, and then the objects' part of it.
        y, x = shape[0] / full[0], shape[1] / full[1]
        window = np.array([left * x, top * y, (left + crop[1]) * x, (top + crop[0]) * y])
        window = window.clip(0, [*shape[::-1]] * 2)
        seen = _visible(example, window)
        boxes = (seen - np.tile(window[:2], 2)) / (x, y, x, y)
        large = (boxes[:, 2:] - boxes[:, :2] >= _LEAST_SIDE).all(1)
        keep = np.flatnonzero(large & ~example["crowd"])[: self.max_objects]
        boxes = boxes[keep]
        if flip:
            image = image[:, ::-1]
            boxes[:, [0, 2]] = crop[1] - boxes[:, [2, 0]]
        labels = np.full(self.max_objects, -1, np.int32)
        labels[: len(keep)] = example["labels"][keep]
        padded = np.zeros((self.max_objects, 4), np.float32)
        padded[: len(keep)] = boxes
        batch = _on_canvas(image, canvas) | {"boxes": padded, "labels": labels}
        if self.masks and "masks" in example:
            batch["masks"] = np.zeros((self.max_objects, MASK_SIZE, MASK_SIZE), np.uint8)
            for i, position in enumerate(keep):
                mask = _in_box(example["masks"][position], seen[position])
                batch["masks"][i] = mask[:, ::-1] if flip else mask
        return batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalDetection:
    """The whole image on a canvas, without chance.

    Called with an example, returns `image` and `size` as `TrainDetection`, and

    - `scale`: float32 `[2]`, height and width of the resized image divided by the original ones;
    - `original_size`: int32 `[2]`, height and width;
    - `image_id`: int32, of the data.

    Attributes:
      size: height and width of the canvas, or its side, in pixels.
      resize: as in `TrainDetection`; an image that would be larger than the canvas fits it.
      turned: as in `TrainDetection`.
    """

    size: int | tuple[int, int]
    resize: Limits | None = None
    turned: bool = False

    def __post_init__(self):
        _check_sizes(self.size, self.resize, self.turned)

    def __call__(self, example: DetectionExample) -> dict[str, np.ndarray]:
        image = decoded(example)
        shape = image.shape[:2]
        canvas = _canvas(self.size, turned=self.turned and shape[0] > shape[1])
        factor = fit_factor(shape, canvas)
        if self.resize:
            factor = min(factor, limit_factor(shape, self.resize))
        full = scaled_size(shape, factor)
        return _on_canvas(bilinear_crop(image, full, 0, 0, full), canvas) | {
            "scale": np.divide(full, shape, dtype=np.float32),
            "original_size": np.array(shape, np.int32),
            "image_id": np.int32(example["image_id"]),
        }


def orientations(sizes: np.ndarray) -> np.ndarray:
    """Returns the groups of images whose canvases are `turned` alike: 1 is portrait, 0 is not.

    Args:
      sizes: int `[images, 2]`: height and width.

    Returns:
      int8 `[images]`.
    """
    return (sizes[:, 0] > sizes[:, 1]).astype(np.int8)


def decoded(example: DetectionExample) -> np.ndarray:
    """Returns the image of an example, uint8 `[height, width, 3]`.

    Raises:
      CorruptImage: it can't be read, or its masks have another size.
    """
    image = decode(example["image"])
    size = example["masks"].shape[1:] if "masks" in example else image.shape[:2]
    if size != image.shape[:2]:
        (a, b), (c, d) = image.shape[:2], size
        raise CorruptImage(f"the image is {b}x{a}, its masks are {d}x{c}")
    return image


def mask_bounds(masks: np.ndarray) -> np.ndarray:
    """Returns float64 `[masks, 4]`: left, top, right, bottom of each, the last two outside.

    Args:
      masks: bool `[masks, height, width]`; the bounds of one without pixels are all 0.
    """
    bounds = np.zeros((len(masks), 4))
    for axis, start in ((1, 0), (2, 1)):
        line = masks.any(axis)
        bounds[:, start] = line.argmax(1)
        bounds[:, start + 2] = line.shape[1] - line[:, ::-1].argmax(1)
    bounds[~masks.any((1, 2))] = 0
    return bounds


def _visible(example: DetectionExample, window: np.ndarray) -> np.ndarray:
    """Bounds of each object's part in a window, float64 `[objects, 4]`, in the same pixels."""
    if "masks" not in example:
        bounds = example["boxes"].astype(np.float64)
    else:
        height, width = example["masks"].shape[1:]
        # Pixels whose centres are in the window, and at least one.
        left, top, right, bottom = np.ceil(window - 0.5).astype(int)
        left, top = (min(a, side - 1) for a, side in ((left, width), (top, height)))
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        bounds = mask_bounds(example["masks"][:, top:bottom, left:right])
        bounds[bounds.any(1)] += (left, top, left, top)
    return bounds.clip(np.tile(window[:2], 2), np.tile(window[2:], 2))


def _in_box(mask: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The part of a mask in a box, resized to uint8 `[112, 112]`."""
    size = MASK_SIZE, MASK_SIZE
    pixels = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(pixels.resize(size, Image.Resampling.BILINEAR, box=tuple(box)))


def _on_canvas(image: np.ndarray, canvas: tuple[int, int]) -> dict[str, np.ndarray]:
    height, width = image.shape[:2]
    pixels = np.zeros((*canvas, 3), np.uint8)
    pixels[:height, :width] = image
    return {"image": pixels, "size": np.array([height, width], np.int32)}


def _canvas(size: int | tuple[int, int], *, turned: bool = False) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return (width, height) if turned else (height, width)


def _check_sizes(size: int | tuple[int, int], resize: Limits | None, turned: bool) -> None:
    height, width = _canvas(size)
    if min(height, width) < 1:
        raise UserError(f"size={size} leaves no image; choose positive numbers")
    if resize is not None and min(resize) < 1:
        raise UserError(f"resize={resize} leaves no image; such as (1333, 800)")
    if turned and height >= width:
        raise UserError(
            f"turned=True takes the canvas of landscape images as size, lower than wide, such as"
            f" (800, 1344); {size} is none"
        )
