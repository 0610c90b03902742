"""Multi-axis vision models for recognition.

model = create_model("maxvit_tiny", num_classes=10)
model, variables = load_pretrained("maxvit_tiny", "maxvit_tiny_tf_224.safetensors")
"""

import dataclasses
import fnmatch
import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath
from flax import linen as nn
from jax import numpy as jnp

from common.errors import UserError, did_you_mean
from common.weights import io
from common.weights.mapping import (
    OURS,
    Report,
    Table,
    detect,
    export_arrays,
    flatten,
    import_arrays,
    unflatten,
)
from common.weights.readers import WeightFile, read_arrays
from maxvit_jax.models import maxvit
from maxvit_jax.weights import maxvit as maxvit_weights

# How a model computes, not what its arrays are: not stored with weights.
_RUNTIME_FIELDS = {"dtype", "remat"}


@dataclasses.dataclass(frozen=True)
class Family:
    """One file of `models` and the weights it can take.

    Attributes:
      model: the module class.
      variants: field values per model name.
      weights: module of `weights` with TABLES, CLASSIFIER, HEAD, `lookalike`, `infer_fields`.
      published: ImageNet-1k top-1 in per cent by image size, per model name.
      identity: fields that tell variants apart, whatever else is overridden.
    """

    model: type[nn.Module]
    variants: Mapping[str, Mapping[str, Any]]
    weights: Any
    published: Mapping[str, Mapping[int, float]]
    identity: tuple[str, ...] = ("stem_widths", "widths", "depths")


FAMILIES = {
    "maxvit": Family(maxvit.MaxViT, maxvit.VARIANTS, maxvit_weights, maxvit.PUBLISHED),
}


def list_models(pattern: str = "*") -> list[str]:
    """Returns the model names that match a shell pattern, smallest variants first per family."""
    names = [name for family in FAMILIES.values() for name in family.variants]
    return fnmatch.filter(names, pattern)


def create_model(name: str, **overrides: Any) -> nn.Module:
    """Makes a model by name.

    Args:
      name: one of `list_models()`.
      **overrides: fields of the model class, such as `num_classes`, `window_size` or `dtype`
        (`"bfloat16"` will do).

    Raises:
      UserError: an unknown name, field or dtype.
    """
    for family in FAMILIES.values():
        if name in family.variants:
            fields = {**family.variants[name], **_clean(family.model, overrides)}
            return family.model(**fields)
    raise UserError(f"unknown model {name!r}: {did_you_mean(name, list_models())}")


def load_pretrained(
    name_or_model: str | nn.Module, path: epath.PathLike, **overrides: Any
) -> tuple[nn.Module, dict[str, Any]]:
    """Loads weights from our own directory, a run, or a file of another framework.

    `num_classes` follows the file when a model is given by name and nothing else is asked for. With
    `num_classes=n` other than the file's, the classifier's last layer starts fresh (from a fixed
    seed); with `num_classes=0` the file's head is left out. Relative-bias tables are resized when
    they are of another window than the model's. Our own directories and runs bring their fields
    along, so that a name also gets a custom model back.

    Args:
      name_or_model: one of `list_models()`, or a model.
      path: a directory that `save_pretrained` made, a run directory, a TensorFlow name-based
        checkpoint, `.npz`, `.safetensors` or `.pth`.
      **overrides: fields, as for `create_model`.

    Returns:
      The model and its variables `{"params", "batch_stats"}`.

    Raises:
      UserError: the file can't be read, or doesn't fit the model array by array.
    """
    model, variables, report = load_with_report(name_or_model, path, **overrides)
    logging.info("%s", report)
    return model, variables


def load_with_report(
    name_or_model: str | nn.Module, path: epath.PathLike, **overrides: Any
) -> tuple[nn.Module, dict[str, Any], Report]:
    """The same as `load_pretrained`, and what became of every array of the file."""
    named = isinstance(name_or_model, str)
    if named:
        model = create_model(name_or_model, **overrides)  # mistakes here need no file to show
    else:
        model = name_or_model.clone(**_clean(type(name_or_model), overrides))
    family = _family(model)
    file, stored_fields = _read(path, name_or_model if named else None)
    if named and stored_fields:
        model = create_model(name_or_model, **{**stored_fields, **overrides})
    weights = family.weights
    table = _table(file, family)

    classes = _stored_classes(file, table, weights.CLASSIFIER)
    if classes and named and "num_classes" not in overrides:
        model = model.clone(num_classes=classes)
    skip: tuple[str, ...] = ()
    if model.num_classes == 0:
        skip = weights.HEAD
    elif model.num_classes != classes and "num_classes" in overrides:
        skip = (weights.CLASSIFIER,)

    shapes = {name: tuple(a.shape) for name, a in flatten(_abstract_variables(model)).items()}
    hint = _hint(file, table, family, model, classes)
    arrays, report = import_arrays(file, table, shapes, skip=skip, hint=hint)
    leaves = {name: jnp.asarray(a) for name, a in arrays.items()}
    leaves |= _initial(model, report.fresh)
    return model, unflatten({name: leaves[name] for name in shapes}), report


def save_pretrained(
    path: epath.PathLike,
    model: nn.Module,
    variables: Mapping[str, Any],
    *,
    overwrite: bool = False,
    **info: Any,
) -> None:
    """Writes a directory that `load_pretrained` reads: `model.safetensors` and `config.json`.

    Args:
      path: the directory to make.
      model: the model; its fields are stored, but for those of computation (`dtype`, `remat`).
      variables: `{"params", "batch_stats"}`.
      overwrite: replace such a directory.
      **info: JSON-able extras for the config, such as `preprocessing={"mean": ..., "std": ...}` or
        `class_names=[...]`.

    Raises:
      UserError: the path is taken.
    """
    fields = {n: v for n, v in _fields(model).items() if n not in _RUNTIME_FIELDS}
    family = next(name for name, f in FAMILIES.items() if f is _family(model))
    config = {"family": family, "model": _variant(model), "fields": fields, **info}
    arrays = {name: np.asarray(a) for name, a in flatten(variables).items()}
    io.save(path, arrays, config, overwrite=overwrite)


def export_weights(
    model: nn.Module, variables: Mapping[str, Any], source: str
) -> dict[str, np.ndarray]:
    """Returns the variables under the names and in the layouts of another framework.

    Args:
      model: the model; its family decides on the names.
      variables: `{"params", "batch_stats"}`.
      source: `"official"` or `"timm"`.

    Raises:
      UserError: the family has no such table.
    """
    tables = _family(model).weights.TABLES
    if source not in tables:
        raise UserError(f"unknown weight source {source!r}: {did_you_mean(source, tables)}")
    return export_arrays(tables[source], flatten(variables))


def _family(model: nn.Module) -> Family:
    for family in FAMILIES.values():
        if isinstance(model, family.model):
            return family
    raise UserError(f"{type(model).__name__} is not a model of maxvit_jax")


def _fields(model: nn.Module) -> dict[str, Any]:
    names = [f.name for f in dataclasses.fields(model) if f.name not in ("parent", "name")]
    return {name: getattr(model, name) for name in names}


def _clean(model_class: type[nn.Module], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Checks field names; lists (of a config or JSON) become tuples, dtype names dtypes."""
    known = {f.name for f in dataclasses.fields(model_class)} - {"parent", "name"}
    result = {}
    for name, value in overrides.items():
        if name not in known:
            raise UserError(
                f"{model_class.__name__} has no field {name!r}: {did_you_mean(name, known)}"
            )
        if name == "dtype":
            try:
                if not jnp.issubdtype(value := jnp.dtype(value), jnp.floating):
                    raise TypeError
            except TypeError as error:
                raise UserError(f"unknown dtype '{value}': try float32 or bfloat16") from error
        result[name] = tuple(value) if isinstance(value, list) else value
    return result


def _variant(model: nn.Module) -> str | None:
    """Returns the name of the variant with a model's architecture, None for a custom one."""
    family = _family(model)
    for name, row in family.variants.items():
        if all(getattr(model, key) == row[key] for key in family.identity):
            return name
    return None


def _read(path: epath.PathLike, name: str | None) -> tuple[WeightFile, dict[str, Any]]:
    """Reads any source, for a model of some name; also returns the fields it brings along."""
    path = epath.Path(path)
    if io.is_own(path):
        file, config = io.load(path)
        held, fields = config.get("model"), config.get("fields", {})
        family = FAMILIES.get(config.get("family"))
        if held is None and family and name in family.variants:
            held = name  # a custom model, whose fields are all stored: its family will do
        _require_held(path, name, held)
        return file, fields
    if (path / "checkpoints").is_dir():
        from common.train.checkpoint import restore_variables
        from common.train.run_directory import read_config

        fields = dict(read_config(str(path)).get("model", {}))
        _require_held(path, name, fields.pop("name", None))
        fields = {  # in a config, None leaves a field to the variant or the data
            n: v for n, v in fields.items() if v is not None and n not in _RUNTIME_FIELDS
        }
        _, variables = restore_variables(str(path))
        arrays = {n.partition("/")[2]: np.asarray(a) for n, a in flatten(variables).items()}
        return WeightFile(str(path), "run", arrays), fields
    return read_arrays(path), {}


def _require_held(path: epath.Path, name: str | None, held: str | None) -> None:
    if name and name != held:
        raise UserError(f"{path} holds {held or 'a model of another family'}, not {name}")


def _table(file: WeightFile, family: Family) -> Table:
    if file.format in ("our format", "run"):
        return OURS
    tables = family.weights.TABLES
    name = family.model.__name__
    other = family.weights.lookalike(file)
    if other:
        raise UserError(f"{file.path} is of {other}, which is not {name}")
    table = detect(file, tables.values())
    if table is None:
        raise UserError(
            f"{file.path} is of another architecture: its {len(file.arrays)} arrays (such as"
            f" {next(iter(file.arrays))}) are not a {name}'s under"
            f" {' or '.join(t.source for t in tables.values())}"
        )
    return table


def _stored_classes(file: WeightFile, table: Table, classifier: str) -> int:
    """Returns the number of classes of a file's head, 0 without one."""
    (wanted,), _ = table.theirs(f"{classifier}/bias")
    return next((a.size for name, a in file.arrays.items() if table.spelling(name) == wanted), 0)


def _hint(file: WeightFile, table: Table, family: Family, model: nn.Module, classes: int) -> str:
    """Returns what to do about a file that is probably of another variant or head."""
    fields = _fields(model)
    found = family.weights.infer_fields(file, table)
    if any(fields[key] != value for key, value in found.items()):
        for name, row in family.variants.items():
            if all(row[key] == value for key, value in found.items()):
                return f"; this file is of {name}"
        described = ", ".join(f"{key} {value}" for key, value in found.items())
        return f"; this file is of a custom model with {described}"
    if classes != fields["num_classes"]:
        return (
            f"; the file has {classes or 'no'} classes: num_classes={fields['num_classes']} as an"
            " argument starts the last layer fresh"
        )
    return ""


def _example_images(model: nn.Module) -> jax.ShapeDtypeStruct:
    """The smallest input that any model takes, `[1, side, side, 3]`."""
    windows = [getattr(model, name, None) or 1 for name in ("window_size", "grid_size")]
    side = max(model.feature_strides.values()) * math.lcm(*windows)
    return jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)


def _abstract_variables(model: nn.Module) -> dict[str, Any]:
    return jax.eval_shape(model.init, jax.random.key(0), _example_images(model))


def _initial(model: nn.Module, names: Iterable[str]) -> dict[str, jax.Array]:
    """Returns initial values of some arrays; the compiler drops the work for all others."""
    if not names:
        return {}
    images = _example_images(model)

    @jax.jit
    def init(rng: jax.Array) -> dict[str, jax.Array]:
        variables = flatten(model.init(rng, jnp.zeros(images.shape, images.dtype)))
        return {name: variables[name] for name in names}

    return init(jax.random.key(0))
