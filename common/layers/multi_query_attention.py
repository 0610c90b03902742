"""Multi-query attention, and its multi-axis form: blocks and grids attended to by halves of the
heads (HiT, Zhao et al. 2021, https://arxiv.org/abs/2106.07631, section 3.2)."""

from functools import partial

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from common.config import require
from common.kernels.attention import multi_query_attention
from common.layers.mlp import normal_init
from common.layers.partition import PARTITIONS, group_counts


class MultiQueryAttention(nn.Module):
    """Attention of several heads of queries over keys and values of one.

    With `block`, positions of the map attend to each other: the first half of the heads within
    blocks of neighbours, the second across all blocks at equal offset. Without, all attend to a
    sequence.

    Attributes:
      heads: of the queries; each has channels / heads.
      block: height and width of a block.
      kernel_init: initialiser of all kernels.
      dtype: compute type; the softmax is float32 always.
    """

    heads: int
    block: tuple[int, int] | None = None
    kernel_init: Initializer = normal_init
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, sequence: Array | None = None) -> Array:
        """Mixes positions.

        Args:
          x: `[batch, height, width, channels]`.
          sequence: `[batch, positions, other channels]`, where there is no `block`.

        Returns:
          `[batch, height, width, channels]`.

        Raises:
          UserError: channels are not a multiple of the heads, or a side not of the block's.
        """
        batch, height, width, channels = x.shape
        heads, head_dim = self.heads, channels // self.heads
        require(channels % heads == 0, f"{channels} channels don't divide by {heads} heads")
        source = x if sequence is None else sequence

        # Flat leading axes: see `kernels.dense`. Kernels keep heads apart so that they can shard.
        dense = partial(nn.DenseGeneral, dtype=self.dtype, kernel_init=self.kernel_init)
        q = dense((heads, head_dim), name="query")(x.reshape(-1, channels))
        flat = source.reshape(-1, source.shape[-1])
        k, v = (dense((1, head_dim), name=name)(flat) for name in ("key", "value"))
        if self.block is None:
            mixed = multi_query_attention(
                q.reshape(batch, -1, heads, head_dim),
                k.reshape(batch, -1, head_dim),
                v.reshape(batch, -1, head_dim),
            )
        else:
            q = q.reshape(batch, height, width, channels)
            k, v = (a.reshape(batch, height, width, head_dim) for a in (k, v))
            local, across = jnp.split(q, (heads // 2 * head_dim,), axis=-1)
            grid = group_counts((height, width), self.block)
            parts = (
                _attend("block", self.block, local, k, v),
                _attend("grid", grid, across, k, v),
            )
            mixed = jnp.concatenate(parts, axis=-1)
        mixed = mixed.reshape(-1, heads, head_dim)
        return dense(channels, axis=(-2, -1), name="out")(mixed).reshape(x.shape)


def _attend(kind: str, window: tuple[int, ...], q: Array, k: Array, v: Array) -> Array:
    """Attention within the groups of a partition of `[batch, height, width, channels]`."""
    split, merge = PARTITIONS[kind]
    *shape, head_dim = k.shape
    heads = q.shape[-1] // head_dim

    def grouped(x: Array) -> Array:
        x = split(x, window)
        return x.reshape(-1, *x.shape[2:])

    queries = grouped(q)
    queries = queries.reshape(*queries.shape[:-1], heads, head_dim)
    mixed = multi_query_attention(queries, grouped(k), grouped(v))
    mixed = mixed.reshape(shape[0], -1, mixed.shape[1], heads * head_dim)
    return merge(mixed, window, tuple(shape[1:]))
