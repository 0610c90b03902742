"""Multi-axis attention: window attention over a chosen partition (MaxViT, section 3.2)."""

from collections.abc import Callable

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from common.errors import UserError
from common.kernels.attention import attention_weights
from common.kernels.map_layout import images_by_channels
from common.kernels.window_attention import (
    Projection,
    attend_groups,
    grouped_qkv,
    padded,
    window_attention,
)
from common.layers.mlp import MLP, gelu, normal_init
from common.layers.norm import layer_norm
from common.layers.partition import PARTITIONS, pad_to_multiple
from common.layers.relative_bias import RelativeBias
from common.layers.stochastic_depth import StochasticDepth


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
      mix: takes `[batch, groups, positions, channels]` and the mask of real positions, boolean
        `[1, groups, positions, 1]`, None where nothing was padded.
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
        x, real = pad_to_multiple(x, window)
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
        qkv, out, bias = self._parts(x.shape[-1])
        seen = None if real is None else real[0, ..., 0]
        self._sow_weights(x, qkv, bias, seen)
        return attend_groups(x, qkv, out, bias, seen)

    def on_map(self, x: Array, kind: str, *, pad_inputs: bool = False) -> Array:
        """Cuts a map into groups, mixes positions within each, and puts the map together again.

        Args:
          x: `[batch, *spatial, channels]`.
          kind: of partition, `"block"` or `"grid"`.
          pad_inputs: pad and mask when a side is not a multiple of the window.

        Returns:
          `[batch, *spatial, channels]`.

        Raises:
          UserError: a side is not a multiple of the window and `pad_inputs` is False, or channels
            are not a multiple of `head_dim`.
        """
        qkv, out, bias = self._parts(x.shape[-1])
        if self.is_mutable_collection("intermediates"):
            whole, seen = padded(x, kind, self.window) if pad_inputs else (x, None)
            self._sow_weights(PARTITIONS[kind][0](whole, self.window), qkv, bias, seen)
        return window_attention(
            x, qkv, out, bias, kind=kind, window=self.window, pad_inputs=pad_inputs
        )

    @nn.compact
    def _parts(self, channels: int) -> tuple[Projection, Projection, Array | None]:
        """Both projections and the bias."""
        if channels % self.head_dim:
            raise UserError(f"{channels} channels are not a multiple of head size {self.head_dim}")
        heads = channels // self.head_dim
        # The kernels keep heads apart so that they can shard.
        qkv = _ProjectionWeights(
            (channels,), (3, heads, self.head_dim), self.qkv_bias, self.dtype, name="qkv"
        )()
        out = _ProjectionWeights(
            (heads, self.head_dim), (channels,), self.out_bias, self.dtype, name="out"
        )()
        if not self.relative_bias:
            return qkv, out, None
        bias = RelativeBias(heads, self.window, self.bias_window, name="relative_bias")()
        return qkv, out, bias

    def _sow_weights(
        self, x: Array, qkv: Projection, bias: Array | None, seen: Array | None
    ) -> None:
        """What `intermediates` get; otherwise it is not even traced."""
        if self.is_mutable_collection("intermediates"):
            batch, groups, positions, _ = x.shape
            if seen is not None:
                seen = jnp.broadcast_to(seen, x.shape[:3]).reshape(-1, positions)
            weights = attention_weights(grouped_qkv(x, qkv), bias, seen)
            self.sow("intermediates", "weights", weights.reshape(batch, groups, *weights.shape[1:]))


class _ProjectionWeights(nn.Module):
    """The parameters of a dense layer, which the attention runs where it is fastest."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    use_bias: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self) -> Projection:
        kernel = self.param("kernel", normal_init, (*self.inputs, *self.outputs), jnp.float32)
        bias = None
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, self.outputs, jnp.float32)
            bias = bias.astype(self.dtype)
        return Projection(kernel.astype(self.dtype), bias)


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
        y = attention.on_map(y, self.kind, pad_inputs=self.pad_inputs)
        x = x + StochasticDepth(self.drop_path_rate)(y, train=train)
        y = images_by_channels(layer_norm(dtype=self.dtype, name="mlp_norm")(x))
        y = MLP(self.expansion, activation=_activation, dtype=self.dtype, name="mlp")(y)
        y = images_by_channels(y)
        return x + StochasticDepth(self.drop_path_rate)(y, train=train)


def _activation(x: Array) -> Array:
    return images_by_channels(gelu(images_by_channels(x)))
