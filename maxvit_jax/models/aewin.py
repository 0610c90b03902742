"""AEWin: axially expanded windows (Zhang et al. 2022, https://arxiv.org/abs/2209.08726).

No reference code is public: what the paper leaves open is our reading, marked [reading]. It is
chosen so that the published parameter counts come out; the rest follows Swin.
"""

import math
from collections.abc import Iterator

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from common.config import require
from common.errors import nearest_valid
from common.kernels.gelu import exact_gelu
from common.layers.axial_window_attention import AxialWindowAttention
from common.layers.conv import conv
from common.layers.mlp import MLP, Dense
from common.layers.norm import layer_norm
from common.layers.partition import block_partition, pad_to_multiple
from common.layers.remat import remat
from common.layers.stochastic_depth import StochasticDepth
from maxvit_jax.models.backbone import Backbone

PATCH_SIZE = 4


class PatchEmbedding(nn.Module):
    """One linear map of every 4x4 patch, without a norm; zeros at the bottom and right complete
    the last patches.

    Attributes:
      features: output channels.
      dtype: compute type.
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[batch, height, width, in]` to `[batch, ceil(height / 4), ..., features]`."""
        x, _ = pad_to_multiple(x, (PATCH_SIZE,) * 2)
        patches = {"kernel": PATCH_SIZE, "stride": PATCH_SIZE, "padding": 0}
        return conv(self.features, **patches, dtype=self.dtype, name="conv")(x)


class PatchMerging(nn.Module):
    """Swin's downsampling: every 2x2 neighbourhood, concatenated row by row, normalised and
    projected; zeros at the bottom and right complete the last ones.

    Attributes:
      features: output channels.
      dtype: compute type.
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[batch, height, width, in]` to `[batch, ceil(height / 2), ..., features]`."""
        x, _ = pad_to_multiple(x, (2, 2))
        batch, height, width, channels = x.shape
        x = block_partition(x, (2, 2)).reshape(batch, height // 2, width // 2, 4 * channels)
        x = layer_norm(dtype=self.dtype, name="norm")(x)
        return Dense(self.features, use_bias=False, dtype=self.dtype, name="reduce")(x)


class AEWinBlock(nn.Module):
    """Transformer block: `x + attention(LN(x))`, then `x + MLP(LN(x))`.

    Attributes:
      heads: of the attention, a multiple of 4: rows, columns and windows, 1 : 1 : 2.
      window_size: side of the windows.
      stripe_width: of the rows and columns.
      bias_map: height and width of the map that the stripes' bias tables are stored for.
      drop_path_rate: stochastic depth of each of the two branches.
      dtype: compute type.
    """

    heads: int
    window_size: int
    stripe_width: int
    bias_map: tuple[int, int]
    drop_path_rate: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Maps `[batch, height, width, channels]` to the same shape."""
        attention = AxialWindowAttention(
            self.heads,
            self.window_size,
            self.stripe_width,
            self.bias_map,
            dtype=self.dtype,
            name="attention",
        )
        y = attention(layer_norm(dtype=self.dtype, name="attention_norm")(x))
        x = x + StochasticDepth(self.drop_path_rate)(y, train=train)
        mlp = MLP(activation=exact_gelu, dtype=self.dtype, name="mlp")
        y = mlp(layer_norm(dtype=self.dtype, name="mlp_norm")(x))
        return x + StochasticDepth(self.drop_path_rate)(y, train=train)


class Head(nn.Module):
    """Classifier: LayerNorm, mean over the map, dense.

    Attributes:
      num_classes: logits; 0 returns the normalised mean features.
      dropout_rate: before the last layer.
      dtype: compute type.
    """

    num_classes: int
    dropout_rate: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """Maps `[batch, height, width, channels]` to float32 `[batch, num_classes or channels]`."""
        x = layer_norm(dtype=self.dtype, name="norm")(x)
        x = jnp.mean(x, axis=(1, 2), dtype=jnp.float32)
        if self.num_classes:
            x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
            x = Dense(self.num_classes, dtype=self.dtype, name="logits")(x)
        return x.astype(jnp.float32)


class AEWin(Backbone):
    """The network: patch embedding, stages of blocks at strides 4, 8, 16, 32, head.

    Images of any height and width: windows and patches that stick out are padded, and padding is
    never attended to.

    Attributes:
      widths: channels per stage.
      depths: blocks per stage [reading].
      heads: attention heads per stage, each a multiple of 4 [reading].
      num_classes: logits; 0 ends after the mean of the normalised map.
      in_channels: channels of the images.
      window_size: side of the windows.
      stripe_width: rows (columns) that a horizontal (vertical) stripe holds [reading].
      image_size: side of the images for whose maps the stripes' bias tables are stored, one entry
        per offset and head [reading]; at another size they are resized in every forward pass.
      drop_path_rate: stochastic depth; block n of N drops at rate `drop_path_rate * n / (N - 1)`.
      head_dropout: before the classifier's last layer.
      remat: recompute each block in the backward pass instead of storing its activations.
      dtype: compute type; parameters, statistics, softmax and logits are float32.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    num_classes: int = 1000
    in_channels: int = 3
    window_size: int = 7
    stripe_width: int = 1
    image_size: int = 224
    drop_path_rate: float = 0.0
    head_dropout: float = 0.0
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    def setup(self):
        """Names parts `stem`, `stage_<from 1>_merging` (from 2), `stage_<from 1>_block_<from 0>`
        and `head`."""
        self.check()
        self.stem = PatchEmbedding(self.widths[0], dtype=self.dtype)
        self.merging = [
            PatchMerging(width, dtype=self.dtype, name=f"stage_{stage}_merging")
            for stage, width in enumerate(self.widths[1:], 2)
        ]
        block_class = remat(AEWinBlock) if self.remat else AEWinBlock
        blocks, last = [], max(sum(self.depths) - 1, 1)
        for stage, stride in enumerate(self.feature_strides.values()):
            for index in range(self.depths[stage]):
                blocks.append(
                    block_class(
                        heads=self.heads[stage],
                        window_size=self.window_size,
                        stripe_width=self.stripe_width,
                        bias_map=(math.ceil(self.image_size / stride),) * 2,
                        drop_path_rate=self.drop_path_rate * len(blocks) / last,
                        dtype=self.dtype,
                        name=f"stage_{stage + 1}_block_{index}",
                    )
                )
        self.blocks = blocks
        self.head = Head(self.num_classes, self.head_dropout, dtype=self.dtype)

    def maps(self, x: Array, train: bool) -> Iterator[tuple[str, Array]]:
        x = self.stem(x)
        blocks = iter(self.blocks)
        for stage, depth in enumerate(self.depths):
            if stage:
                x = self.merging[stage - 1](x)
            for _ in range(depth):
                x = next(blocks)(x, train)
            yield f"stage_{stage + 1}", x

    def check(self) -> None:
        super().check()
        widths, heads = self.widths, self.heads
        one_each = f"heads={heads}: one positive number for each of {len(widths)} stages is needed"
        require(len(heads) == len(widths) and min(heads) > 0, one_each)
        for width, count in zip(widths, heads, strict=True):
            require(
                count % 4 == 0,
                f"heads={heads}: {count} is not a multiple of 4; {nearest_valid(count, 4)}",
            )
            require(
                width % count == 0,
                f"widths={widths}: {width} channels don't divide by {count} heads;"
                f" {nearest_valid(width, count)}",
            )
        for name in ("window_size", "stripe_width", "image_size"):
            require(getattr(self, name) > 0, f"{name}={getattr(self, name)} must be positive")


# Widths are the paper's, depths and heads [reading].
VARIANTS = {
    "aewin_tiny": {
        "widths": (64, 128, 256, 512),
        "depths": (1, 2, 21, 1),
        "heads": (4, 8, 16, 32),
    },
    "aewin_small": {
        "widths": (64, 128, 256, 512),
        "depths": (2, 4, 32, 2),
        "heads": (4, 8, 16, 32),
    },
    "aewin_base": {
        "widths": (96, 192, 384, 768),
        "depths": (2, 4, 32, 2),
        "heads": (4, 8, 16, 32),
    },
}

# Published ImageNet-1k top-1 in per cent by image size, trained on ImageNet-1k alone: the revised
# paper's (its first version had 83.6 for aewin_tiny).
PUBLISHED = {
    "aewin_tiny": {224: 83.1},
    "aewin_base": {224: 84.7},
}
