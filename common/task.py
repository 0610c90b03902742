"""The Task protocol: everything that differs between jobs, so that there is one trainer."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from common.config import require

Variables = Mapping[str, Any]  # {"params": ..., "batch_stats": ..., "constants": ...}
Batch = Mapping[str, Any]  # leading axis: the global batch


class Dataset(NamedTuple):
    """A random-access source, and what turns its examples into arrays.

    The transform of a training set takes an example and a generator, that of an evaluation set an
    example alone.
    """

    source: Any
    transform: Callable[..., dict[str, np.ndarray]]


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


class Evaluator(Protocol):
    """Accumulates results on the host over gathered arrays."""

    def update(self, outputs: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray]) -> None:
        """Takes one batch; examples with `batch["mask"] == 0` are padding and don't count."""

    def compute(self) -> dict[str, float]:
        """Returns the metrics over everything seen, by name."""


class Task(Protocol):
    """What the trainer trains.

    Attributes:
      data: loader settings.
      best_metric: metric of the first evaluation set that picks the best checkpoint; larger is
        better.
    """

    data: LoaderConfig
    best_metric: str

    def init(self, rng: jax.Array) -> Variables:
        """Returns fresh variables; runs under jit, straight into their shardings."""

    def pretrained(self) -> Variables | None:
        """Returns variables loaded from a file that replace the fresh ones, or None."""

    def loss(
        self, variables: Variables, batch: Batch, rng: jax.Array, train: bool
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        """Returns `(loss, (new batch_stats, metrics))`; metrics are scalars."""

    def eval_step(self, variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        """Returns arrays with the batch as leading axis, for the evaluator."""

    def train_data(self) -> Dataset:
        """Returns the training set."""

    def eval_data(self) -> dict[str, Dataset]:
        """Returns the evaluation sets by name; their metrics are `<name>/<metric>`."""

    def evaluator(self) -> Evaluator:
        """Returns a fresh evaluator."""

    def visualise(
        self, batch: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """Returns uint8 pictures `[height, width, 3]` of a host batch, by name.

        `outputs` is what `eval_step` returned, or None for a training batch.
        """
