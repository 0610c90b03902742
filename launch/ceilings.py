"""What a device reaches with the simplest programs, as ceilings of all others."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from jax import numpy as jnp
from jax.typing import DTypeLike


class Rates(NamedTuple):
    """Per second.

    Attributes:
      flops: two per multiply-add.
      bytes: read and written.
    """

    flops: float
    bytes: float


class _Sizes(NamedTuple):
    """Values of the array that is copied, side of the matrices, calls at a time."""

    values: int
    side: int
    calls: int


# Larger than caches. An accelerator's calls queue up, so that starting them doesn't count.
_SIZES = {"cpu": _Sizes(2**26, 2048, 1)}
_ACCELERATOR = _Sizes(2**28, 8192, 16)


class Ceilings:
    """A product of square matrices, and an array that is read and written in place, both compiled.

    Args:
      dtype: of the matrices.
      options: of the compiler.
    """

    def __init__(self, dtype: DTypeLike, options: Mapping[str, Any] | None = None):
        self._sizes = _SIZES.get(jax.default_backend(), _ACCELERATOR)
        self._values = jnp.zeros(self._sizes.values, jnp.float32)
        # Random: GPUs are faster on equal values, which take less power.
        self._matrix = jax.random.normal(jax.random.key(0), (self._sizes.side,) * 2, dtype)
        copy = jax.jit(lambda x: x + 1, donate_argnums=0).lower(self._values)
        multiply = jax.jit(jnp.matmul).lower(self._matrix, self._matrix)
        self._copy, self._multiply = (p.compile(compiler_options=options) for p in (copy, multiply))
        self.measure()  # the first calls are slower

    def measure(self) -> Rates:
        """Runs both once more, and returns what they reached."""
        sizes = self._sizes
        flops = 2 * sizes.side**3 * sizes.calls / self._seconds(self._product)
        return Rates(flops, 2 * self._values.nbytes * sizes.calls / self._seconds(self._rewritten))

    def _product(self) -> jax.Array:
        return self._multiply(self._matrix, self._matrix)

    def _rewritten(self) -> jax.Array:
        self._values = self._copy(self._values)
        return self._values

    def _seconds(self, call: Callable[[], jax.Array]) -> float:
        start = time.perf_counter()
        jax.block_until_ready([call() for _ in range(self._sizes.calls)][-1])
        return time.perf_counter() - start
