"""Evaluation: every example exactly once, on any number of devices."""

import copy
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from common.compiled import announcing, sides
from common.data.pipeline import eval_batches
from common.errors import UserError
from common.kept_results import KeptResults
from common.news import Activity
from common.task import Batch, Dataset, Evaluator, Task, Variables
from common.train import sharding
from common.train.corrupt import CorruptCounter

_BOOKKEEPING = ("index", "corrupt")  # of the host


class Evaluating(Activity):
    """An evaluation set under way, as news; called with the number of examples done.

    Args:
      name: of the set.
      examples: in it.
      then: called as this is.
    """

    def __init__(self, name: str, examples: int, then: Callable[[int], None]):
        super().__init__(lambda: f"evaluating {name!r}: {self._done}/{examples} examples")
        self._done, self._then = 0, then

    def __call__(self, examples: int) -> None:
        """Takes notice of what is done."""
        self._done = examples
        self._then(examples)


class EvalLoop:
    """Runs a task's `predict` over data sets; compiled once per set of evaluators, for each shape.

    Only what evaluators name leaves the devices, and a few examples for the pictures.

    Args:
      task: gives the program and the pictures.
      mesh: batches are split over it.
      variables: shapes of what `run` gets, to shard the program by.
    """

    def __init__(self, task: Task, mesh: Mesh, variables: Variables):
        size = task.data.eval_batch_size or task.data.batch_size
        sharding.check_batch_size(size, mesh, "config.data.eval_batch_size")
        self._task, self._mesh, self._batch_size = task, mesh, size
        self._placed = sharding.tree_shardings(variables, mesh)
        self._steps: dict[Any, Callable] = {}

    def run(
        self,
        variables: Variables,
        dataset: Dataset,
        evaluators: Sequence[Evaluator],
        progress: Callable[[int], None] = lambda examples: None,
        *,
        pictures: bool = True,
        kept: KeptResults | None = None,
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Evaluates one data set.

        Args:
          variables: `{"params", "batch_stats", "constants"}`.
          dataset: source and transform.
          evaluators: fresh ones of the task's.
          progress: called with the number of examples done after every batch.
          pictures: make pictures of a few examples, from all over the data set.
          kept: of the first batches, which are not evaluated again; gets what the others give.

        Returns:
          The evaluators' metrics, and the pictures.

        Raises:
          UserError: the data set is empty, or more than `data.max_corrupt` examples are unreadable.
        """
        step = self._step(evaluators, pictures)
        shown, first, done = [], 0, 0
        corrupt = CorruptCounter(dataset.source, self._task.data.max_corrupt)
        places = self._places(dataset) if pictures else np.array([], np.int64)

        def take(found: dict[str, Any]) -> int:
            index = {"index": found["flags"]["index"]}
            for evaluator, (outputs, inputs) in zip(evaluators, found["results"], strict=True):
                evaluator.update(outputs, inputs | index)
            shown.extend(found["shown"])
            return int(found["mask"].sum())

        while kept is not None and (found := kept.get(first)) is not None:
            corrupt.take(dict(found["flags"]))
            first, done = first + 1, done + take(found)
        if first:
            kept.say_going_on(done, len(dataset.source), "examples")
            progress(done)
        batches = eval_batches(
            *dataset,
            batch_size=self._batch_size,
            start_batch=first,
            num_workers=self._task.data.num_workers,
            parts=sharding.process_parts(self._mesh),
        )
        with closing(batches):
            for number, batch in enumerate(batches, first):
                inputs = sharding.put_batch(batch, self._mesh)
                flags = {name: inputs.pop(name) for name in _BOOKKEEPING}
                gather = partial(multihost_utils.process_allgather, tiled=True)
                flags = (gather if jax.process_count() > 1 else jax.device_get)(flags)
                chosen = np.isin(flags["index"], places) & ~flags["corrupt"].astype(bool)
                chosen = np.flatnonzero(chosen)
                corrupt.take(dict(flags))
                results, mask, some = step(variables, inputs, _padded(chosen, len(places)))
                results, mask = jax.device_get((results, mask))
                pairs = zip(evaluators, results, strict=True)
                results = [evaluator.condensed(*result) for evaluator, result in pairs]
                found = {"flags": flags, "results": results, "mask": mask, "shown": []}
                if count := len(chosen):
                    some = jax.tree.map(lambda x, n=count: x[:n], jax.device_get(some))
                    found["shown"] = [list(some)]
                done += take(found)
                if kept is not None:
                    kept.keep(number, found)
                progress(done)
        metrics = {}
        for evaluator in evaluators:
            metrics |= {name: _number(value) for name, value in evaluator.compute().items()}
        if corrupt.count:
            metrics["corrupt"] = corrupt.count
        if not shown:
            return metrics, {}
        return metrics, self._task.visualise(*jax.tree.map(lambda *x: np.concatenate(x), *shown))

    def _step(self, evaluators: Sequence[Evaluator], pictures: bool) -> Callable:
        key = (tuple((type(e), e.metrics, e.outputs, e.inputs) for e in evaluators), pictures)
        if key not in self._steps:
            # Fresh ones, that the program doesn't hold what these are going to see.
            kinds = copy.deepcopy(list(evaluators))

            def step(variables: Variables, batch: Batch, chosen: jax.Array) -> Any:
                outputs = self._task.predict(variables, batch)
                results = [_wanted(evaluator, outputs, batch) for evaluator in kinds]
                examples = jax.tree.map(lambda x: x[chosen], (dict(batch), outputs))
                return results, batch["mask"], examples

            replicated = sharding.replicated(self._mesh)
            program = jax.jit(
                step,
                in_shardings=(self._placed, sharding.batch_sharding(self._mesh), replicated),
                out_shardings=sharding.replicated(self._mesh),
            )
            images = self._task.images
            self._steps[key] = announcing(
                program, lambda _, batch, chosen: f"the evaluation for {sides(batch[images])}"
            )
        return self._steps[key]

    def _places(self, dataset: Dataset) -> np.ndarray:
        """Positions of the examples to show, evenly spaced: files lie class by class."""
        groups, count = dataset.groups, len(dataset.source)
        alike = np.arange(count) if groups is None else np.flatnonzero(groups == groups[0])
        ends = len(alike) - 1
        return alike[np.unique(np.linspace(0, ends, min(self._task.shown, len(alike)), dtype=int))]


def _padded(chosen: np.ndarray, length: int) -> np.ndarray:
    return np.pad(chosen, (0, length - len(chosen))).astype(np.int32)


def _number(value: float) -> float:
    """Counts stay whole."""
    return value if isinstance(value, int) else float(value)


def _wanted(evaluator: Evaluator, outputs: Batch, batch: Batch) -> tuple[Batch, Batch]:
    """What `Evaluator.update` gets."""
    named = ((evaluator.outputs, outputs), (evaluator.inputs, batch))
    for names, found in named:
        if lost := [name for name in names if name not in found]:
            kind = type(evaluator).__name__
            raise UserError(f"{kind} needs {lost[0]!r}; there are only {', '.join(found)}")
    taken, inputs = ({name: found[name] for name in names} for names, found in named)
    return taken | evaluator.sums(outputs, batch), inputs | {"mask": batch["mask"]}
