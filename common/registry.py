"""Models of a package by name, and their weights from any source and back.

A package holds a `Registry` of its families and offers the methods as its own functions:

    _registry = Registry("maxim_jax", FAMILIES)
    create_model, load_pretrained = _registry.create_model, _registry.load_pretrained
"""

import dataclasses
import fnmatch
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import jax
import numpy as np
from absl import logging
from etils import epath
from flax import linen as nn
from jax import numpy as jnp

from common.advice import set_field
from common.config import require
from common.errors import UserError, did_you_mean
from common.model_fields import (
    RUNTIME_FIELDS,
    clean_fields,
    refuse_code,
    refuse_giants,
    stored_fields,
)
from common.names import Names
from common.news import announced
from common.weights import io
from common.weights.hub_folder import read_hub
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
from common.weights.prefix import without_prefix
from common.weights.readers import WeightFile, read_arrays

_BACKBONE = "backbone"  # a task that puts a head on a model calls the model so
BACKBONE_AND_HEAD = "+"  # stands between their names
_IN_CHANNELS = "in_channels"


class Weights(Protocol):
    """What a family knows about weight files: a module with these names.

    Attributes:
      STEM: pattern of our names of the kernels that see the image.
    """

    STEM: str

    def followed(self, asked: Mapping[str, Any]) -> tuple[str, ...]:
        """Returns the fields that a model given by name takes from the file.

        Args:
          asked: fields that the user set; these are never followed.
        """

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
class Export:
    """A way to write weights for other code.

    Attributes:
      write: called with a path and the arrays by name.
      models: patterns of the names that the other code has.
      fields: that the other code's models have in any case.
    """

    write: Callable[[epath.PathLike, Mapping[str, np.ndarray]], None]
    models: tuple[str, ...] = ("*",)
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)


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
      published_names: of single checkpoints, such as timm's `"maxvit_tiny_tf_384.in1k"`: the
        model's name and the fields that come with it.
      addresses: where published weights are, by such names; by a model's, those that it means.
      exports: how weights are written for others, by whose names they get.
      ends: says what a model ends with, such as `"1000 classes"`.
      input_shape: of what a model takes where that is no image.
    """

    model: type[nn.Module]
    variants: Mapping[str, Mapping[str, Any]]
    weights: Weights
    identity: tuple[str, ...]
    smallest_side: Callable[[Any], int | tuple[int, int]]
    published: Mapping[str, Mapping[int, float]] = dataclasses.field(default_factory=dict)
    published_names: Mapping[str, tuple[str, Mapping[str, Any]]] = dataclasses.field(
        default_factory=dict
    )
    addresses: Mapping[str, str] = dataclasses.field(default_factory=dict)
    exports: Mapping[str, Export] = dataclasses.field(default_factory=dict)
    ends: Callable[[Any], str] = lambda model: f"{model.num_classes} classes"
    input_shape: Callable[[Any], tuple[int, ...]] | None = None

    def variant_of(self, fields: Mapping[str, Any]) -> str | None:
        """Returns the first variant that has some values in fields of `identity`, if any does."""
        for name, row in self.variants.items():
            if all(row.get(k, getattr(self.model, k, None)) == v for k, v in fields.items()):
                return name
        return None


class Registry(Names):
    """The models of a package.

    Args:
      package: its name, for messages.
      families: by name; the name is stored with weights.
      composed: its models are a backbone and a head, by names such as
        `"poolformer_s12+semantic_fpn"`. Otherwise the backbone is read of weights of such ones.
    """

    def __init__(self, package: str, families: Mapping[str, Family], *, composed: bool = False):
        super().__init__(families)
        self._package = package
        self._composed = composed

    def create_model(self, name: str, **overrides: Any) -> nn.Module:
        """Makes a model by name.

        Args:
          name: one of `list_models()`; or a published checkpoint's, such as timm's
            `"maxvit_tiny_tf_384.in1k"`, which brings along its window and number of classes.
          **overrides: fields of the model class; `dtype` also as a name such as `"bfloat16"`.

        Raises:
          UserError: an unknown name, field or dtype, or fields that can't work together.
        """
        return _checked(self._make(name, overrides))

    def load_pretrained(
        self,
        name_or_model: str | nn.Module,
        path: epath.PathLike | None = None,
        **overrides: Any,
    ) -> tuple[nn.Module, dict[str, Any]]:
        """Loads weights from our own directory, a run, or what others publish.

        Relative-bias tables are resized when they are of another window than the model's, and the
        stem's kernel is adapted when it is for images of 3 channels and the model's are others. Our
        own directories and runs bring their fields along, so that a name also gets a custom model
        back; of a run whose task puts a head on a backbone, the backbone is read.

        Args:
          name_or_model: a name for `create_model`, or a model; without a path also what says its
            model itself: `hf-hub:owner/name`, a directory.
          path: a directory that `save_pretrained` made, a run directory, a folder as on the Hub, a
            TensorFlow checkpoint, `.npz`, `.safetensors` or `.pth`; or an address or name of
            published weights, which are fetched at first use. None: those that the name means.
          **overrides: fields, as for `create_model`.

        Returns:
          The model and its variables, such as `{"params", "batch_stats"}`.

        Raises:
          UserError: the file can't be read, doesn't fit the model array by array, or names code.
        """
        model, variables, report = self.load_with_report(name_or_model, path, **overrides)
        logging.info("%s", report)
        return model, variables

    @announced("reading the weights", "read")
    def load_with_report(
        self,
        name_or_model: str | nn.Module,
        path: epath.PathLike | None = None,
        **overrides: Any,
    ) -> tuple[nn.Module, dict[str, Any], Report]:
        """The same as `load_pretrained`, and what became of every array of the file."""
        if path is None:
            require(isinstance(name_or_model, str), "the path of weights for this model is missing")
            name_or_model, path = self.locate(name_or_model)
        if not isinstance(name_or_model, str):
            overrides = clean_fields(type(name_or_model), overrides)
            if overrides:
                name_or_model = _checked(name_or_model.clone(**overrides))
        model, file, table, found = self._open(name_or_model, path, overrides)
        family = self._family(model)
        skip = family.weights.left_out(model, found, overrides)

        shapes = _shapes(model, self.example_images(model))
        hint = _hint(family, model, found)
        stem = family.weights.STEM
        arrays, report = import_arrays(file, table, shapes, skip=skip, stem=stem, hint=hint)
        leaves = {name: jnp.asarray(a) for name, a in arrays.items()}
        leaves |= self._initial(model, report.fresh)
        report = dataclasses.replace(report, overruled=_overruled(model, found, overrides))
        return model, unflatten({name: leaves[name] for name in shapes}), report

    @announced("reading the weights", "read")
    def inspect(self, name: str, path: epath.PathLike) -> tuple[nn.Module, dict[str, Any]]:
        """Returns the model that some weights are for, and the fields that they say.

        Args:
          name: as for `create_model`.
          path: as for `load_pretrained`.

        Raises:
          UserError: the file can't be read, or is of another model.
        """
        model, _, table, found = self._open(name, path, {})
        stored = stored_fields(model) if table is OURS else {}
        return model, stored | found

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
          model: the model; its fields are stored, but for those of computation (such as `dtype`).
          variables: such as `{"params", "batch_stats"}`.
          overwrite: replace such a directory.
          **info: JSON-able extras for the config, such as `class_names=[...]` or
            `preprocessing={"mean": ..., "std": ...}`.

        Raises:
          UserError: the path is taken, or a field of the model is code, such as your own mixer.
        """
        family = self._family(model)
        fields = {n: v for n, v in stored_fields(model).items() if n not in RUNTIME_FIELDS}
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

    def exports(self, name: str) -> dict[str, Export]:
        """Returns how the weights of a model are written for others, by `export_weights`' source.

        Raises:
          UserError: an unknown name.
        """
        family, model, _ = self.find(name)
        exports = self._families[family].exports
        return {
            source: export
            for source, export in exports.items()
            if any(fnmatch.fnmatch(model, pattern) for pattern in export.models)
        }

    def ends(self, model: nn.Module) -> str:
        """Returns what a model ends with, in words: `"1000 classes"`."""
        return self._family(model).ends(model)

    def example_images(self, model: nn.Module) -> jax.ShapeDtypeStruct:
        """Returns the shape of a model's smallest square input, `[1, side, side, channels]`; or of
        what its family says that it takes."""
        family = self._family(model)
        if family.input_shape:
            return jax.ShapeDtypeStruct(family.input_shape(model), jnp.float32)
        sides = np.broadcast_to(family.smallest_side(model), 2)
        return jax.ShapeDtypeStruct((1, *map(int, sides), model.in_channels), jnp.float32)

    def _make(self, name: str, overrides: Mapping[str, Any]) -> nn.Module:
        """Makes a model whose fields may not fit together yet."""
        found = self.find(name)
        family = self._families[found.family]
        # What a family always does, such as taking any size, may be asked for as if it were one.
        always = {n for n in overrides if isinstance(getattr(family.model, n, None), property)}
        given = {n: value for n, value in overrides.items() if n not in always}
        fields = {**found.fields, **clean_fields(family.model, given)}
        model = family.model(**{**family.variants[found.model], **fields})
        return model.having(**{n: overrides[n] for n in always}) if always else model

    def _open(
        self, name_or_model: str | nn.Module, path: epath.PathLike, overrides: Mapping[str, Any]
    ) -> tuple[nn.Module, WeightFile, Table, dict[str, Any]]:
        """Reads weights for a model; one given by name follows what they say."""
        named = isinstance(name_or_model, str)
        # Mistakes here need no file to show.
        model = self._make(name_or_model, overrides) if named else name_or_model
        family = self._family(model)
        file, stored = self._read(path, name_or_model if named else None, overrides)
        if named and stored:
            given = {n: value for n, value in stored.items() if n not in overrides}
            refuse_giants(file.path, given, [a.shape for a in file.arrays.values()])
            model = self._make(name_or_model, {**given, **overrides})
        if not _is_ours(file):
            tables = family.weights.tables(model).values()
            file = without_prefix(file, tables, family.weights.STEM)
        table = _table(file, family, model)

        found = family.weights.infer_fields(file, table) | _channels(family, file, table)
        if named:
            followed = {*family.weights.followed(overrides), _IN_CHANNELS} - overrides.keys()
            model = _checked(model.clone(**{k: v for k, v in found.items() if k in followed}))
        return model, file, table, found

    def _family(self, model: nn.Module) -> Family:
        for family in self._families.values():
            if isinstance(model, family.model):
                return family
        raise UserError(f"{type(model).__name__} is not a model of {self._package}")

    def _read(
        self, path: epath.PathLike, name: str | None, asked: Iterable[str]
    ) -> tuple[WeightFile, dict[str, Any]]:
        """Reads any source; also returns the fields that it brings along for a model by name."""
        path = self.weight_path(path)
        wanted = self.find(name).model if name else None
        if io.is_own(path):
            file, config = io.load(path)
            held, fields = self._part(config.get("model"), config.get("fields", {}), asked)
            family = self._families.get(str(config.get("family")))
            if held is None and family and wanted in family.variants:
                held = wanted  # a custom model, whose fields are all stored: its family will do
            _require_held(path, wanted, held)
            if name:
                refuse_code(path, fields, asked)
            return self._backbone(file), fields
        if (path / "checkpoints").is_dir():
            from common.train.checkpoint import restore_variables
            from common.train.run_directory import read_config

            section = read_config(str(path)).get("model", {})
            require(isinstance(section, dict), f"{path} names no model")
            fields = dict(section)
            held, fields = self._part(fields.pop("name", None), fields, asked)
            fields = {  # in a config, None leaves a field to the variant or the data
                n: v for n, v in fields.items() if v is not None and n not in RUNTIME_FIELDS
            }
            if isinstance(held, str) and self.knows(held):
                _, held, published = self.find(held)
                fields = {**published, **fields}
            _require_held(path, wanted, held)
            if name:
                refuse_code(path, fields, asked)
            _, variables = restore_variables(str(path))
            arrays = {n.partition("/")[2]: np.asarray(a) for n, a in flatten(variables).items()}
            return self._backbone(WeightFile(str(path), "run", arrays)), fields
        hub = read_hub(path)
        return read_arrays(hub.weights if hub else path), {}

    def _part(
        self, name: Any, fields: Mapping[str, Any], asked: Iterable[str]
    ) -> tuple[Any, Mapping[str, Any]]:
        """Returns name and fields of what is read of some weights: all of the model, or a part."""
        if self._composed or not isinstance(name, str) or BACKBONE_AND_HEAD not in name:
            return name, fields
        inner = dict(fields.get("backbone_fields") or {})
        if "num_classes" in asked:  # a classifier has no norms of what heads get
            inner.pop("feature_norms", None)
        return name.partition(BACKBONE_AND_HEAD)[0], inner

    def _backbone(self, file: WeightFile) -> WeightFile:
        """Returns the model of a file of ours: all of it, or what a task put its head on."""
        inner = {n: a for n, a in file.arrays.items() if n.startswith(f"{_BACKBONE}/")}
        if self._composed or not inner:
            return file
        arrays = {name[len(_BACKBONE) + 1 :]: array for name, array in inner.items()}
        left = tuple(name for name in file.arrays if name not in inner)
        return dataclasses.replace(file, arrays=arrays, left=left)

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


def _shapes(model: nn.Module, images: jax.ShapeDtypeStruct) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a model's variables; tracing a deep model takes seconds, so once."""
    try:
        hash(model)
    except TypeError:  # a field is a list
        return _traced_shapes.__wrapped__(model, images)
    return _traced_shapes(model, images)


@functools.lru_cache(maxsize=16)
def _traced_shapes(model: nn.Module, images: jax.ShapeDtypeStruct) -> dict[str, tuple[int, ...]]:
    abstract = jax.eval_shape(model.init, jax.random.key(0), images)
    return {name: tuple(array.shape) for name, array in flatten(abstract).items()}


def _checked(model: nn.Module) -> nn.Module:
    """Returns the model, if its fields can work together."""
    model.check()
    return model


def _overruled(
    model: nn.Module, found: Mapping[str, Any], asked: Iterable[str]
) -> dict[str, tuple[Any, Any]]:
    """The fields in which what was asked for differs from what a file says: both values."""
    values = {n: (getattr(model, n, None), found[n]) for n in found if n in asked}
    return {name: pair for name, pair in values.items() if pair[0] != pair[1]}


def _channels(family: Family, file: WeightFile, table: Table) -> dict[str, int]:
    """How many channels the images of a file's model have, if it says so."""
    for name, array in file.arrays.items():
        ours = table.ours(name) or ""
        if array.ndim == 4 and re.fullmatch(family.weights.STEM, ours):
            kernel = table.theirs(ours)[1].to_ours([array], ())
            return {_IN_CHANNELS: kernel.shape[2]}
    return {}


def _require_held(path: epath.PathLike, name: str | None, held: str | None) -> None:
    if name and name != held:
        raise UserError(f"{path} holds {held or 'a model of another family'}, not {name}")


def _is_ours(file: WeightFile) -> bool:
    return file.format in ("our format", "run")


def _table(file: WeightFile, family: Family, model: nn.Module) -> Table:
    if _is_ours(file):
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
    channels = found.get(_IN_CHANNELS, 3)
    if channels not in (3, model.in_channels):
        fits = set_field("in_channels", channels)
        return f"; the file is for images of {channels} channels: {fits}"
    return family.weights.advice(model, found)
