"""Multi-axis attention: window attention over a chosen partition (MaxViT, section 3.2)."""

from collections.abc import Callable
from functools import partial

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from common.errors import UserError
from common.kernels.attention import attention_weights, dot_product_attention
from common.layers import partition
from common.layers.mlp import MLP, normal_init
from common.layers.norm import layer_norm
from common.layers.relative_bias import RelativeBias
from common.layers.stochastic_depth import StochasticDepth

PARTITIONS = {
    "block": (partition.block_partition, partition.block_unpartition),
    "grid": (partition.grid_partition, partition.grid_unpartition),
}


def mix_groups(
    mix: Callable[[Array, Array | None], Array],
    x: Array,
    kind: str,
    window: tuple[int, ...],
    *,
    pad_inputs: bool = False,
) -> Array:
    """Cuts a map into groups, mixes positions within each, and puts the map together again.

    Args:
      mix: such as a `WindowAttention`; takes `[batch, groups, positions, channels]` and the mask of
        real positions, boolean `[1, groups, positions, 1]`, None where nothing was padded.
      x: `[batch, *spatial, channels]`.
      kind: of partition, `"block"` or `"grid"`.
      window: positions per spatial axis of a group.
      pad_inputs: pad and mask when a side is not a multiple of the window.

    Returns:
      `[batch, *spatial, channels]`.

    Raises:
      UserError: a side is not a multiple of the window and `pad_inputs` is False.
    """
    split, merge = PARTITIONS[kind]
    spatial, real = x.shape[1:-1], None
    if pad_inputs:
        x, real = partition.pad_to_multiple(x, window)
        real = None if real is None else split(real, window)
    y = merge(mix(split(x, window), real), window, x.shape[1:-1])
    return y[(slice(None), *(slice(side) for side in spatial))]


class WindowAttention(nn.Module):
    """Multi-head self-attention within each group of positions.

    Where the collection `intermediates` is mutable, `weights` there has what it weighted values by,
    float32 `[batch, groups, heads, positions, positions]` (query, key).

    Attributes:
      window: positions per spatial axis of a group.
      head_dim: channels per head; heads = channels / head_dim.
      bias_window: window the relative-bias tables are stored for (`window` unless given).
      relative_bias: has a learned bias per head and relative position.
      qkv_bias: queries, keys and values have biases.
      out_bias: the output projection has a bias.
      dtype: compute type; the softmax is float32 always.
    """

    window: tuple[int, ...]
    head_dim: int = 32
    bias_window: tuple[int, ...] | None = None
    relative_bias: bool = True
    qkv_bias: bool = True
    out_bias: bool = True
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
        qkv = dense((3, heads, self.head_dim), use_bias=self.qkv_bias, name="qkv")(
            x.reshape(-1, channels)
        )
        qkv = qkv.reshape(batch * groups, positions, 3, heads, self.head_dim)
        bias = None
        if self.relative_bias:
            bias = RelativeBias(heads, self.window, self.bias_window, name="relative_bias")()
        if real is not None:
            real = jnp.broadcast_to(real, (batch, groups, positions, 1))
            real = real.reshape(batch * groups, positions)
        if self.is_mutable_collection("intermediates"):  # otherwise they are not even traced
            weights = attention_weights(qkv, bias, real)
            self.sow("intermediates", "weights", weights.reshape(batch, groups, *weights.shape[1:]))
        mixed = dot_product_attention(qkv, bias, real).reshape(-1, heads, self.head_dim)
        out = dense(channels, axis=(-2, -1), use_bias=self.out_bias, name="out")
        return out(mixed).reshape(x.shape)


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
        attention = WindowAttention(
            self.window, self.head_dim, self.bias_window, dtype=self.dtype, name="attention"
        )
        y = layer_norm(dtype=self.dtype, name="attention_norm")(x)
        y = mix_groups(attention, y, self.kind, self.window, pad_inputs=self.pad_inputs)
        x = x + StochasticDepth(self.drop_path_rate)(y, train=train)
        y = layer_norm(dtype=self.dtype, name="mlp_norm")(x)
        y = MLP(self.expansion, dtype=self.dtype, name="mlp")(y)
        return x + StochasticDepth(self.drop_path_rate)(y, train=train)
