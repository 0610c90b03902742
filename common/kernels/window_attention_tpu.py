"""Window attention for TPUs, in Pallas: a window's logits never leave the chip.

XLA writes the logits of all windows to memory and reads them several times, padded to tiles. Here
a program of the grid has the same window of several images in on-chip memory. It is cut out of the
map by the address of its block alone: images are next to channels in memory (`[*spatial, batch,
channels]`, also XLA's own choice around convolutions), so that the sides of windows are no sides of
tiles. Only on the chip are positions padded, once, to whole tiles.

The backward kernel computes the weights again.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from jax import Array, ShapeDtypeStruct, lax
from jax import numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.typing import DTypeLike

IMAGES = 8  # of a program: the rows of a tile
_UNSEEN = -1e30  # added to logits
# MiB of on-chip memory per core, by JAX's names of chips. Not v2 and v3: there kernels can't
# multiply matrices of bfloat16.
_MEMORY = {
    "TPU v4": 16,
    "TPU v5 lite": 128,
    "TPU v5": 64,
    "TPU v5p": 64,
    "TPU v6 lite": 128,
    "TPU7x": 64,
}
_DEFAULT_LIMIT = 16 * 2**20  # of the bytes that a kernel may have there


def forward(
    qkv: ShapeDtypeStruct,
    bias: Any,
    seen: Any,
    *,
    kind: str,
    window: tuple[int, ...],
    chip: str | None,
) -> Callable[[Array, Array, Array], list[Array]] | None:
    """Returns the kernel for arguments of these shapes, None where it doesn't fit.

    It gives the mixed values, `[batch, *spatial, heads, head_dim]`, of

    - queries, keys and values, `[batch, *spatial, heads, 3, head_dim]`;
    - the bias of logits, float32 `[heads, positions, positions]` (query, key);
    - what of a group is seen, boolean `[groups or 1, positions]`.

    Args:
      qkv: shape of the first.
      bias: shape of the second.
      seen: shape of the third.
      kind: of partition, `"block"` or `"grid"`.
      window: positions per spatial axis of a group.
      chip: the kind of TPU as JAX names it; None: the kernel is interpreted.
    """
    call = _Call(qkv, kind, window, triples=1, singles=1)
    if not call.fits(chip):
        return None

    def run(qkv: Array, bias: Array, seen: Array) -> list[Array]:
        y = pl.pallas_call(
            partial(_forward, heads=call.heads),
            call.shape(call.channels),
            grid=call.grid,
            in_specs=[call.block(3 * call.channels), *call.table_blocks(seen)],
            out_specs=call.block(call.channels),
            scratch_shapes=[call.rows(3 * call.channels), call.rows(call.channels)],
            cost_estimate=call.cost(products=2),
            compiler_params=call.params("parallel"),
            name="window_attention",
            interpret=chip is None,
        )(call.cut(qkv), *call.tables(bias, seen))
        return [call.joined(y, call.heads, call.head_dim)]

    return run


def backward(
    qkv: ShapeDtypeStruct,
    bias: Any,
    seen: Any,
    gradient: Any,
    *,
    kind: str,
    window: tuple[int, ...],
    chip: str | None,
) -> Callable[[Array, Array, Array, Array], list[Array]] | None:
    """Returns the kernel of gradients by `qkv` and `bias`, of their types, or None.

    Its arguments are those of `forward`'s and the gradient by the mixed values.
    """
    call = _Call(qkv, kind, window, triples=2, singles=1)
    if not call.fits(chip):
        return None

    def run(qkv: Array, bias: Array, seen: Array, gradient: Array) -> list[Array]:
        positions = bias.shape[-1]
        tables = call.tables(bias, seen)
        by_qkv, by_bias = pl.pallas_call(
            partial(_backward, heads=call.heads),
            [call.shape(3 * call.channels), ShapeDtypeStruct(tables[0].shape, jnp.float32)],
            grid=call.grid,
            in_specs=[
                call.block(3 * call.channels),
                *call.table_blocks(seen),
                call.block(call.channels),
            ],
            out_specs=[call.block(3 * call.channels), call.table_blocks(seen)[0]],
            scratch_shapes=[
                call.rows(3 * call.channels),
                call.rows(call.channels),
                call.rows(3 * call.channels),
            ],
            cost_estimate=call.cost(products=5),
            compiler_params=call.params("arbitrary"),  # by_bias is summed up over all programs
            name="window_attention_gradient",
            interpret=chip is None,
        )(call.cut(qkv), *tables, call.cut(gradient))
        by_qkv = call.joined(by_qkv, call.heads, 3, call.head_dim)
        return [by_qkv, by_bias[:, :positions, :positions]]

    return run


class _Call:
    """Shapes of a call; each program of its grid has one window of `IMAGES` images.

    Args:
      qkv: queries, keys and values, `[batch, *spatial, heads, 3, head_dim]`.
      kind: of partition.
      window: positions per spatial axis of a group.
      triples: arrays as large as these that are read or written.
      singles: arrays as large as the values that are.
    """

    def __init__(
        self, qkv: ShapeDtypeStruct, kind: str, window: tuple[int, ...], triples: int, singles: int
    ):
        self.batch, *self.spatial, self.heads, _, self.head_dim = qkv.shape
        self.dtype, self.kind, self.window = qkv.dtype, kind, window
        self.channels = self.heads * self.head_dim
        self.counts = [side // w for side, w in zip(self.spatial, window, strict=True)]
        self.positions = math.prod(window)
        self.padded = _whole(self.positions, 8)
        self.grid = (*self.counts, self.batch // IMAGES)
        # Of every position, padded to tiles.
        self.lanes = triples * _whole(3 * self.channels, 128) + singles * _whole(self.channels, 128)

    def fits(self, chip: str | None) -> bool:
        """Whether blocks are whole, and three quarters of the chip's memory have place for them."""
        memory = math.inf if chip is None else _MEMORY.get(chip, 0) * 2**20 * 3 // 4
        return self.batch % IMAGES == 0 and self._bytes() <= memory

    def _bytes(self) -> int:
        """An upper bound of on-chip memory.

        Blocks are there twice, so that one is fetched while another is used; rows and what becomes
        of them on the way are float32.
        """
        values = self.lanes * self.padded * IMAGES
        logits = self.padded * _whole(self.padded, 128)
        return values * (2 * self.dtype.itemsize + 3 * 4) + (4 * self.heads + 8) * logits * 4

    def params(self, order: str) -> pltpu.CompilerParams:
        return pltpu.CompilerParams(
            dimension_semantics=(order,) * len(self.grid),
            vmem_limit_bytes=max(_DEFAULT_LIMIT, self._bytes()),
        )

    def cost(self, products: int) -> pl.CostEstimate:
        """Of so many products of `[positions, positions]` and `[positions, head_dim]` matrices."""
        positions = self.batch * math.prod(self.spatial)
        return pl.CostEstimate(
            flops=2 * products * positions * self.channels * self.positions,
            transcendentals=positions * self.heads * self.positions,
            bytes_accessed=positions * self.lanes * self.dtype.itemsize,
        )

    def cut(self, x: Array) -> Array:
        """Spatial axes first, each as groups and positions; then images and channels."""
        x = jnp.moveaxis(x.reshape(self.batch, *self.spatial, -1), 0, -2)
        return x.reshape(*self._pairs(self.counts, self.window), self.batch, x.shape[-1])

    def joined(self, x: Array, *channels: int) -> Array:
        """Inverse of `cut`: `[batch, *spatial, *channels]`."""
        x = jnp.moveaxis(x.reshape(*self.spatial, self.batch, -1), -2, 0)
        return x.reshape(self.batch, *self.spatial, *channels)

    def shape(self, channels: int) -> ShapeDtypeStruct:
        sides = self._pairs(self.counts, self.window)
        return ShapeDtypeStruct((*sides, self.batch, channels), self.dtype)

    def block(self, channels: int) -> pl.BlockSpec:
        """A window of `IMAGES` images."""
        sides = self._pairs([None] * len(self.window), self.window)

        def address(*place: Any) -> tuple[Any, ...]:
            *group, images = place
            return (*self._pairs(group, [0] * len(group)), images, 0)

        return pl.BlockSpec((*sides, IMAGES, channels), address)

    def _pairs(self, groups: Any, positions: Any) -> list[Any]:
        """What belongs to groups and to positions, in the order of a map's sides."""
        pairs = zip(groups, positions, strict=True)
        return [x for g, p in pairs for x in ((g, p) if self.kind == "block" else (p, g))]

    def tables(self, bias: Array, seen: Array) -> tuple[Array, Array]:
        """The bias, padded, and what is added to the logits of keys, `[*groups, 1, padded]`."""
        more = self.padded - self.positions
        bias = jnp.pad(bias, [(0, 0), (0, more), (0, more)])
        added = jnp.where(jnp.pad(seen, [(0, 0), (0, more)]), 0.0, _UNSEEN)
        groups = self.counts if len(seen) > 1 else [1] * len(self.counts)
        return bias, added.reshape(*groups, 1, self.padded)

    def table_blocks(self, seen: Array) -> list[pl.BlockSpec]:
        """Of `tables`."""

        def address(*place: Any) -> tuple[Any, ...]:
            group = place[:-1] if len(seen) > 1 else [0] * len(self.counts)
            return (*group, 0, 0)

        return [
            pl.BlockSpec((self.heads, self.padded, self.padded), lambda *_: (0, 0, 0)),
            pl.BlockSpec((*(None for _ in self.counts), 1, self.padded), address),
        ]

    def rows(self, channels: int) -> pltpu.VMEM:
        """A block in float32, whose rows can be read with strides."""
        return pltpu.VMEM((IMAGES, self.padded, channels), jnp.float32)


def _whole(size: int, multiple: int) -> int:
    """The size with what fills its last multiple."""
    return -(-size // multiple) * multiple


def _forward(qkv_ref, bias_ref, seen_ref, y_ref, rows, mixed, *, heads: int):
    _spread(qkv_ref, rows)
    dtype = qkv_ref.dtype
    taken = partial(_take, head_dim=qkv_ref.shape[-1] // (3 * heads), dtype=dtype)

    def one_image(image: Array, _: None) -> None:
        for head in range(heads):
            q, k, v = (taken(rows, image, 3 * head + i) for i in range(3))
            weights = _weights(q, k, bias_ref[head], seen_ref[...])
            _put(mixed, image, head, _dot(weights.astype(dtype), v, (1, 0)))

    lax.fori_loop(0, IMAGES, one_image, None)
    _gather(mixed, y_ref)


def _backward(
    qkv_ref, bias_ref, seen_ref, g_ref, by_qkv_ref, by_bias_ref, rows, g_rows, by_rows, *, heads
):
    first = sum(pl.program_id(axis) for axis in range(len(by_qkv_ref.shape) - 1)) == 0

    @pl.when(first)
    def _():
        by_bias_ref[...] = jnp.zeros_like(by_bias_ref)

    _spread(qkv_ref, rows)
    _spread(g_ref, g_rows)
    dtype = qkv_ref.dtype
    taken = partial(_take, head_dim=qkv_ref.shape[-1] // (3 * heads), dtype=dtype)

    def one_image(image: Array, _: None) -> None:
        for head in range(heads):
            q, k, v = (taken(rows, image, 3 * head + i) for i in range(3))
            g = taken(g_rows, image, head)
            weights = _weights(q, k, bias_ref[head], seen_ref[...])
            by_weights = _dot(g, v, (1, 1))
            by_logits = weights * (by_weights - jnp.sum(weights * by_weights, -1, keepdims=True))
            by_bias_ref[head] += by_logits
            scaled = (by_logits * q.shape[-1] ** -0.5).astype(dtype)
            _put(by_rows, image, 3 * head, _dot(scaled, k, (1, 0)))
            _put(by_rows, image, 3 * head + 1, _dot(scaled, q, (0, 0)))
            _put(by_rows, image, 3 * head + 2, _dot(weights.astype(dtype), g, (0, 0)))

    lax.fori_loop(0, IMAGES, one_image, None)
    _gather(by_rows, by_qkv_ref)


def _weights(q: Array, k: Array, bias: Array, seen: Array) -> Array:
    """Float32 `[queries, keys]`; nothing but padding attends to padding."""
    logits = _dot(q, k, (1, 1)) * q.shape[-1] ** -0.5 + bias + seen
    powers = jnp.exp(logits - jnp.max(logits, -1, keepdims=True))
    return powers / jnp.sum(powers, -1, keepdims=True)


def _dot(a: Array, b: Array, axes: tuple[int, int]) -> Array:
    """The product of two matrices over these axes, float32."""
    dims = (((axes[0],), (axes[1],)), ((), ()))
    return lax.dot_general(a, b, dims, preferred_element_type=jnp.float32)


def _spread(block, rows) -> None:
    """Copies `[*window, images, channels]` to `[images, padded, channels]`; the rest is zero."""
    positions = math.prod(block.shape[:-2])
    x = block[...].astype(jnp.float32).reshape(positions, *block.shape[-2:])
    rows[:, :positions] = jnp.swapaxes(x, 0, 1)
    if more := rows.shape[1] - positions:
        rows[:, positions:] = jnp.zeros((IMAGES, more, rows.shape[2]), jnp.float32)


def _gather(rows, block) -> None:
    """Inverse of `_spread`."""
    positions = math.prod(block.shape[:-2])
    x = jnp.swapaxes(rows[:, :positions], 0, 1)
    block[...] = x.reshape(block.shape).astype(block.dtype)


def _take(rows, image: Array, index: int, *, head_dim: int, dtype: DTypeLike) -> Array:
    """Of an image the index-th `head_dim` channels, `[padded, head_dim]`."""
    return rows[image, :, index * head_dim : (index + 1) * head_dim].astype(dtype)


def _put(rows, image: Array, index: int, value: Array) -> None:
    """Inverse of `_take`."""
    head_dim = value.shape[-1]
    rows[image, :, index * head_dim : (index + 1) * head_dim] = value
