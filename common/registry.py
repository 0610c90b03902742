"""Models of a package by name, and their weights from any source and back.

A package holds a `Registry` of its families and offers the methods as its own functions:

    _registry = Registry("maxim_jax", FAMILIES)
    create_model, load_pretrained = _registry.create_model, _registry.load_pretrained
"""

import dataclasses
import fnmatch
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import jax
import numpy as np
from absl import logging
from etils import epath
from flax import linen as nn
from jax import numpy as jnp

from common.config import check_type
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

# How a model computes, not what its arrays are: not stored with weights.
_RUNTIME_FIELDS = {"dtype", "remat"}


class Weights(Protocol):
    """What a family knows about weight files: a module with these names.

    Attributes:
      FOLLOWED: fields that a model given by name takes from the file unless told otherwise.
    """

    FOLLOWED: tuple[str, ...]

    def tables(self, model: nn.Module) -> Mapping[str, Table]:
        """Returns the names of every foreign source."""

    def lookalike(self, file: WeightFile) -> str | None:
        """Says which other architecture a file is of, where names alone would mislead."""

    def infer_fields(self, file: WeightFile, table: Table) -> dict[str, Any]:
        """Reads off a file what it says about the model's fields."""

    def left_out(
        self, model: nn.Module, found: Mapping[str, Any], asked: Iterable[str]
    ) -> tuple[str, ...]:
        """Returns the modules that take nothing from a file.

        Args:
          model: to be filled.
          found: what `infer_fields` returned.
          asked: names of the fields that the user set.
        """

    def advice(self, model: nn.Module, found: Mapping[str, Any]) -> str:
        """Returns what to do about a file of the same variant that doesn't fit, or nothing."""


@dataclasses.dataclass(frozen=True)
class Family:
    """One file of `models` and the weights it can take.

    Attributes:
      model: the module class.
      variants: field values per model name.
      weights: module of `weights`.
      identity: fields that tell variants apart, whatever else is overridden.
      smallest_side: of a square image that a model takes; or height and width, of one for a single
        size.
      published: ImageNet-1k top-1 in per cent by image size, per model name.
    """

    model: type[nn.Module]
    variants: Mapping[str, Mapping[str, Any]]
    weights: Weights
    identity: tuple[str, ...]
    smallest_side: Callable[[Any], int | tuple[int, int]]
    published: Mapping[str, Mapping[int, float]] = dataclasses.field(default_factory=dict)

    def variant_of(self, fields: Mapping[str, Any]) -> str | None:
        """Returns the first variant that has some values in fields of `identity`, if any does."""
        for name, row in self.variants.items():
            if all(row.get(k, getattr(self.model, k, None)) == v for k, v in fields.items()):
                return name
        return None


class Registry:
    """The models of a package.

    Args:
      package: its name, for messages.
      families: by name; the name is stored with weights.
    """

    def __init__(self, package: str, families: Mapping[str, Family]):
        self._package = package
        self._families = families

    def list_models(self, pattern: str = "*") -> list[str]:
        """Returns the names that match a shell pattern, smallest variants first per family."""
        names = [name for family in self._families.values() for name in family.variants]
        return fnmatch.filter(names, pattern)

    def create_model(self, name: str, **overrides: Any) -> nn.Module:
        """Makes a model by name.

        Args:
          name: one of `list_models()`.
          **overrides: fields of the model class; `dtype` also as a name such as `"bfloat16"`.

        Raises:
          UserError: an unknown name, field or dtype.
        """
        for family in self._families.values():
            if name in family.variants:
                fields = {**family.variants[name], **_clean(family.model, overrides)}
                return family.model(**fields)
        raise UserError(f"unknown model {name!r}: {did_you_mean(name, self.list_models())}")

    def load_pretrained(
        self, name_or_model: str | nn.Module, path: epath.PathLike, **overrides: Any
    ) -> tuple[nn.Module, dict[str, Any]]:
        """Loads weights from our own directory, a run, or a file of another framework.

        Relative-bias tables are resized when they are of another window than the model's. Our own
        directories and runs bring their fields along, so that a name also gets a custom model back.

        Args:
          name_or_model: one of `list_models()`, or a model.
          path: a directory that `save_pretrained` made, a run directory, a TensorFlow name-based
            checkpoint, `.npz`, `.safetensors` or `.pth`.
          **overrides: fields, as for `create_model`.

        Returns:
          The model and its variables, such as `{"params", "batch_stats"}`.

        Raises:
          UserError: the file can't be read, or doesn't fit the model array by array.
        """
        model, variables, report = self.load_with_report(name_or_model, path, **overrides)
        logging.info("%s", report)
        return model, variables

    def load_with_report(
        self, name_or_model: str | nn.Module, path: epath.PathLike, **overrides: Any
    ) -> tuple[nn.Module, dict[str, Any], Report]:
        """The same as `load_pretrained`, and what became of every array of the file."""
        named = isinstance(name_or_model, str)
        if named:
            # Mistakes here need no file to show.
            model = self.create_model(name_or_model, **overrides)
        else:
            model = name_or_model.clone(**_clean(type(name_or_model), overrides))
        family = self._family(model)
        file, stored_fields = self._read(path, name_or_model if named else None)
        if named and stored_fields:
            model = self.create_model(name_or_model, **{**stored_fields, **overrides})
        weights = family.weights
        table = _table(file, family, model)

        found = weights.infer_fields(file, table)
        if named:
            open_fields = set(weights.FOLLOWED) - overrides.keys()
            model = model.clone(**{k: v for k, v in found.items() if k in open_fields})
        skip = weights.left_out(model, found, overrides)

        abstract = jax.eval_shape(model.init, jax.random.key(0), self.example_images(model))
        shapes = {name: tuple(a.shape) for name, a in flatten(abstract).items()}
        arrays, report = import_arrays(
            file, table, shapes, skip=skip, hint=_hint(family, model, found)
        )
        leaves = {name: jnp.asarray(a) for name, a in arrays.items()}
        leaves |= self._initial(model, report.fresh)
        return model, unflatten({name: leaves[name] for name in shapes}), report

    def save_pretrained(
        self,
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
          variables: such as `{"params", "batch_stats"}`.
          overwrite: replace such a directory.
          **info: JSON-able extras for the config, such as `class_names=[...]` or
            `preprocessing={"mean": ..., "std": ...}`.

        Raises:
          UserError: the path is taken, or a field of the model is code, such as your own mixer.
        """
        family = self._family(model)
        fields = {n: v for n, v in _fields(model).items() if n not in _RUNTIME_FIELDS}
        code = [n for n, v in fields.items() if any(map(callable, jax.tree.leaves(v)))]
        if code:
            raise UserError(
                f"{code[0]} of this {type(model).__name__} is code, which is not saved with"
                " weights: name it, as 'package.module:Class'"
            )
        config = {
            "family": next(name for name, f in self._families.items() if f is family),
            "model": family.variant_of({k: fields[k] for k in family.identity}),
            "fields": fields,
            **info,
        }
        arrays = {name: np.asarray(a) for name, a in flatten(variables).items()}
        io.save(path, arrays, config, overwrite=overwrite)

    def export_weights(
        self, model: nn.Module, variables: Mapping[str, Any], source: str
    ) -> dict[str, np.ndarray]:
        """Returns the variables under the names and in the layouts of another framework.

        Args:
          model: the model; its family decides on the names.
          variables: such as `{"params", "batch_stats"}`.
          source: whose names: `"official"`, or another that the family's tables list.

        Raises:
          UserError: the family has no such table.
        """
        tables = self._family(model).weights.tables(model)
        if source not in tables:
            raise UserError(f"unknown weight source {source!r}: {did_you_mean(source, tables)}")
        return export_arrays(tables[source], flatten(variables))

    def example_images(self, model: nn.Module) -> jax.ShapeDtypeStruct:
        """Returns the shape of the smallest square input of a model, `[1, side, side, 3]`."""
        sides = np.broadcast_to(self._family(model).smallest_side(model), 2)
        return jax.ShapeDtypeStruct((1, *map(int, sides), 3), jnp.float32)

    def _family(self, model: nn.Module) -> Family:
        for family in self._families.values():
            if isinstance(model, family.model):
                return family
        raise UserError(f"{type(model).__name__} is not a model of {self._package}")

    def _read(self, path: epath.PathLike, name: str | None) -> tuple[WeightFile, dict[str, Any]]:
        """Reads any source, for a model of some name; also returns the fields it brings along."""
        path = epath.Path(path)
        if io.is_own(path):
            file, config = io.load(path)
            held, fields = config.get("model"), config.get("fields", {})
            family = self._families.get(config.get("family"))
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

    def _initial(self, model: nn.Module, names: Iterable[str]) -> dict[str, jax.Array]:
        """Returns initial values of some arrays; the compiler drops the work for all others."""
        if not names:
            return {}
        images = self.example_images(model)

        @jax.jit
        def init(rng: jax.Array) -> dict[str, jax.Array]:
            variables = flatten(model.init(rng, jnp.zeros(images.shape, images.dtype)))
            return {name: variables[name] for name in names}

        return init(jax.random.key(0))


def _fields(model: nn.Module) -> dict[str, Any]:
    names = [f.name for f in dataclasses.fields(model) if f.name not in ("parent", "name")]
    return {name: getattr(model, name) for name in names}


def _clean(model_class: type[nn.Module], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Checks field names; lists (of a config or JSON) become tuples, dtype names dtypes."""
    known = {f.name for f in dataclasses.fields(model_class)} - {"parent", "name"}
    hints = typing.get_type_hints(model_class)
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
            result[name] = value
        else:
            result[name] = check_type(_tuples(value), hints[name], name)
    return result


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _require_held(path: epath.Path, name: str | None, held: str | None) -> None:
    if name and name != held:
        raise UserError(f"{path} holds {held or 'a model of another family'}, not {name}")


def _table(file: WeightFile, family: Family, model: nn.Module) -> Table:
    if file.format in ("our format", "run"):
        return OURS
    tables = family.weights.tables(model)
    name = family.model.__name__
    other = family.weights.lookalike(file)
    if other:
        raise UserError(f"{file.path} is of {other}, which is not {name}")
    if not tables:
        raise UserError(
            f"{file.path} is not of our own format: of {name} there are no weights in another, load"
            " a directory of save_pretrained or a run"
        )
    table = detect(file, tables.values())
    if table is None:
        raise UserError(
            f"{file.path} is of another architecture: its {len(file.arrays)} arrays (such as"
            f" {next(iter(file.arrays))}) are not a {name}'s under"
            f" {' or '.join(t.source for t in tables.values())}"
        )
    return table


def _hint(family: Family, model: nn.Module, found: Mapping[str, Any]) -> str:
    """Returns what to do about a file that is probably of another variant."""
    identity = {k: v for k, v in found.items() if k in family.identity}
    if any(getattr(model, key) != value for key, value in identity.items()):
        if name := family.variant_of(identity):
            return f"; this file is of {name}"
        described = ", ".join(f"{key} {value}" for key, value in identity.items())
        return f"; this file is of a custom model with {described}"
    return family.weights.advice(model, found)
