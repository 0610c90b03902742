"""What stands with a segmenter's weights: how photos are prepared, and what its classes are."""

import dataclasses
from typing import Any

import numpy as np
from absl import logging
from etils import epath
from flax import linen as nn

from common.config import parse_section, require
from common.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from common.errors import UserError
from maxvit_jax.dense_weights import Preparation, info_of_weights


def meaning_of_weights(
    path: epath.PathLike, num_classes: int
) -> tuple[Preparation, list[str] | None, np.ndarray]:
    """Returns how photos are prepared for weights, the names of their classes, and their colours.

    Args:
      path: anything that `load_pretrained` reads.
      num_classes: of the model.

    Returns:
      What the weights bring along. What they don't is a guess, which is logged: ImageNet's
        normalisation, of 150 classes at the size that ADE20K's are evaluated at, else at the
        photo's own; no names, and colours of ours.

    Raises:
      UserError: what is stored doesn't hold together.
    """
    from common.data.class_lists import distinct_colours

    info = info_of_weights(path)
    default: dict[str, Any] = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    if num_classes == 150:
        default["resize"] = (2048, 512)
    if "preprocessing" not in info:
        logging.warning("%s doesn't say how photos are prepared; taken: %s", path, default)
    names = info.get("class_names")
    texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
    try:
        data = parse_section(Preparation, default | info.get("preprocessing", {}), "preprocessing")
        require(names is None or (texts and len(names) == num_classes), "a name per class")
        palette = np.array(info.get("palette", distinct_colours(num_classes)), np.uint8)
        require(palette.shape == (num_classes, 3), "a colour per class")
    except (UserError, ValueError, TypeError, OverflowError) as error:
        raise UserError(f"what {path} says of its classes and photos is damaged: {error}") from None
    return data, names, palette


def stored_info(
    name: str, path: epath.PathLike, model: nn.Module, image_size: int | None = None
) -> dict[str, Any]:
    """Returns what `save_pretrained` stores of a segmenter's photos and classes.

    Args:
      name: of the model.
      path: where its weights were read.
      model: that they were read into.
      image_size: does not apply: photos have any size.
    """
    require(image_size is None, f"--image_size does not apply: {name} takes photos of any size")
    data, names, palette = meaning_of_weights(path, model.num_classes)
    info: dict[str, Any] = {"preprocessing": dataclasses.asdict(data)}
    return info | ({"class_names": names, "palette": palette.tolist()} if names else {})
