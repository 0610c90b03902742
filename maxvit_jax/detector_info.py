"""What stands with a detector's weights: how photos are prepared, and what its classes are."""

import dataclasses
from typing import Any

import numpy as np
from absl import logging
from etils import epath
from flax import linen as nn

from common.config import parse_section, require
from common.data.class_lists import distinct_colours
from common.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, check_image_size
from common.errors import UserError
from maxvit_jax.dense_weights import Preparation, info_of_weights

_GUESS = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "resize": (1333, 800), "image_size": 1344}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Canvas(Preparation):
    """What happens to a photo before a detector sees it.

    Attributes, beside those of `Preparation`:
      image_size: side in pixels of the square that every photo is put on, at the top left; one that
        would be larger is shrunk to fit. Without `resize` photos grow to it too.
    """

    image_size: int

    def __post_init__(self):
        super().__post_init__()
        check_image_size(self.image_size, "config.data.image_size")


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What a detector's numbers mean.

    Attributes:
      class_names: one per class; None: unknown.
      category_ids: what results call the classes, as the training data did.
      palette: uint8 `[classes, 3]`.
    """

    class_names: list[str] | None
    category_ids: list[int]
    palette: np.ndarray


def meaning_of_weights(path: epath.PathLike, num_classes: int) -> tuple[Canvas, Meaning]:
    """Returns how photos are prepared for weights, and what their classes are.

    Args:
      path: anything that `load_pretrained` reads.
      num_classes: of the model.

    Returns:
      What the weights bring along. What they don't is a guess, which is logged: ImageNet's
      normalisation at 1333 x 800; no names; categories of COCO for 80 classes, else from 1.

    Raises:
      UserError: what is stored doesn't hold together.
    """
    from common.data.coco_annotations import COCO_IDS

    info = info_of_weights(path, Canvas)
    if "preprocessing" not in info:
        logging.warning("%s doesn't say how photos are prepared; taken: %s", path, _GUESS)
    ids = COCO_IDS if num_classes == len(COCO_IDS) else range(1, num_classes + 1)
    names, ids = info.get("class_names"), info.get("category_ids", list(ids))
    texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
    try:
        given = info.get("preprocessing")
        canvas = parse_section(Canvas, _GUESS if given is None else given, "preprocessing")
        require(names is None or (texts and len(names) == num_classes), "a name per class")
        ids = [int(number) for number in ids]
        require(len(ids) == num_classes, "a category per class")
    except (UserError, ValueError, TypeError, OverflowError) as error:
        raise UserError(f"what {path} says of its classes and photos is damaged: {error}") from None
    return canvas, Meaning(names, ids, distinct_colours(num_classes))


def stored_info(
    name: str, path: epath.PathLike, model: nn.Module, image_size: int | None = None
) -> dict[str, Any]:
    """Returns what `save_pretrained` stores of a detector's photos and classes.

    Args:
      name: of the model.
      path: where its weights were read.
      model: that they were read into.
      image_size: of the canvas; None: as the weights say.
    """
    del name
    canvas, meaning = meaning_of_weights(path, model.num_classes)
    if image_size is not None:
        canvas = dataclasses.replace(canvas, image_size=image_size)
    info: dict[str, Any] = {"preprocessing": dataclasses.asdict(canvas)}
    info["category_ids"] = meaning.category_ids
    return info | ({"class_names": meaning.class_names} if meaning.class_names else {})
