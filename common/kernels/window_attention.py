"""Attention within the groups of a partitioned map (MaxViT, section 3.2), projections included.

A partition moves positions and projections don't, so that either may come first. The plain way cuts
the map before it has three times the channels. The kernels for TPUs and GPUs cut by addresses alone
(`window_attention_tpu`, `window_attention_gpu`), so that there the map is projected whole.
"""

import importlib
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
from jax import Array, ShapeDtypeStruct, lax
from jax import numpy as jnp
from jax.export import is_symbolic_dim

from common.kernels.attention import dot_product_attention
from common.kernels.choose import choose
from common.kernels.each_device import Axes, call_on_each_device
from common.kernels.linear import linear_call
from common.kernels.map_layout import images_by_channels
from common.layers.partition import PARTITIONS, pad_to_multiple

FASTEST = {"tpu": "pallas", "default": "reference"}
_KERNELS = {"tpu": "window_attention_tpu", "cuda": "window_attention_gpu"}


class Projection(NamedTuple):
    """A dense layer, in the compute type. Its inputs' axes are the kernel's first."""

    kernel: Array
    bias: Array | None

    def __call__(self, x: Array, axes: int = 1) -> Array:
        """Maps the last `axes` axes."""
        of_x = tuple(range(x.ndim - axes, x.ndim))
        dims = ((of_x, tuple(range(axes))), ((), ()))
        y = lax.dot_general(x.astype(self.kernel.dtype), self.kernel, dims)
        return y if self.bias is None else y + self.bias


def window_attention(
    x: Array,
    qkv: Projection,
    out: Projection,
    bias: Array | None = None,
    *,
    kind: str,
    window: tuple[int, ...],
    pad_inputs: bool = False,
    implementation: str = "auto",
) -> Array:
    """Projects a map, attends within the groups of a partition, and projects again.

    Args:
      x: `[batch, *spatial, channels]`.
      qkv: to queries, keys and values, kernel `[channels, 3, heads, head_dim]`.
      out: of what values were mixed to, kernel `[heads, head_dim, channels]`.
      bias: added to the scaled products, float32 `[heads, positions, positions]` (query, key).
      kind: of partition, `"block"` or `"grid"`.
      window: positions per spatial axis of a group.
      pad_inputs: pad and mask when a side is not a multiple of the window.
      implementation: `"auto"`, `"reference"` (map cut into groups first), `"pallas"`, a kernel for
        TPUs, or `"triton"`, one for GPUs. Elsewhere both are interpreted; where one has no blocks
        for the shapes, its definition runs.

    Returns:
      `[batch, *spatial, channels]`; the softmax is float32 always.

    Raises:
      UserError: a side is not a multiple of the window and `pad_inputs` is False, or there is no
        such implementation.
    """
    spatial = x.shape[1:-1]
    x, seen = padded(x, kind, window) if pad_inputs else (x, None)
    formulations = {
        "reference": partial(_groups_first, kind=kind, window=window),
        "pallas": partial(_map_first, kind=kind, window=window, platform="tpu"),
        "triton": partial(_map_first, kind=kind, window=window, platform="cuda"),
    }
    fastest = FASTEST if _has_blocks(x, window) else {"default": "reference"}
    y = choose(implementation, formulations, fastest, x, qkv, out, bias, seen)
    return y[(slice(None), *(slice(side) for side in spatial))]


def padded(x: Array, kind: str, window: tuple[int, ...]) -> tuple[Array, Array | None]:
    """Pads a map's sides to multiples of the window.

    Returns:
      The map, and what is real of each group, boolean `[groups, positions]`; None: all.
    """
    x, real = pad_to_multiple(x, window)
    return x, None if real is None else PARTITIONS[kind][0](real, window)[0, ..., 0]


def grouped_qkv(x: Array, qkv: Projection) -> Array:
    """Projects `[batch, groups, positions, channels]` to what `dot_product_attention` takes."""
    # Flat leading axes: see `kernels.dense`.
    y = qkv(x.reshape(-1, x.shape[-1]))
    return y.reshape(math.prod(x.shape[:2]), x.shape[2], *y.shape[1:])


def attend_groups(
    x: Array, qkv: Projection, out: Projection, bias: Array | None, seen: Array | None
) -> Array:
    """Projects groups, attends within each, and projects again.

    Args:
      x: `[batch, groups, positions, channels]`.
      qkv: as in `window_attention`.
      out: as in `window_attention`.
      bias: as in `window_attention`.
      seen: boolean `[groups, positions]`; False marks padding, which no query attends to.
    """
    if seen is not None:
        seen = jnp.broadcast_to(seen, x.shape[:3]).reshape(-1, x.shape[2])
    mixed = dot_product_attention(grouped_qkv(x, qkv), bias, seen)
    return out(mixed.reshape(-1, *mixed.shape[2:]), axes=2).reshape(x.shape)


def _groups_first(x, qkv, out, bias, seen, *, kind: str, window: tuple[int, ...]) -> Array:
    split, merge = PARTITIONS[kind]
    return merge(attend_groups(split(x, window), qkv, out, bias, seen), window, x.shape[1:-1])


def _map_first(
    x, qkv, out, bias, seen, *, kind: str, window: tuple[int, ...], platform: str
) -> Array:
    *_, heads, head_dim = qkv.kernel.shape
    positions = math.prod(window)
    if bias is None:
        bias = jnp.zeros((heads, positions, positions), jnp.float32)
    if seen is None:
        seen = jnp.ones((1, positions), bool)
    # To XLA channels are one axis: tiles are of the last one, and head_dim would not fill them.
    # Heads are its first part, so that it can be sharded by them.
    to_qkv = Projection(*(None if w is None else _heads_first(w) for w in qkv))
    y = images_by_channels(to_qkv(images_by_channels(x)))
    y = _attend(y.reshape(*x.shape[:-1], heads, 3, head_dim), bias, seen, kind, window, platform)
    y = images_by_channels(y.reshape(*x.shape[:-1], heads * head_dim))
    return images_by_channels(out._replace(kernel=out.kernel.reshape(y.shape[-1], -1))(y))


def _heads_first(w: Array) -> Array:
    """From `[..., 3, heads, head_dim]` to `[..., heads * 3 * head_dim]`."""
    return jnp.swapaxes(w, -3, -2).reshape(*w.shape[:-3], -1)


def _has_blocks(x: Array, window: tuple[int, ...]) -> bool:
    """The kernel's addresses are of known sides (others: jax.export)."""
    return not any(is_symbolic_dim(side) for side in (*x.shape, *window))


@partial(jax.custom_jvp, nondiff_argnums=(3, 4, 5))
def _attend(
    qkv: Array, bias: Array, seen: Array, kind: str, window: tuple[int, ...], platform: str
) -> Array:
    """Attention on a map `[batch, *spatial, heads, 3, head_dim]`, by the platform's kernel."""
    place = {"kind": kind, "window": window}
    (y,) = call_on_each_device(
        _kernel("forward", platform, place),
        partial(_definition, **place),
        (qkv, bias, seen),
        (_mixed(qkv),),
        (Axes(0, qkv.ndim - 3), Axes(None, 0), Axes()),
        (Axes(0, qkv.ndim - 3),),
        platform,
    )
    return y


@_attend.defjvp
def _derivative(
    kind: str, window: tuple[int, ...], platform: str, primals: Any, tangents: Any
) -> tuple:
    """In reverse mode by the kernel, in forward mode by the definition."""
    place = {"kind": kind, "window": window}
    qkv, bias, _ = primals
    of_map, of_bias = Axes(0, qkv.ndim - 3), Axes(None, 0)

    def forward(residuals: tuple, moved: tuple) -> Array:
        args = (*residuals, *moved)
        axes = (of_map, of_bias, Axes(), of_map, of_bias)
        plain, shapes = partial(_moved, **place), (_mixed(qkv),)
        (y,) = call_on_each_device(_no_kernel, plain, args, shapes, axes, (of_map,), platform)
        return y

    def backward(residuals: tuple, gradient: Array) -> tuple[Array, Array]:
        by_qkv, by_bias = call_on_each_device(
            _kernel("backward", platform, place),
            partial(_gradients, **place),
            (*residuals, gradient),
            (qkv, bias),
            (of_map, of_bias, Axes(), of_map),
            (of_map, of_bias),
            platform,
        )
        return by_qkv, by_bias

    y = _attend(*primals, kind, window, platform)
    return y, linear_call(forward, backward, tuple(primals), tuple(tangents[:2]))


def _mixed(qkv: Array) -> ShapeDtypeStruct:
    """What values of these are mixed to."""
    *shape, heads, _, head_dim = qkv.shape
    return ShapeDtypeStruct((*shape, heads, head_dim), qkv.dtype)


def _no_kernel(*_: Any, **__: Any) -> None:
    return None


def _kernel(name: str, platform: str, place: dict[str, Any]) -> Callable[..., Any]:
    def kernel(*shapes: Any, chip: str | None) -> Any:
        # Here, since Pallas takes long to import.
        module = importlib.import_module(f"common.kernels.{_KERNELS[platform]}")
        return getattr(module, name)(*shapes, **place, chip=chip)

    return kernel


def _definition(
    qkv: Array, bias: Array, seen: Array, *, kind: str, window: tuple[int, ...]
) -> list[Array]:
    """What the kernels compute."""
    split, merge = PARTITIONS[kind]
    *shape, heads, _, head_dim = qkv.shape
    groups = split(jnp.swapaxes(qkv, -3, -2).reshape(*shape, -1), window)
    batch, count, positions, _ = groups.shape
    seen = jnp.broadcast_to(seen, (batch, count, positions)).reshape(-1, positions)
    y = dot_product_attention(groups.reshape(-1, positions, 3, heads, head_dim), bias, seen)
    y = merge(y.reshape(batch, count, positions, heads * head_dim), window, tuple(shape[1:]))
    return [y.reshape(*shape, heads, head_dim)]


def _moved(
    qkv: Array, bias: Array, seen: Array, moved_qkv: Array, moved_bias: Array, **place: Any
) -> list[Array]:
    """The derivative in forward mode."""
    define = partial(_definition, seen=seen, **place)
    return jax.jvp(define, (qkv, bias), (moved_qkv, moved_bias))[1]


def _gradients(qkv: Array, bias: Array, seen: Array, gradient: Array, **place: Any) -> list[Array]:
    _, vjp = jax.vjp(partial(_definition, seen=seen, **place), qkv, bias)
    return list(vjp([gradient]))
