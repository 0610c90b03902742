"""The base class of jobs: everything that differs between them, so that there is one trainer.

A job is one file that subclasses `Task` and one row in `launch/tasks.py`; see
docs/contributing.md for one from beginning to end.
"""

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar, NamedTuple, Self

import jax
import numpy as np
from absl import logging
from etils import epath
from flax import linen as nn
from jax import numpy as jnp
from jax.sharding import Mesh

from common.advice import for_config
from common.config import parse_section, require
from common.demo.demos import Demo, PhotoDemo
from common.errors import UserError
from common.explanation import Explainer
from common.metrics.evaluator import Evaluator
from common.predict import PhotoPredictor, Predictor
from common.program import BATCH, Input, Program

_MOST_WORKERS = 1024

Variables = Mapping[str, Any]  # {"params": ..., "batch_stats": ..., "constants": ...}
Batch = Mapping[str, Any]  # leading axis: the global batch


class Dataset(NamedTuple):
    """A random-access source, and what turns its examples into arrays.

    The transform of a training set takes an example and a generator, that of an evaluation set an
    example alone. Its arrays have one shape, or one for each of the `groups` (int `[examples]`),
    which batches are made within: the program is compiled for each.
    """

    source: Any
    transform: Callable[..., dict[str, np.ndarray]]
    groups: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoaderConfig:
    """The part of the config's `data` section that every task has.

    Attributes:
      batch_size: global batch size of training.
      eval_batch_size: global batch size of evaluation (`batch_size` unless given).
      num_workers: worker processes that read and augment; 0 uses threads of this process.
      max_corrupt: unreadable examples to replace and name before the run stops.
    """

    batch_size: int
    eval_batch_size: int | None = None
    num_workers: int = 0
    max_corrupt: int = 0

    def __post_init__(self):
        sizes = (self.batch_size, 1 if self.eval_batch_size is None else self.eval_batch_size)
        require(min(sizes) > 0, "config.data.batch_size and eval_batch_size must be positive")
        for name in ("num_workers", "max_corrupt"):
            require(getattr(self, name) >= 0, f"config.data.{name} must not be negative")
        few = self.num_workers <= _MOST_WORKERS
        require(few, f"config.data.num_workers={self.num_workers}: at most {_MOST_WORKERS}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class InitConfig:
    """The config's `init` section.

    Attributes:
      weights: to start from: a path, address or name (what `load_pretrained` reads); None: random,
        "": a recipe that leaves them to you.
    """

    weights: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadInit(InitConfig):
    """The config's `init` section of a job whose model ends in a head of its own.

    Attributes:
      reset_head: start with random dense layers in the head, whatever the file's.
    """

    reset_head: bool = False


def option(default: Any, help: str) -> Any:
    """A field of a dataclass of options: `launch` makes a flag of it."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoOptions:
    """The options of a command that has none for a job."""


class Report(NamedTuple):
    """What an evaluation left.

    Attributes:
      lines: to be printed.
      left_out: examples that could not be measured, and why.
    """

    lines: list[str]
    left_out: Sequence[str] = ()


class Task(abc.ABC):
    """What the trainer trains, evaluates and publishes: subclass it for a job.

    Attributes:
      kind: the job's name, which `config.task.kind` gives.
      hub_task: what the Hugging Face Hub calls it, if it has a word.
      package: whose models it takes, by `create_model` and `load_with_report`.
      sections: the dataclasses of the config's sections `init`, `task` and `data`.
      open_fields: fields of the model that the task decides on unless the config sets them.
      resumable: fields that may change when a run goes on, beside the trainer's own.
      best_metric: what picks the best checkpoint, `<evaluation set>/<metric>`, larger is better;
        with a minus before it smaller is.
      images: name of the network's input in a batch.
      shown: examples that `visualise` gets, at most.
      weights_config: recipe in `configs` that says on which data weights without a run are
        evaluated; `{name}` stands for the model's.
      report_options: dataclass of what `launch.evaluate` takes for this job; its fields are made
        by `option`.
      source_options: the same of where the data is, for weights without a run.
      predict_options: the same for `launch.predict`.
      explain_options: the same for `launch.explain`.
      photo_predictor: what `predictor` makes of a run.
      data, task_config, init_config: the sections of this task's config.
      model: the network; its fields are its whole configuration.
    """

    kind: ClassVar[str]
    hub_task: ClassVar[str] = ""
    package: ClassVar[ModuleType]
    sections: ClassVar[Mapping[str, type]]
    open_fields: ClassVar[tuple[str, ...]] = ("num_classes",)
    resumable: ClassVar[tuple[str, ...]] = (
        "data.num_workers",
        "data.eval_batch_size",
        "data.max_corrupt",
    )
    best_metric: ClassVar[str]
    images: ClassVar[str] = "image"
    shown: ClassVar[int] = 16
    weights_config: ClassVar[str | None] = None
    report_options: ClassVar[type] = NoOptions
    source_options: ClassVar[type] = NoOptions
    predict_options: ClassVar[type] = NoOptions
    explain_options: ClassVar[type] = NoOptions
    photo_predictor: ClassVar[type[PhotoPredictor]] = PhotoPredictor

    model: nn.Module

    def __init__(self, config: Mapping[str, Any]):
        """Reads the task's sections of a config.

        Raises:
          UserError: a section that doesn't hold together.
        """
        parsed = {
            name: parse_section(section, config.get(name, {}), name)
            for name, section in self.sections.items()
        }
        self.data: Any = parsed["data"]
        self.task_config: Any = parsed["task"]
        self.init_config: Any = parsed["init"]
        require("name" in config.get("model", {}), "config.model.name is missing")
        model = config["model"]
        self.model_config = dict(model.to_dict() if hasattr(model, "to_dict") else model)

    def create_model(self, **fields: Any) -> nn.Module:
        """Returns the model of the config; `fields` are used where it leaves them open."""
        # None leaves a field as the variant has it.
        asked = {n: v for n, v in self.model_config.items() if v is not None}
        for field, value in asked.items():
            code = field != "dtype" and any(map(callable, jax.tree.leaves(value)))
            why = "a config holds no code, name it as 'package.module:Class'"
            require(not code, f"config.model.{field}: {why}")
        return self.package.create_model(**(fields | asked))

    # ---------------------------------------------------------------- training

    def init(self, rng: jax.Array) -> Variables:
        """Returns fresh variables; runs under jit, straight into their shardings."""
        shape = self.abstract_batch(1)[self.images].shape
        return self.model.init(rng, jnp.zeros(shape, jnp.float32))

    def pretrained(self) -> Variables | None:
        """Returns variables of a file that replace the fresh ones: all of them or a part, or None.

        Raises:
          UserError: a file that can't be read or is of another model.
        """
        path = self.init_config.weights
        if path is None:
            return None
        require(bool(path), "this recipe needs --config.init.weights=<path>")
        with for_config():
            return self.load(self.model, path)

    def load(self, model: nn.Module, path: str) -> Variables:
        """Returns what a file has for a model; arrays that it lacks are left out."""
        if getattr(self.init_config, "reset_head", False):
            model = model.clone(num_classes=0)
        _, variables, report = self.package.load_with_report(model, path)
        logging.info("%s", report)
        return _without(variables, report.fresh)

    @abc.abstractmethod
    def abstract_batch(self, size: int) -> Batch:
        """Returns shapes of a training batch of `size` examples, as the data will be: of one group
        where it has several."""

    @abc.abstractmethod
    def loss(
        self, variables: Variables, batch: Batch, rng: jax.Array
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        """Returns `(loss, (new batch_stats, metrics))` of a training batch; metrics are scalars.

        A training batch has `step` too, int32: the optimizer steps done.
        """

    @abc.abstractmethod
    def train_data(self) -> Dataset:
        """Returns the training set."""

    def labels(self) -> dict[str, Any]:
        """Returns what the numbers in outputs mean, as JSON values: kept with a run, and compared
        when it goes on."""
        return {}

    def number_classes(self, names: Sequence[str]) -> None:
        """Numbers the classes of the data anew: for a job whose `labels` have `class_names`.

        Args:
          names: those of `labels` in another order, which they have from now on.
        """
        del names

    # ---------------------------------------------------------------- evaluation

    @abc.abstractmethod
    def predict(self, variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        """Returns arrays with the batch as leading axis: what evaluation measures and users get.

        Pure, and of a batch's `image` (or what the job calls it) alone, and its `size` where it is
        padded.
        """

    @abc.abstractmethod
    def eval_data(self) -> dict[str, Dataset]:
        """Returns the evaluation sets by name; their metrics are `<name>/<metric>`."""

    @abc.abstractmethod
    def evaluators(self) -> list[Evaluator]:
        """Returns fresh evaluators; no two give a metric of the same name."""

    def visualise(
        self, batch: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """Returns uint8 pictures `[height, width, 3]` of a few examples, by name.

        `outputs` is what `predict` returned, or None for a training batch.
        """
        return {}

    # ---------------------------------------------------------------- what users run

    @classmethod
    def of_weights(
        cls, name: str, path: str, config: Any, asked: Mapping[str, Any] | None, options: Any
    ) -> tuple["Task", Variables]:
        """Returns a task for evaluating weights that have no run, and their variables.

        Args:
          name: of the model.
          path: anything that `load_pretrained` reads.
          config: a ConfigDict, of `weights_config` unless the user names another.
          asked: fields that the command line sets; None where the config is the user's own.
          options: of the classes `source_options` and `report_options`.
        """
        raise UserError(f"{path}: weights for {cls.kind} are evaluated as a run, with --workdir")

    def report_name(self, options: Any) -> str:
        """Returns the name of the report's folder below that of its step; "": it is that one."""
        return ""

    def report(self, variables: Variables, folder: epath.Path, mesh: Mesh, options: Any) -> Report:
        """Evaluates, shows progress, and writes a report.

        Args:
          variables: of the model.
          folder: where to; a report that is there already gets a neighbour.
          mesh: batches are split over it.
          options: of the class `report_options`.
        """
        from common.evaluation_report import evaluate_and_write

        return evaluate_and_write(self, variables, folder, mesh)

    def write_report(
        self,
        folder: epath.Path,
        metrics: Mapping[str, float],
        evaluators: Sequence[Evaluator],
    ) -> list[str]:
        """Adds to the report of one evaluation set what only this job knows.

        The metrics and pictures are in the folder already. Returns lines to print.
        """
        return []

    @classmethod
    def predictor(
        cls, name: str, path: str, options: Any, *, batch_size: int, dtype: str
    ) -> Predictor:
        """Returns what predicts from photos.

        Args:
          name: of the model.
          path: a run, or anything else that `load_pretrained` reads.
          options: of the class `predict_options`.
          batch_size: photos at once.
          dtype: compute type.
        """
        task, variables = cls.of_run(path, dtype)
        return cls.photo_predictor(task, variables, batch_size=batch_size)

    @classmethod
    def of_run(cls, path: str, dtype: str) -> tuple[Self, Variables]:
        """Returns the task of a run, and what it publishes.

        Args:
          path: of the run directory.
          dtype: compute type.

        Raises:
          UserError: it is no run, or its model is code.
        """
        from common.model_fields import refuse_code
        from common.train.checkpoint import restore_variables
        from common.train.run_directory import read_config

        config = read_config(path)
        refuse_code(path, config["model"])
        task = cls(config | {"model": config["model"] | {"dtype": dtype}})
        return task, restore_variables(path)[1]

    @classmethod
    def program(cls, name: str, path: str, size: tuple[int, int] | None) -> Program:
        """Returns what `launch.export` writes: `predict`, of images as the run was trained on.

        Args:
          name: of the model.
          path: a run, or anything else that `load_pretrained` reads.
          size: height and width of images; None: any that suit the model.

        Raises:
          UserError: weights that have no such program, or no other size.
        """
        require(size is None, f"--size does not apply: {cls.kind} takes images as in training")
        task, variables = cls.of_run(path, "float32")
        shapes = {n: x for n, x in task.abstract_batch(1).items() if n in (task.images, "size")}
        return Program(
            run=task.predict,
            variables=variables,
            inputs={n: Input((BATCH, *x.shape[1:]), x.dtype.name) for n, x in shapes.items()},
            outputs=dict.fromkeys(jax.eval_shape(task.predict, variables, shapes), ""),
            info=task.labels(),
        )

    @classmethod
    def explainer(cls, name: str, path: str, options: Any, *, dtype: str) -> Explainer:
        """Returns what shows what a model does with photos.

        Args:
          name: of the model.
          path: a run, or anything else that `load_pretrained` reads.
          options: of the class `explain_options`.
          dtype: compute type.
        """
        raise UserError(f"{path}: launch.explain shows nothing of {cls.kind} models")

    @classmethod
    def demo(cls, name: str, path: str, options: Any, *, dtype: str) -> Demo:
        """Returns what `launch.demo` shows: photos go through `predictor` unless a job takes or
        gives something else.

        Args:
          name: of the model.
          path: a run, or anything else that `load_pretrained` reads.
          options: of the class `predict_options`.
          dtype: compute type.
        """
        return PhotoDemo(cls.predictor(name, path, options, batch_size=1, dtype=dtype))

    def example_of_photo(self, photo: bytes | np.ndarray) -> dict[str, np.ndarray]:
        """Returns one example of a batch for `predict`; raises CorruptImage for no photo."""
        raise UserError(f"a {self.kind} run predicts nothing from photos")

    def rows_of_outputs(self, outputs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        """Returns table rows, by column, about what `predict` returned for one photo."""
        return [{key: np.asarray(value).tolist() for key, value in outputs.items()}]


def _without(variables: Mapping[str, Any], names: Sequence[str], prefix: str = "") -> Variables:
    """The tree without some arrays, named by their paths."""
    kept = {}
    for key, value in variables.items():
        if isinstance(value, Mapping):
            kept[key] = _without(value, names, f"{prefix}{key}/")
        elif f"{prefix}{key}" not in names:
            kept[key] = value
    return kept
