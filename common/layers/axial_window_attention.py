"""Axially expanded windows: rows, columns and windows attended to in parallel by groups of heads
(AEWin, Zhang et al. 2022, https://arxiv.org/abs/2209.08726)."""

from functools import partial

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from common.config import require
from common.kernels.attention import dot_product_attention
from common.layers.attention import mix_groups
from common.layers.mlp import normal_init
from common.layers.relative_bias import RelativeBias


def attend_within(qkv: Array, window: tuple[int, int], bias: Array | None = None) -> Array:
    """Softmax attention within non-overlapping windows of a map.

    A window may be as long as the map: `(1, width)` makes every row a window, `(height, 1)` every
    column. Sides that are no multiple are padded at the bottom and right; no query attends to
    padding.

    Args:
      qkv: queries, keys and values, `[batch, height, width, 3, heads, head_dim]`.
      window: height and width of a window.
      bias: added to the scaled products, float32 `[heads, positions, positions]` (query, key).

    Returns:
      `[batch, height, width, heads, head_dim]`.
    """
    *shape, three, heads, head_dim = qkv.shape

    def mix(x: Array, real: Array | None) -> Array:
        batch, groups, positions, _ = x.shape
        if real is not None:
            real = jnp.broadcast_to(real, (batch, *real.shape[1:])).reshape(-1, positions)
        y = dot_product_attention(x.reshape(-1, positions, three, heads, head_dim), bias, real)
        return y.reshape(batch, groups, positions, heads * head_dim)

    y = mix_groups(mix, qkv.reshape(*shape, -1), "block", window, pad_inputs=True)
    return y.reshape(*shape, heads, head_dim)


class AxialWindowAttention(nn.Module):
    """Self-attention whose heads see rows, columns or windows, all of the same map.

    The first quarter of the heads attends within horizontal stripes, the second within vertical
    ones, the other half within windows: coarse along the axes, fine nearby. One projection makes
    queries, keys and values, one mixes the groups' outputs.

    Attributes:
      heads: a multiple of 4.
      window_size: side of the windows.
      stripe_width: rows (columns) of a horizontal (vertical) stripe.
      bias_map: height and width of the map that the stripes' bias tables are stored for; on another
        map they are resized in every forward pass. The input's own unless given.
      dtype: compute type; the softmax is float32 always.
    """

    heads: int
    window_size: int = 7
    stripe_width: int = 1
    bias_map: tuple[int, int] | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[batch, height, width, channels]` to the same shape.

        Raises:
          UserError: heads are not a multiple of 4, or channels not of heads.
        """
        batch, height, width, channels = x.shape
        require(self.heads % 4 == 0, f"{self.heads} heads don't divide into quarters: use 4, 8, ..")
        require(channels % self.heads == 0, f"{channels} channels don't divide by {self.heads}")
        quarter, head_dim = self.heads // 4, channels // self.heads

        # Flat leading axes: see `kernels.dense`. Kernels keep heads apart so that they can shard.
        dense = partial(nn.DenseGeneral, dtype=self.dtype, kernel_init=normal_init)
        qkv = dense((3, self.heads, head_dim), name="qkv")(x.reshape(-1, channels))
        qkv = qkv.reshape(batch, height, width, 3, self.heads, head_dim)

        stripe, square = self.stripe_width, (self.window_size,) * 2
        bias_height, bias_width = self.bias_map or (height, width)
        rows, columns, windows = jnp.split(qkv, (quarter, 2 * quarter), axis=-2)
        mixed = []
        for name, part, window, bias_window in (
            ("horizontal", rows, (stripe, width), (stripe, bias_width)),
            ("vertical", columns, (height, stripe), (bias_height, stripe)),
            ("window", windows, square, square),
        ):
            bias = RelativeBias(part.shape[-2], window, bias_window, name=f"{name}_bias")()
            mixed.append(attend_within(part, window, bias))
        y = jnp.concatenate(mixed, axis=-2).reshape(-1, self.heads, head_dim)
        return dense(channels, axis=(-2, -1), name="out")(y).reshape(x.shape)
