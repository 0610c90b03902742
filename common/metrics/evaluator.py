"""What every evaluator is: it names what it needs, sums on the devices, and gives metrics."""

import abc
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


class Evaluator(abc.ABC):
    """Accumulates results over an evaluation set.

    `update` gets only what the evaluator names, so that nothing else leaves the devices.

    Attributes:
      metrics: names of what `compute` returns.
      outputs: names of the arrays of `Task.predict` that it needs, per example.
      inputs: the same of the batch, beside `mask` and `index`.
      every: it takes part in every so many evaluations of a run, and in the last.
    """

    metrics: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    every: int = 1

    def sums(
        self, outputs: Mapping[str, jax.Array], batch: Mapping[str, jax.Array]
    ) -> dict[str, jax.Array]:
        """Adds up on the devices what may be added up; traced, a function of its arguments alone.

        Args:
          outputs: what `Task.predict` returned.
          batch: the whole batch; where `mask` is 0 it is padding, which must not count.

        Returns:
          Arrays without a batch axis, which `update` gets among the outputs.
        """
        return {}

    def condensed(
        self, outputs: Mapping[str, Any], batch: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Does what takes long on the host, a function of its arguments alone, to a batch.

        Returns:
          What `update` gets: arrays and JSON values, which an interrupted evaluation keeps.
        """
        return outputs, batch

    @abc.abstractmethod
    def update(self, outputs: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray]) -> None:
        """Takes one batch.

        Examples with `batch["mask"] == 0` are padding and don't count; of the others
        `batch["index"]` is the position in the source.
        """

    @abc.abstractmethod
    def compute(self) -> dict[str, float]:
        """Returns the metrics over everything seen, by name."""
