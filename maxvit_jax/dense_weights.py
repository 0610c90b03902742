"""What stands with dense models' weights: how photos are prepared, what classes are, which head."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import jax
from absl import logging
from etils import epath
from jax import Array
from jax import numpy as jnp

import maxvit_jax
from common.config import require
from common.data.preprocess import check_image_size, check_normalization, normalize
from common.registry import BACKBONE_AND_HEAD
from common.weights import io
from common.weights.hub_folder import read_hub
from common.weights.mapping import flatten, unflatten
from common.weights.readers import read_arrays
from maxvit_jax.models.dense import DenseModel

# Names that only mmsegmentation's and mmdetection's heads have, within whatever trained them.
_OF_HEADS = re.compile(r"(.+\.)?(decode_head|bbox_head|roi_head)\..+")
_MEANING = ("preprocessing", "class_names", "category_ids", "palette")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preparation:
    """What happens to a photo before a dense model sees it, by the names of `config.data`.

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
        check_normalization(self.mean, self.std)
        if self.resize is None:
            return
        sides = f"config.data.resize={self.resize}: a longer and a shorter side, or nothing"
        require(len(self.resize) == 2 and self.resize[0] >= self.resize[1], sides)
        check_image_size(self.resize, "config.data.resize")


def normalized(data: Any, images: Array, sizes: Array) -> Array:
    """Normalises images; padding becomes zeros.

    Args:
      data: has `mean` and `std`, per channel on the 0..255 scale.
      images: `[batch, height, width, channels]`, values 0..255.
      sizes: int `[batch, 2]`: height and width of what is image; the rest, at the bottom and the
        right, is padding, whatever its values.
    """
    rows = jnp.arange(images.shape[1]) < sizes[:, :1]
    columns = jnp.arange(images.shape[2]) < sizes[:, 1:]
    inside = (rows[:, :, None] & columns[:, None, :])[..., None]
    return jnp.where(inside, normalize(images, data.mean, data.std), 0)


def holds_head(path: epath.PathLike, head: str) -> bool:
    """Whether weights have a head of a kind, and not a backbone alone.

    Args:
      path: anything that `load_pretrained` reads.
      head: name of the head; of a file under other code's names any head counts.
    """
    place = maxvit_jax.weight_path(path)
    if io.is_own(place):
        name = str(io.read_config(place).get("model"))
    elif (place / "checkpoints").is_dir():
        name = _model_of_run(place)
    else:
        hub = read_hub(place)
        names = read_arrays(hub.weights if hub else place).arrays
        return any(_OF_HEADS.fullmatch(name) for name in names)
    return name.partition(BACKBONE_AND_HEAD)[2] == head


def backbone_of_weights(
    model: DenseModel, path: epath.PathLike, example: jax.ShapeDtypeStruct
) -> dict[str, Any]:
    """Returns the variables of a model's backbone that weights of any kind have.

    Args:
      model: dense model.
      path: anything that `load_pretrained` reads.
      example: images that fit the model.
    """
    _, found, report = maxvit_jax.load_with_report(model.make_backbone(), path)
    logging.info("%s", report)
    wanted = flatten(jax.eval_shape(model.init, jax.random.key(0), example))
    named = {_of_backbone(n): a for n, a in flatten(found).items() if n not in report.fresh}
    return unflatten({name: array for name, array in named.items() if name in wanted})


def info_of_weights(
    path: epath.PathLike, preparation: type[Preparation] = Preparation
) -> dict[str, Any]:
    """Returns what weights bring along: `preprocessing`, `class_names` and more, or less.

    Args:
      path: anything that `load_pretrained` reads.
      preparation: whose fields `preprocessing` has.
    """
    place = maxvit_jax.weight_path(path)
    if io.is_own(place):
        config = io.read_config(place)
        return {n: config[n] for n in _MEANING if n in config}
    if not (place / "checkpoints").is_dir():
        return {}
    from common.train.run_directory import read_config, read_labels

    data = read_config(str(place)).get("data", {})
    names = {field.name for field in dataclasses.fields(preparation)}
    return {"preprocessing": {n: data[n] for n in names & data.keys()}, **read_labels(str(place))}


def fields_of_weights(name: str, path: epath.PathLike, image_size: int | None) -> Mapping[str, Any]:
    """Returns the fields that weights need and don't bring along: none."""
    del name, path, image_size
    return {}


def _model_of_run(place: epath.Path) -> str:
    from common.train.run_directory import read_model_name

    return read_model_name(str(place))


def _of_backbone(name: str) -> str:
    """`params/stem/...` -> `params/backbone/stem/...`."""
    collection, _, rest = name.partition("/")
    return f"{collection}/backbone/{rest}"
