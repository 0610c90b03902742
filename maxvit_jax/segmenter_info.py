"""What stands with a segmenter's weights: how photos are prepared, and what its classes are."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging
from etils import epath
from flax import linen as nn

from common.config import parse_section, require
from common.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from common.errors import UserError
from common.registry import BACKBONE_AND_HEAD
from common.weights import io
from common.weights.readers import read_arrays, weight_path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preparation:
    """What happens to a photo before a segmenter sees it, by the names of `config.data`.

    Attributes:
      mean: subtracted, per channel on the 0..255 scale.
      std: divided by, on the same scale.
      resize: most pixels of the longer and the shorter side: photos are resized to just fit,
        keeping their aspect; None: they stay as they are.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: tuple[int, ...] | None = None

    def __post_init__(self):
        channels = len(self.mean) == len(self.std) == 3 and min(self.std) > 0
        require(channels, "config.data.mean and std: three numbers each, std positive")
        sides = f"config.data.resize={self.resize}: a longer and a shorter side, or nothing"
        size = self.resize
        require(size is None or (len(size) == 2 and size[0] >= size[1] > 0), sides)


def holds_head(path: epath.PathLike, head: str) -> bool:
    """Whether weights have a head of a kind, and not a backbone alone.

    Args:
      path: anything that `load_pretrained` reads.
      head: name of the head; of a file under mmsegmentation's names any head counts.
    """
    place = weight_path(path)
    if io.is_own(place):
        name = str(io.read_config(place).get("model"))
    elif (place / "checkpoints").is_dir():
        name = _model_of_run(place)
    else:
        hub = io.read_hub(place)
        names = read_arrays(hub.weights if hub else place).arrays
        return any(name.startswith("decode_head.") for name in names)
    return name.partition(BACKBONE_AND_HEAD)[2] == head


def info_of_weights(path: epath.PathLike) -> dict[str, Any]:
    """Returns what weights bring along: `preprocessing`, `class_names` and `palette`, or less.

    Args:
      path: anything that `load_pretrained` reads.
    """
    place = weight_path(path)
    if io.is_own(place):
        config = io.read_config(place)
        return {n: config[n] for n in ("preprocessing", "class_names", "palette") if n in config}
    if not (place / "checkpoints").is_dir():
        return {}
    from common.train.run_directory import read_config, read_labels

    data = read_config(str(place)).get("data", {})
    names = {field.name for field in dataclasses.fields(Preparation)}
    return {"preprocessing": {n: data[n] for n in names & data.keys()}, **read_labels(str(place))}


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


def fields_of_weights(name: str, path: epath.PathLike, image_size: int | None) -> Mapping[str, Any]:
    """Returns the fields that weights need and don't bring along: none."""
    del name, path, image_size
    return {}


def _model_of_run(place: epath.Path) -> str:
    from common.train.run_directory import read_model_name

    return read_model_name(str(place))
