"""Multi-axis attention: window attention over a chosen partition (MaxViT, section 3.2)."""

from functools import partial

import jax
from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from common.errors import UserError
from common.layers import partition
from common.layers.mlp import MLP, normal_init
from common.layers.norm import layer_norm
from common.layers.relative_bias import RelativeBias
from common.layers.stochastic_depth import StochasticDepth

PARTITIONS = {
    "block": (partition.block_partition, partition.block_unpartition),
    "grid": (partition.grid_partition, partition.grid_unpartition),
}


class WindowAttention(nn.Module):
    """Multi-head self-attention within each group of positions.

    Attributes:
      window: positions per spatial axis of a group.
      head_dim: channels per head; heads = channels / head_dim.
      bias_window: window the relative-bias tables are stored for (`window` unless given).
      dtype: compute type; the softmax is float32 always.
    """

    window: tuple[int, ...]
    head_dim: int = 32
    bias_window: tuple[int, ...] | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, real: Array | None = None) -> Array:
        """Mixes positions within groups.

        Args:
          x: `[batch, groups, positions, channels]`.
          real: boolean `[1, groups, positions, 1]`; False marks padding, which no query attends to.

        Returns:
          `[batch, groups, positions, channels]`.

        Raises:
          UserError: channels are not a multiple of `head_dim`.
        """
        batch, groups, positions, channels = x.shape
        if channels % self.head_dim:
            raise UserError(f"{channels} channels are not a multiple of head size {self.head_dim}")
        heads = channels // self.head_dim

        # Flat leading axes: see `mlp.Dense`. The kernels keep heads apart so that they can shard.
        dense = partial(nn.DenseGeneral, dtype=self.dtype, kernel_init=normal_init)
        qkv = dense((3, heads, self.head_dim), name="qkv")(x.reshape(-1, channels))
        qkv = qkv.reshape(batch * groups, positions, 3, heads, self.head_dim)
        # k as [groups, heads, head_dim, positions]: plain batched products.
        q = qkv[:, :, 0].transpose(0, 2, 1, 3) * self.head_dim**-0.5
        k = qkv[:, :, 1].transpose(0, 2, 3, 1)
        v = qkv[:, :, 2].transpose(0, 2, 1, 3)

        logits = jnp.matmul(q, k, preferred_element_type=jnp.float32)
        logits += RelativeBias(heads, self.window, self.bias_window, name="relative_bias")()
        if real is not None:
            keys = jnp.broadcast_to(real, (batch, groups, positions, 1))
            keys = keys.reshape(batch * groups, 1, 1, positions)
            logits = jnp.where(keys, logits, jnp.finfo(logits.dtype).min)
        weights = jax.nn.softmax(logits).astype(self.dtype)

        mixed = jnp.matmul(weights, v).transpose(0, 2, 1, 3).reshape(-1, heads, self.head_dim)
        return dense(channels, axis=(-2, -1), name="out")(mixed).reshape(x.shape)


class MultiAxisAttention(nn.Module):
    """Transformer block over one partition: `x + attention(LN(x))`, then `x + MLP(LN(x))`.

    Attributes:
      kind: `"block"` (local windows) or `"grid"` (dilated, global).
      window: positions per spatial axis of a group.
      head_dim: channels per head.
      bias_window: window the relative-bias tables are stored for (`window` unless given).
      expansion: hidden channels of the MLP over channels.
      pad_inputs: pad and mask inside the attention when a side is not a multiple of the window.
      drop_path_rate: stochastic depth of each of the two branches.
      dtype: compute type.
    """

    kind: str
    window: tuple[int, ...]
    head_dim: int = 32
    bias_window: tuple[int, ...] | None = None
    expansion: int = 4
    pad_inputs: bool = False
    drop_path_rate: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[batch, *spatial, channels]` to the same shape.

        Raises:
          UserError: a side is not a multiple of the window and `pad_inputs` is False.
        """
        y = layer_norm(dtype=self.dtype, name="attention_norm")(x)
        y = StochasticDepth(self.drop_path_rate)(self._attend(y), train=train)
        x = x + y
        y = layer_norm(dtype=self.dtype, name="mlp_norm")(x)
        y = MLP(self.expansion, dtype=self.dtype, name="mlp")(y)
        return x + StochasticDepth(self.drop_path_rate)(y, train=train)

    def _attend(self, x: Array) -> Array:
        split, merge = PARTITIONS[self.kind]
        spatial, real = x.shape[1:-1], None
        if self.pad_inputs:
            x, real = partition.pad_to_multiple(x, self.window)
            real = None if real is None else split(real, self.window)
        padded = x.shape[1:-1]
        attention = WindowAttention(
            self.window, self.head_dim, self.bias_window, dtype=self.dtype, name="attention"
        )
        x = merge(attention(split(x, self.window), real), self.window, padded)
        return x[(slice(None), *(slice(side) for side in spatial))]
