"""What a run says before it begins: what is trained, where, on what, and for how long."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
from clu import parameter_overview
from jax.sharding import Mesh

from common.task import Dataset
from common.train import sharding


def introduction(
    params: Any,
    mesh: Mesh,
    dataset: Dataset,
    eval_sets: Mapping[str, Dataset],
    batch_size: int,
    num_steps: int,
) -> Iterator[str]:
    """Yields lines to be printed.

    Args:
      params: of the model; shapes will do.
      mesh: what trains it.
      dataset: to train on.
      eval_sets: to evaluate on, by name.
      batch_size: of a step.
      num_steps: of the run.
    """
    count = parameter_overview.count_parameters(params)
    processes = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    yield (
        f"{count:,} parameters, {mesh.size} {jax.default_backend()} device(s){processes},"
        f" mesh {dict(mesh.shape)}"
    )
    if mesh.size > 1:
        yield sharding.overview(params, mesh)
    examples = len(dataset.source)
    evaluated = ", ".join(f"{len(s.source):,} in {name!r}" for name, s in eval_sets.items())
    yield f"{examples:,} training examples; to evaluate on: {evaluated or 'none'}"
    epochs = num_steps * batch_size / examples
    yield f"{num_steps:,} steps of {batch_size} examples are {epochs:,.2f} epochs"
