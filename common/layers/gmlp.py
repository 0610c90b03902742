"""Gated MLPs that mix positions by a learnt matrix, over blocks and grids (MAXIM, section 3.2).

Block mixing is local, grid mixing global, and both are linear in the number of positions. They work
on any number of spatial axes. Weights depend on the sides of block and grid, never on the map's.
"""

from flax import linen as nn
from jax import Array, lax
from jax import numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from common.layers.mlp import Dense, PartedDense, normal_init
from common.layers.norm import layer_norm
from common.layers.partition import (
    block_partition,
    block_unpartition,
    grid_partition,
    grid_unpartition,
    group_counts,
)


def gelu(x: Array) -> Array:
    """GELU in the tanh approximation, by `tanh z = 2 sigmoid(2 z) - 1`.

    The same function as `mlp.gelu`. The sigmoid has one consumer, so that XLA keeps no second map.
    """
    return x * nn.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))


def mixing_partition(x: Array, kind: str, sides: tuple[int, ...]) -> Array:
    """Brings the positions that are mixed to the front.

    Args:
      x: `[batch, *spatial, channels]`.
      kind: `"block"` mixes neighbours in blocks of `sides`; `"grid"` mixes positions that are a
        grid cell apart, `sides` cells in all.
      sides: one per spatial axis; divide the map's.

    Returns:
      `[batch, positions, groups, channels]`: mixing is one product from the left, without
      transposing.

    Raises:
      UserError: a side is not a multiple; the message names the nearest sides that are.
    """
    counts = group_counts(x.shape[1:-1], sides)
    # Of a partition into blocks, the groups are a grid's positions, and the other way round.
    return block_partition(x, counts) if kind == "grid" else grid_partition(x, counts)


def mixing_unpartition(
    x: Array, kind: str, sides: tuple[int, ...], spatial: tuple[int, ...]
) -> Array:
    """Inverse of `mixing_partition`; returns `[batch, *spatial, channels]`."""
    unpartition = block_unpartition if kind == "grid" else grid_unpartition
    return unpartition(x, group_counts(spatial, sides), spatial)


class SpatialDense(nn.Module):
    """Dense layer over positions, the same for all groups and channels.

    Attributes:
      use_bias: adds a bias per position.
      dtype: compute type.
      bias_init: initialiser of the bias; the kernel's is normal(0.02).
    """

    use_bias: bool = True
    dtype: DTypeLike = jnp.float32
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[batch, positions, groups, channels]` to the same shape."""
        positions = x.shape[1]
        kernel = self.param("kernel", normal_init, (positions, positions), jnp.float32)
        flat = x.reshape(*x.shape[:2], -1).astype(self.dtype)
        # One kernel per example: a shared one makes XLA transpose the maps of a batch.
        kernels = jnp.broadcast_to(kernel.T.astype(self.dtype), (x.shape[0], positions, positions))
        y = jnp.matmul(kernels, flat)
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (positions,), jnp.float32)
            y = y + bias[:, None].astype(self.dtype)
        return y.reshape(x.shape)


class SpatialGatingUnit(nn.Module):
    """Returns `u * (W LN(v) + b + 1)`, W over positions.

    Attributes:
      use_bias: W has a bias.
      dtype: compute type.
    """

    use_bias: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, u: Array, v: Array) -> Array:
        """Maps two `[batch, positions, groups, channels]` to one."""
        v = layer_norm(epsilon=1e-6, dtype=self.dtype, name="norm")(_separate(v))
        return u * (SpatialDense(self.use_bias, self.dtype, name="spatial")(v) + 1.0)


class GatedMLP(nn.Module):
    """gMLP block on partitioned maps: `x + W2 SGU(GELU(W1 LN(x)))`.

    Attributes:
      factor: hidden channels over channels; half of them are the gate.
      use_bias: layers have biases.
      dropout_rate: after W2.
      dtype: compute type.
    """

    factor: int = 2
    use_bias: bool = True
    dropout_rate: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[batch, positions, groups, channels]` to the same shape."""
        channels = x.shape[-1]
        y = layer_norm(epsilon=1e-6, dtype=self.dtype, name="norm")(x)
        half = channels * self.factor // 2
        u, v = PartedDense((half, half), self.use_bias, self.dtype, name="in_proj")(y)
        y = SpatialGatingUnit(self.use_bias, self.dtype, name="gating")(gelu(u), gelu(v))
        y = Dense(channels, self.use_bias, self.dtype, name="out_proj")(y)
        return x + nn.Dropout(self.dropout_rate, deterministic=not train)(y)


class MultiAxisGatedMLP(nn.Module):
    """Two heads in parallel: half of the channels mixed over a grid, half over blocks.

    Attributes:
      block: sides of a block, per spatial axis.
      grid: cells of the grid, per spatial axis.
      block_factor: hidden channels of the block head over its channels.
      grid_factor: the same for the grid head.
      input_proj_factor: channels of both heads together over the input's.
      use_bias: layers have biases.
      dropout_rate: after the projections.
      dtype: compute type.
    """

    block: tuple[int, ...]
    grid: tuple[int, ...]
    block_factor: int = 2
    grid_factor: int = 2
    input_proj_factor: int = 2
    use_bias: bool = True
    dropout_rate: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[batch, *spatial, channels]` to the same shape.

        Raises:
          UserError: a side is not a multiple of the block's or the grid's.
        """
        spatial, channels = x.shape[1:-1], x.shape[-1]
        half = channels * self.input_proj_factor // 2
        options = {"use_bias": self.use_bias, "dtype": self.dtype}

        def mix(x: Array, kind: str, sides: tuple[int, ...], factor: int) -> Array:
            # The activation after the partition: the map is written once, not twice.
            x = gelu(mixing_partition(x, kind, sides))
            gmlp = GatedMLP(factor, dropout_rate=self.dropout_rate, **options, name=kind)
            return mixing_unpartition(gmlp(x, train=train), kind, sides, spatial)

        y = layer_norm(epsilon=1e-6, dtype=self.dtype, name="norm")(x)
        u, v = PartedDense((half, half), **options, name="in_proj")(y)
        u = mix(u, "grid", self.grid, self.grid_factor)
        v = mix(v, "block", self.block, self.block_factor)
        (y,) = PartedDense((channels,), **options, name="out_proj")(u, v)
        return x + nn.Dropout(self.dropout_rate, deterministic=not train)(y)


def _separate(x: Array) -> Array:
    """The identity, but XLA's CPU backend computes x on its own.

    Fused into the product before and the norm after it, GELU would read its constants from maps as
    large as x.
    """
    info = jnp.finfo(x.dtype)
    return lax.reduce_precision(x, exponent_bits=info.nexp, mantissa_bits=info.nmant)
