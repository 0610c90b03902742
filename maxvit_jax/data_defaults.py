"""How images are prepared for a model: as its weights were published, or say themselves.

    data_defaults("caformer_s18")                      # DataDefaults(image_size=224, ...)
    data_defaults("maxvit_base", image_size=384)       # as its fine-tuned weights
    data_defaults("maxvit_base_tf_384.in21k_ft_in1k")  # as timm prepares these

What applies to a file of weights is decided in one order, by `launch.evaluate`, `launch.predict`
and `launch.convert` alike: what the command line says; what a run, or a directory that
`save_pretrained(..., preprocessing=...)` made, brings along; what the published weights that the
file is most like were evaluated with (`maxvit_jax.checkpoints`).
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from absl import logging
from etils import epath
from flax import linen as nn

import maxvit_jax
from common.config import parse_section, require
from common.errors import UserError
from common.weights.hub_folder import Hub, read_hub
from maxvit_jax.checkpoints import find_checkpoint
from maxvit_jax.imagenet_classes import imagenet_class_names

ImageSize = int | tuple[int, ...]  # a side in pixels, or height and width


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataDefaults:
    """What happens to an image before a classifier sees it, by the names of `config.data`.

    Attributes:
      image_size: side in pixels that the model sees, or height and width.
      mean: subtracted, per channel on the 0..255 scale.
      std: divided by, on the same scale.
      eval_method: `"official"`, `"standard"` or `"resize"`, see
        `common.data.image_transform.EvalTransform`.
      eval_crop_fraction: of `"standard"`.
      interpolation: of `"standard"` and `"resize"`.
    """

    image_size: ImageSize
    mean: tuple[float, ...]
    std: tuple[float, ...]
    eval_method: Literal["official", "standard", "resize"] = "standard"
    eval_crop_fraction: float = 0.875
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"


def data_defaults(
    name: str, image_size: ImageSize | None = None, found: Mapping[str, Any] | None = None
) -> DataDefaults:
    """Returns how images are prepared for published weights.

    Args:
      name: one of `list_models()` (for a model with other fields, the one it was made from), or of
        single weights as timm calls them.
      image_size: side in pixels, or height and width; by default the one its first weights were
        published for. A size that none were published for is prepared as that one.
      found: fields that a file says, such as `num_classes`: they choose among the weights.

    Raises:
      UserError: an unknown name.
    """
    from common.data.preprocess import HALF_RANGE, IMAGENET_MEAN, IMAGENET_STD  # needs Pillow

    maxvit_jax.find(name)
    row = find_checkpoint(name, image_size, found)
    if row is None:  # AEWin, of which nothing was released: as Swin
        return DataDefaults(image_size=image_size or 224, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return DataDefaults(
        image_size=image_size or row.image_size,
        mean=HALF_RANGE if row.half_range else IMAGENET_MEAN,
        std=HALF_RANGE if row.half_range else IMAGENET_STD,
        eval_method=row.eval_method,
        eval_crop_fraction=row.eval_crop_fraction,
        interpolation=row.interpolation,
    )


def published_fields(name: str, image_size: ImageSize | None) -> dict[str, Any]:
    """Returns the fields that a model's weights for an image size were published with.

    Args:
      name: one of `list_models()`, or of single weights.
      image_size: side in pixels.

    Returns:
      `window_size` for MaxViT's fine-tuned weights, where it grows with the image; otherwise
      nothing differs from the variant.
    """
    row = find_checkpoint(maxvit_jax.find(name).model, image_size)
    return dict(row.fields) if row and row.image_size == image_size else {}


def fields_of_weights(
    name: str, path: epath.PathLike, image_size: ImageSize | None
) -> dict[str, Any]:
    """Returns the fields that some weights need for an image size, and don't bring along.

    Args:
      name: one of `list_models()`, or of single weights.
      path: anything that `load_pretrained` reads.
      image_size: side in pixels.

    Returns:
      What `published_fields` does; nothing for a run or a directory of our own, whose windows are
      as they were trained whatever the size.
    """
    from common.weights import io

    place = maxvit_jax.weight_path(path)
    brings_fields = io.is_own(place) or (place / "checkpoints").is_dir()
    return {} if brings_fields else published_fields(name, image_size)


def data_of_weights(
    name: str,
    path: epath.PathLike,
    image_size: ImageSize | None = None,
    channels: int = 3,
) -> tuple[DataDefaults, list[str] | None]:
    """Returns how images are prepared for some weights, and the names of their classes.

    Args:
      name: of the model that they are for.
      path: anything that `load_pretrained` reads.
      image_size: side in pixels, if it is to be another one.
      channels: of the images that the model takes; where the weights don't say how these are
        normalised, gray and alpha are as the average of RGB.

    Returns:
      What a run was evaluated with, and the class names of its data where that is at hand; what
      `save_pretrained` was given as `preprocessing` and `class_names`; what a folder of timm's says
      in its `pretrained_cfg` and `label_names`. For all other weights what the published ones were
      evaluated with that the file's content is most like, and ImageNet-1k's names where these have
      its 1,000 classes, as the file has; else None.

    Raises:
      UserError: an unknown name, or stored preprocessing that doesn't hold together.
    """
    from common.weights import io

    path = maxvit_jax.weight_path(path)
    stored, class_names, hub = None, class_names_of_weights(path), read_hub(path)
    foreign = not io.is_own(path) and not (path / "checkpoints").is_dir()
    if io.is_own(path):
        stored = io.read_config(path).get("preprocessing")
    elif not foreign:
        stored = _data_of_run(str(path))
    elif hub:
        stored = _data_of_timm(path, hub)
    found = {"num_classes": hub.config.get("num_classes")} if hub else {}
    if stored is None:
        data, found = _like_published(name, path, image_size)
    else:
        data = _parse(stored, path)
    if class_names is None and foreign:
        class_names = _published_names(name, found.get("num_classes"))
        if class_names:
            count = len(class_names)
            logging.info("%s names no classes: taken to be ImageNet's %s", path, f"{count:,}")
    if stored and image_size not in (None, data.image_size):
        logging.info("images of %d pixels as asked, %s has %d", image_size, path, data.image_size)
    if channels in (1, 4) and len(data.mean) == 3:
        logging.info("%s says how RGB is normalised: gray or alpha as the average", path)
        data = dataclasses.replace(
            data, mean=_with_average(data.mean, channels), std=_with_average(data.std, channels)
        )
    return dataclasses.replace(data, image_size=image_size or data.image_size), class_names


def class_names_of_weights(path: epath.PathLike) -> list[str] | None:
    """Returns the names of their classes that some weights bring along; None if they don't.

    Args:
      path: anything that `load_pretrained` reads.

    Raises:
      UserError: they are damaged.
    """
    from common.train.labels import stored_names
    from common.train.run_directory import read_config, read_labels
    from common.weights import io

    path = maxvit_jax.weight_path(path)
    if io.is_own(path):
        return stored_names(str(path), io.read_config(path))
    if (path / "checkpoints").is_dir():
        names = stored_names(str(path), read_labels(str(path)))
        return names or _class_names(read_config(str(path)).get("data", {}))
    hub = read_hub(path)
    return stored_names(str(path), {"class_names": hub.class_names}) if hub else None


def fill_data_section(
    section: Any, name: str, path: epath.PathLike, asked: Mapping[str, Any], channels: int
) -> None:
    """Sets how images are prepared in a config as some weights want it, but for what is asked.

    Args:
      section: `config.data`, changed in place.
      name: of the model that the weights are for.
      path: anything that `load_pretrained` reads.
      asked: what the command line sets, such as `"data.image_size"`.
      channels: of the images that the model takes.
    """
    data, _ = data_of_weights(name, path, asked.get("data.image_size"), channels)
    for field, value in dataclasses.asdict(data).items():
        if f"data.{field}" not in asked:
            section[field] = value


def stored_info(
    name: str, path: epath.PathLike, model: nn.Module, image_size: ImageSize | None = None
) -> dict[str, Any]:
    """Returns what `save_pretrained` stores of a classifier's images and classes.

    Args:
      name: of the model.
      path: where its weights were read.
      model: that they were read into.
      image_size: side in pixels that they are for, if it is to be another one.
    """
    data, class_names = data_of_weights(name, path, image_size, model.in_channels)
    info = {"preprocessing": dataclasses.asdict(data)}
    if class_names and len(class_names) == model.num_classes:
        info["class_names"] = list(class_names)
    return info


def _with_average(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Numbers of RGB as one of gray, or with one of alpha."""
    average = sum(values) / len(values)
    return (average,) if channels == 1 else (*values, average)


def _like_published(
    name: str, path: epath.Path, image_size: ImageSize | None
) -> tuple[DataDefaults, Mapping[str, Any]]:
    """As the published weights that a file is most like, at a size that its windows fit; and what
    the file says of its model."""
    from common.data.preprocess import height_width

    try:
        model, found = maxvit_jax.inspect(name, path)
    except UserError:  # load_pretrained says what is wrong with it
        return data_defaults(name, image_size), {}
    data = data_defaults(name, image_size, found)
    side = maxvit_jax.example_images(model).shape[1]
    fits = all(length % side == 0 for length in height_width(data.image_size))
    return data if fits else dataclasses.replace(data, image_size=side), found


def _published_names(name: str, num_classes: int | None) -> list[str] | None:
    """The names of the classes of published weights with that many, which are ImageNet's."""
    row = find_checkpoint(name, found={"num_classes": num_classes})
    names = imagenet_class_names(num_classes) if row and row.num_classes == num_classes else None
    return list(names) if names else None


def _data_of_run(workdir: str) -> dict[str, Any] | None:
    from common.train.run_directory import read_config

    section = read_config(workdir).get("data", {})
    names = {field.name for field in dataclasses.fields(DataDefaults)}
    stored = {name: section[name] for name in section.keys() & names}
    if stored.get("interpolation") in ("legacy_bicubic", "random"):  # of training crops alone
        stored["interpolation"] = "bicubic"
    complete = stored.keys() >= {"image_size", "mean", "std"}
    return stored if complete else None


def _data_of_timm(path: epath.Path, hub: Hub) -> dict[str, Any] | None:
    """Returns `DataDefaults` of a `pretrained_cfg`, as far as it goes; None if there is none."""
    theirs = hub.pretrained_cfg
    if not theirs.keys() >= {"input_size", "mean", "std"}:
        return None
    squash = theirs.get("crop_mode") == "squash"
    try:
        return {
            "image_size": theirs["input_size"][-1],
            "mean": [255 * float(value) for value in theirs["mean"]],
            "std": [255 * float(value) for value in theirs["std"]],
            "eval_method": "resize" if squash else "standard",
            "eval_crop_fraction": theirs.get("crop_pct", 0.875),
            "interpolation": theirs.get("interpolation", "bicubic"),
        }
    except (TypeError, ValueError, LookupError, OverflowError) as error:
        raise UserError(f"the pretrained_cfg of {path} is damaged: {error}") from error


def _class_names(section: Mapping[str, Any]) -> list[str] | None:
    """Returns the names of the classes of the data that a run was evaluated on, if it is there."""
    from common.data.sources import make_source

    options = ("name", "root", "data_dir", "train_split", "holdout", "classes")
    try:
        source = make_source(
            section["source"],
            split=section["eval_split"],
            **{name: section[name] for name in options if name in section},
        )
        return list(source.class_names)
    except (
        UserError,
        KeyError,
        AttributeError,
        TypeError,
    ):  # it has moved, or its examples have no classes
        return None


def _parse(stored: Any, path: epath.Path) -> DataDefaults:
    from common.data.preprocess import check_crop_fraction, check_image_size

    try:
        data = parse_section(DataDefaults, stored, "preprocessing")
        channels = len(data.mean) == len(data.std) > 0 and min(data.std) > 0
        finite = all(map(math.isfinite, (*data.mean, *data.std)))
        require(channels and finite, "a mean and a positive deviation per channel are needed")
        check_image_size(data.image_size, "image_size")
        check_crop_fraction(data.eval_crop_fraction, data.image_size, "eval_crop_fraction")
    except UserError as error:
        raise UserError(f"the preprocessing stored in {path} is damaged: {error}") from error
    return data
