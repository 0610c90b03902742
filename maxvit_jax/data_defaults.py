"""How images are prepared for a model: as it was published, or as its weights say themselves.

    data_defaults("caformer_s18")                      # DataDefaults(image_size=224, ...)
    data_defaults("maxvit_base", image_size=384)       # as its fine-tuned weights

What applies to a file of weights is decided in one order, by `launch.evaluate`, `launch.predict`
and `launch.convert` alike: what the command line says; what a run, or a directory that
`save_pretrained(..., preprocessing=...)` made, brings along; what the model was published with.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from etils import epath

import maxvit_jax
from common.errors import UserError, did_you_mean

# Those fine-tuned at these sizes, and all that began on ImageNet-21k, see -1..1.
_MAXVIT_FINETUNED = (384, 512)
_HALF_RANGE_MOAT = ("moat_2", "moat_3", "moat_4")  # "opt 2" of the release
# Models of the first MetaFormer paper that see 95 % of an image; the others see 90 %.
_WIDE_CROP = (
    *("poolformer_m36", "poolformer_m48"),
    *("metaformer_pppa_s12_224", "metaformer_ppaa_s12_224", "metaformer_ppff_s12_224"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataDefaults:
    """What happens to an image before a classifier sees it, by the names of `config.data`.

    Attributes:
      image_size: side in pixels that the model sees.
      mean: subtracted, per channel on the 0..255 scale.
      std: divided by, on the same scale.
      eval_method: `"official"`, `"standard"` or `"resize"`, see
        `common.data.image_transform.EvalTransform`.
      eval_crop_fraction: of `"standard"`.
      interpolation: of `"standard"` and `"resize"`.
    """

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    eval_method: str = "standard"
    eval_crop_fraction: float = 0.875
    interpolation: str = "bicubic"


def data_defaults(name: str, image_size: int | None = None) -> DataDefaults:
    """Returns how images are prepared for a published model.

    Args:
      name: one of `list_models()`; for a model with other fields, the one it was made from.
      image_size: side in pixels; by default the one its first weights were published for. A size
        that none were published for is prepared as that one.

    Raises:
      UserError: an unknown name.
    """
    from common.data.preprocess import HALF_RANGE, IMAGENET_MEAN, IMAGENET_STD  # needs Pillow

    family = _family(name)
    size = image_size or next(iter(maxvit_jax.FAMILIES[family].published.get(name, {224: None})))
    half_range, fields = False, {}
    match family:
        case "maxvit":
            half_range = size in _MAXVIT_FINETUNED or name == "maxvit_xlarge"
            fields = {"eval_method": "official"}
        case "moat":  # the method is ours: its release evaluates no classifier
            half_range = name in _HALF_RANGE_MOAT
            fields = {"eval_method": "official"}
        case "metaformer":
            first = name.startswith(("poolformer_", "metaformer_"))
            crop = 0.95 if name in _WIDE_CROP else 0.9
            fields = {"eval_crop_fraction": crop if first else 1.0}
        case "aewin":  # ours, as of Swin: nothing was released
            pass
    mean, std = (HALF_RANGE, HALF_RANGE) if half_range else (IMAGENET_MEAN, IMAGENET_STD)
    return DataDefaults(image_size=size, mean=mean, std=std, **fields)


def published_fields(name: str, image_size: int | None) -> dict[str, Any]:
    """Returns the fields that a model's weights for an image size were published with.

    Args:
      name: one of `list_models()`.
      image_size: side in pixels.

    Returns:
      `window_size` for MaxViT's fine-tuned weights, where it grows with the image; otherwise
      nothing differs from the variant.
    """
    if _family(name) == "maxvit" and image_size in _MAXVIT_FINETUNED:
        return {"window_size": image_size // 32}
    return {}


def data_of_weights(
    name: str, path: epath.PathLike, image_size: int | None = None
) -> tuple[DataDefaults, list[str] | None]:
    """Returns how images are prepared for some weights, and the names of their classes.

    Args:
      name: of the model that they are for.
      path: anything that `load_pretrained` reads.
      image_size: side in pixels, if it is to be another one.

    Returns:
      What a run was evaluated with, and the class names of its data where that is at hand; what
      `save_pretrained` was given as `preprocessing` and `class_names`; for all other weights
      `data_defaults(name, image_size)` and None.

    Raises:
      UserError: an unknown name, or stored preprocessing that doesn't hold together.
    """
    from common.weights import io

    path = epath.Path(path)
    stored, class_names = None, None
    if io.is_own(path):
        config = json.loads((path / io.CONFIG).read_text())
        stored, class_names = config.get("preprocessing"), config.get("class_names")
    elif (path / "checkpoints").is_dir():
        stored, class_names = _data_of_run(str(path))
    if stored is None:
        return data_defaults(name, image_size), class_names
    data = _parse(stored, path)
    return dataclasses.replace(data, image_size=image_size or data.image_size), class_names


def _data_of_run(workdir: str) -> tuple[dict[str, Any], list[str] | None]:
    from common.config import parse_section
    from common.data.sources import make_source
    from common.train.run_directory import read_config
    from maxvit_jax.tasks.classification import ClassificationData

    data = parse_section(ClassificationData, read_config(workdir)["data"], "data")
    stored = {f.name: getattr(data, f.name) for f in dataclasses.fields(DataDefaults)}
    if stored["interpolation"] in ("legacy_bicubic", "random"):  # of training crops alone
        stored["interpolation"] = "bicubic"
    options = ("name", "root", "data_dir", "train_split", "holdout")
    try:
        source = make_source(
            data.source, split=data.eval_split, **{name: getattr(data, name) for name in options}
        )
    except UserError:  # the data has moved, the weights have not
        return stored, None
    return stored, list(source.class_names)


def _parse(stored: Mapping[str, Any], path: epath.Path) -> DataDefaults:
    try:
        data = DataDefaults(**stored)
        mean, std = (tuple(map(float, values)) for values in (data.mean, data.std))
        data = dataclasses.replace(data, mean=mean, std=std)
        if not (len(mean) == len(std) == 3 and min(std) > 0 and data.image_size > 0):
            raise ValueError("three means, three positive deviations and a size are needed")
    except (TypeError, ValueError) as error:
        raise UserError(f"the preprocessing stored in {path} is damaged: {error}") from error
    return data


def _family(name: str) -> str:
    for family, entry in maxvit_jax.FAMILIES.items():
        if name in entry.variants:
            return family
    raise UserError(f"unknown model {name!r}: {did_you_mean(name, maxvit_jax.list_models())}")
