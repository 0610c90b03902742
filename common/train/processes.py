"""What several processes of one run tell each other, and how they notice that one is gone."""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from common.errors import UserError


@contextlib.contextmanager
def failing_together() -> Iterator[None]:
    """A block that all processes run: a `UserError` in one of them is raised in all."""
    failure = ""
    try:
        yield
    except UserError as error:
        if jax.process_count() == 1:
            raise
        failure = str(error)
    for index, text in enumerate(_gather(failure)):
        if text:
            raise UserError(f"process {index}: {text}")


def require_same(values: Mapping[str, Any]) -> None:
    """Raises a `UserError` in all processes, unless all give the same JSON values."""
    first, *others = (dict(_leaves(json.loads(text))) for text in _gather(json.dumps(values)))
    for index, other in enumerate(others, 1):
        for name in sorted(first.keys() | other.keys()):
            here, there = (repr(v[name]) if name in v else "absent" for v in (first, other))
            if here != there:
                raise UserError(
                    f"{name} is {here} in process 0 and {there} in process {index}: start all"
                    " processes with the same command"
                )


def is_of_another(error: BaseException | None) -> bool:
    """Whether a failure of JAX tells that another process is gone, rather than one of this."""
    signs = "Gloo|NCCL|UNAVAILABLE|ABORTED|CANCELLED|[Cc]oordination"
    return (
        # What JAX raises when a collective fails in a step, and in multihost_utils.
        isinstance(error, jax.errors.JaxRuntimeError | ValueError)
        and not isinstance(error, UserError)
        and re.search(signs, str(error)) is not None
        and jax.process_count() > 1  # last, as it may start the devices
    )


def _gather(text: str) -> list[str]:
    """The texts of all processes, in their order."""
    if jax.process_count() == 1:
        return [text]
    content = np.frombuffer(text.encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(len(content)))
    padded = np.pad(content, (0, int(max(sizes)) - len(content) + 1))  # none is empty
    rows = multihost_utils.process_allgather(padded)
    return [row[:size].tobytes().decode() for row, size in zip(rows, sizes, strict=True)]


def _leaves(tree: Any) -> Iterator[tuple[str, Any]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: x is None):
        yield jax.tree_util.keystr(path, simple=True, separator="."), leaf
