"""Cross-gating: two maps modulate each other by multi-axis spatial gates (MAXIM, section 3.3)."""

from collections.abc import Sequence
from functools import partial

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from common.layers.conv import UpConv
from common.layers.gmlp import SpatialDense, gelu, mixing_partition, mixing_unpartition
from common.layers.mlp import Dense, PartedDense
from common.layers.norm import layer_norm
from common.layers.resize import MultiScaleDense

_init = nn.initializers.lecun_normal()


class SpatialGate(nn.Module):
    """Gating weights from a map: half of the channels mixed over a grid, half over blocks.

    Attributes:
      block: sides of a block, per spatial axis.
      grid: cells of the grid, per spatial axis.
      use_bias: layers have biases; those over positions start at one, an open gate.
      dropout_rate: after the last projection.
      dtype: compute type.
    """

    block: tuple[int, ...]
    grid: tuple[int, ...]
    use_bias: bool = True
    dropout_rate: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[batch, *spatial, channels]` to the same shape."""
        spatial, channels = x.shape[1:-1], x.shape[-1]
        options = {"use_bias": self.use_bias, "dtype": self.dtype, "kernel_init": _init}

        def mix(y: Array, kind: str, sides: tuple[int, ...]) -> Array:
            y = gelu(mixing_partition(y, kind, sides))
            y = SpatialDense(self.use_bias, self.dtype, nn.initializers.ones, name=kind)(y)
            return mixing_unpartition(y, kind, sides, spatial)

        y = layer_norm(epsilon=1e-6, dtype=self.dtype, name="norm")(x)
        u, v = PartedDense((channels, channels), **options, name="in_proj")(y)
        u, v = mix(u, "grid", self.grid), mix(v, "block", self.block)
        (y,) = PartedDense((channels,), **options, name="out_proj")(u, v)
        return nn.Dropout(self.dropout_rate, deterministic=not train)(y)


class CrossGating(nn.Module):
    """Cross-gating block: x is gated by weights from y, y by weights from x.

    Attributes:
      features: output channels.
      block: sides of a block.
      grid: cells of the grid.
      upsample_y: y has half of x's sides and is upsampled by a transposed convolution first.
      use_bias: layers have biases.
      dropout_rate: after the projections.
      dtype: compute type.
    """

    features: int
    block: tuple[int, int]
    grid: tuple[int, int]
    upsample_y: bool = False
    use_bias: bool = True
    dropout_rate: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Sequence[Array], y: Array, train: bool) -> tuple[Array, Array]:
        """Gates both maps by each other.

        Args:
          x: maps `[batch, height / f, width / f, channels]`, concatenated (see `MultiScaleDense`).
          y: `[batch, height, width, channels]`, or half the sides with `upsample_y`.
          train: dropout is on.

        Returns:
          x and y, `[batch, height, width, features]` each; x contains y.
        """
        options = {"use_bias": self.use_bias, "dtype": self.dtype}
        dense = partial(Dense, self.features, kernel_init=_init, **options)
        norm = partial(layer_norm, epsilon=1e-6, dtype=self.dtype)
        gate = partial(
            SpatialGate, self.block, self.grid, dropout_rate=self.dropout_rate, **options
        )
        dropout = nn.Dropout(self.dropout_rate, deterministic=not train)

        if self.upsample_y:
            y = UpConv(self.features, **options, name="up")(y)
        shortcut_x = x = MultiScaleDense(self.features, **options, name="proj_x")(x)
        shortcut_y = y = dense(name="proj_y")(y)

        x = gelu(dense(name="in_proj_x")(norm(name="norm_x")(x)))
        y = gelu(dense(name="in_proj_y")(norm(name="norm_y")(y)))
        gate_x, gate_y = gate(name="gate_x")(x, train=train), gate(name="gate_y")(y, train=train)

        y = dropout(dense(name="out_proj_y")(y * gate_x)) + shortcut_y
        x = dropout(dense(name="out_proj_x")(x * gate_y)) + y + shortcut_x
        return x, y
