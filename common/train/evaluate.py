"""Evaluation: every example exactly once, on any number of devices."""

from collections.abc import Callable
from contextlib import closing

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from common.data.pipeline import eval_batches
from common.task import Dataset, Evaluator, Task, Variables
from common.train import sharding
from common.train.corrupt import CorruptCounter


class EvalLoop:
    """Runs a task's `eval_step` over data sets; compiled once.

    Args:
      task: gives step, evaluator and pictures.
      mesh: batches are split over it.
      variables: shapes of what `run` gets, to shard the step by.
    """

    def __init__(self, task: Task, mesh: Mesh, variables: Variables):
        size = task.data.eval_batch_size or task.data.batch_size
        sharding.check_batch_size(size, mesh, "config.data.eval_batch_size")
        self._task, self._mesh, self._batch_size = task, mesh, size
        self._step = jax.jit(
            task.eval_step,
            in_shardings=(
                sharding.tree_shardings(variables, mesh),
                sharding.batch_sharding(mesh),
            ),
            out_shardings=sharding.replicated(mesh),
        )

    def run(
        self,
        variables: Variables,
        dataset: Dataset,
        evaluator: Evaluator,
        progress: Callable[[int], None] = lambda examples: None,
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Evaluates one data set.

        Args:
          variables: `{"params", "batch_stats", "constants"}`.
          dataset: source and transform.
          evaluator: a fresh one of the task's.
          progress: called with the number of examples done after every batch.

        Returns:
          The evaluator's metrics, and the pictures of the first batch.

        Raises:
          UserError: the data set is empty, or more than `data.max_corrupt` examples are unreadable.
        """
        pictures, done = {}, 0
        corrupt = CorruptCounter(dataset.source, self._task.data.max_corrupt)
        batches = eval_batches(
            dataset.source,
            dataset.transform,
            batch_size=self._batch_size,
            num_workers=self._task.data.num_workers,
            parts=sharding.process_parts(self._mesh),
        )
        with closing(batches):
            for batch in batches:
                inputs = sharding.put_batch(batch, self._mesh)
                if jax.process_count() > 1:
                    batch = multihost_utils.process_allgather(inputs, tiled=True)
                corrupt.take(batch)
                inputs = {name: inputs[name] for name in batch}
                outputs = jax.device_get(self._step(variables, inputs))
                evaluator.update(outputs, batch)
                real = batch["mask"].astype(bool)
                if not pictures and real.any():
                    shown = jax.tree.map(lambda x, real=real: x[real], (batch, outputs))
                    pictures = self._task.visualise(*shown)
                done += int(real.sum())
                progress(done)
        metrics = evaluator.compute()
        if corrupt.count:
            metrics["corrupt"] = float(corrupt.count)
        return metrics, pictures
