"""Window attention for GPUs, in Pallas by Triton: a window's logits never leave the chip.

A program has one head of several groups, one after the other. It reads their queries, keys and
values from where they are in the map, so that nothing is cut into groups, turned or copied in
memory; and it keeps the bias in registers. Only on the chip are positions padded, to a power of 2.

The backward kernel computes the weights again. Gradients by the bias are summed up in the registers
of each program, then over programs, in an order that is always the same.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from jax import Array, ShapeDtypeStruct, lax
from jax import numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

PROGRAMS = 1024  # a few for every multiprocessor of a large GPU, each with a sum of its own
_MOST_POSITIONS = 64  # whose logits and bias fit into the registers of a program
_LEAST = 16  # side of a matrix that is multiplied
_UNSEEN = -1e30  # added to logits


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
      chip: the kind of GPU as JAX names it; None: the kernel is interpreted.
    """
    call = _Call(qkv, seen, kind, window)
    if not call.fits():
        return None

    def run(qkv: Array, bias: Array, seen: Array) -> list[Array]:
        y = pl.pallas_call(
            partial(_forward, call=call),
            ShapeDtypeStruct((qkv.size // 3,), qkv.dtype),
            grid=(call.heads, call.parts),  # heads share lines of memory
            compiler_params=plgpu.CompilerParams(num_warps=4, num_stages=2),
            name="window_attention",
            interpret=chip is None,
        )(qkv.reshape(-1), *call.tables(bias, seen))
        return [y.reshape(*qkv.shape[:-2], qkv.shape[-1])]

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
    call = _Call(qkv, seen, kind, window)
    if not call.fits():
        return None

    def run(qkv: Array, bias: Array, seen: Array, gradient: Array) -> list[Array]:
        positions = bias.shape[-1]
        sides = (call.padded, call.padded)
        by_qkv, by_bias = pl.pallas_call(
            partial(_backward, call=call),
            [
                ShapeDtypeStruct((qkv.size,), qkv.dtype),
                ShapeDtypeStruct((call.parts, call.heads, *sides), jnp.float32),
            ],
            grid=(call.heads, call.parts),  # heads share lines of memory
            compiler_params=plgpu.CompilerParams(num_warps=4, num_stages=2),
            name="window_attention_gradient",
            interpret=chip is None,
        )(qkv.reshape(-1), *call.tables(bias, seen), gradient.reshape(-1))
        by_bias = jnp.sum(by_bias, axis=0)[:, :positions, :positions]
        return [by_qkv.reshape(qkv.shape), by_bias]

    return run


class _Call:
    """Shapes of a call, and addresses in its arrays.

    Args:
      qkv: queries, keys and values, `[batch, *spatial, heads, 3, head_dim]`.
      seen: what of a group is seen, `[groups or 1, positions]`.
      kind: of partition.
      window: positions per spatial axis of a group.
    """

    def __init__(
        self, qkv: ShapeDtypeStruct, seen: ShapeDtypeStruct, kind: str, window: tuple[int, ...]
    ):
        self.batch, *self.spatial, self.heads, _, self.head_dim = qkv.shape
        self.size, self.kind, self.window = math.prod(qkv.shape), kind, window
        self.counts = [side // w for side, w in zip(self.spatial, window, strict=True)]
        self.groups, self.positions = math.prod(self.counts), math.prod(window)
        self.masked = seen.shape[0] > 1
        self.padded = max(_LEAST, pl.next_power_of_2(self.positions))
        groups = self.batch * self.groups
        # Of equal length, as if there were more groups: what lies beyond the last is masked.
        self.per_part = -(-groups // max(1, min(groups, PROGRAMS // self.heads)))
        self.parts = -(-groups // self.per_part)

    def fits(self) -> bool:
        """Whether matrices have sides that can be multiplied, and addresses 32 bits."""
        side = self.head_dim
        whole = side >= _LEAST and side == pl.next_power_of_2(side)
        return whole and self.padded <= _MOST_POSITIONS and self.size < 2**31

    def tables(self, bias: Array, seen: Array) -> list[Array]:
        """The bias, padded so that no key beyond the window is attended to, and what is added to
        the logits of keys, `[groups, padded]`: nothing unless groups differ in it."""
        more = self.padded - self.positions
        added = jnp.pad(jnp.where(seen, 0.0, _UNSEEN), [(0, 0), (0, more)])
        bias = jnp.pad(bias, [(0, 0), (0, more), (0, 0)])
        bias = jnp.pad(bias, [(0, 0), (0, 0), (0, more)], constant_values=_UNSEEN)
        return [bias, added] if self.masked else [bias + added[0], jnp.zeros((1, self.padded))]

    def group(self, number: Array) -> tuple[Array, Array, Array]:
        """Of a group, counted over all images: which one it is of its image, the places of its
        positions among those of all images, int32 `[padded]`, and which of them there are.
        """
        image, group = lax.div(number, self.groups), lax.rem(number, self.groups)
        position = lax.iota(np.int32, self.padded)
        place, stride = image * math.prod(self.spatial), 1
        of_group, of_position = group, position
        for axis in reversed(range(len(self.window))):
            side, count = self.window[axis], self.counts[axis]
            # The first axis takes what is left, so that no two positions share an address.
            g, p = of_group, of_position
            if axis:
                g, p = lax.rem(of_group, count), lax.rem(of_position, side)
                of_group, of_position = lax.div(of_group, count), lax.div(of_position, side)
            place = place + stride * (g * side + p if self.kind == "block" else p * count + g)
            stride *= self.spatial[axis]
        there = (position < self.positions) & (number < self.batch * self.groups)
        return group, place, there

    def addresses(self, places: Array, head: Array, triple: int | None = None) -> Array:
        """Of a head, `[padded, head_dim]`: in queries, keys or values (0, 1, 2), or in what values
        are mixed to (None)."""
        channels = self.heads * self.head_dim
        column = lax.iota(np.int32, self.head_dim)
        if triple is None:
            return places[:, None] * channels + (head * self.head_dim + column)
        return places[:, None] * (3 * channels) + ((3 * head + triple) * self.head_dim + column)


def _forward(qkv_ref, bias_ref, added_ref, y_ref, *, call: _Call):
    head, part = pl.program_id(0), pl.program_id(1)
    bias = bias_ref[head]

    def one_group(index: Array, _: None) -> None:
        group, places, there = call.group(part * call.per_part + index)
        q, k, v = (_take(qkv_ref, call.addresses(places, head, i), there) for i in range(3))
        weights = _weights(q, k, bias + added_ref[group] if call.masked else bias)
        y = _dot(weights.astype(v.dtype), v, (1, 0))
        _put(y_ref, call.addresses(places, head), there, y)

    lax.fori_loop(0, call.per_part, one_group, None)


def _backward(qkv_ref, bias_ref, added_ref, g_ref, by_qkv_ref, by_bias_ref, *, call: _Call):
    head, part = pl.program_id(0), pl.program_id(1)
    bias = bias_ref[head]

    def one_group(index: Array, by_bias: Array) -> Array:
        group, places, there = call.group(part * call.per_part + index)
        q, k, v = (_take(qkv_ref, call.addresses(places, head, i), there) for i in range(3))
        g = _take(g_ref, call.addresses(places, head), there)
        weights = _weights(q, k, bias + added_ref[group] if call.masked else bias)
        by_weights = _dot(g, v, (1, 1))
        by_logits = weights * (by_weights - jnp.sum(weights * by_weights, 1)[:, None])
        scaled = (by_logits * q.shape[1] ** -0.5).astype(q.dtype)
        by_q = _dot(scaled, k, (1, 0))
        by_k = _dot(scaled, q, (0, 0))
        by_v = _dot(weights.astype(g.dtype), g, (0, 0))
        for i, gradient in enumerate((by_q, by_k, by_v)):
            _put(by_qkv_ref, call.addresses(places, head, i), there, gradient)
        return by_bias + by_logits

    zeros = jnp.zeros((call.padded, call.padded), jnp.float32)
    total = lax.fori_loop(0, call.per_part, one_group, zeros)
    by_bias_ref[part, head] = total


def _weights(q: Array, k: Array, bias: Array) -> Array:
    """Float32 `[queries, keys]`."""
    logits = _dot(q, k, (1, 1)) * q.shape[1] ** -0.5 + bias
    powers = jnp.exp(logits - jnp.max(logits, 1)[:, None])
    return powers / jnp.sum(powers, 1)[:, None]


def _dot(a: Array, b: Array, axes: tuple[int, int]) -> Array:
    """The product of two matrices over these axes, float32."""
    dims = (((axes[0],), (axes[1],)), ((), ()))
    return lax.dot_general(a, b, dims, preferred_element_type=jnp.float32)


def _take(ref, addresses: Array, there: Array) -> Array:
    """Zeros where there is no position."""
    return plgpu.load(ref.at[addresses], mask=there[:, None], other=0.0)


def _put(ref, addresses: Array, there: Array, value: Array) -> None:
    plgpu.store(ref.at[addresses], value.astype(ref.dtype), mask=there[:, None])
