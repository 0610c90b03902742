"""MaxViT: multi-axis vision transformer (Tu et al., ECCV 2022, https://arxiv.org/abs/2204.01697).

Numerics follow the official TensorFlow release (google-research/maxvit).
"""

import functools
import math
from collections.abc import Iterator

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from common.config import require
from common.errors import nearest_valid
from common.layers.attention import MultiAxisAttention
from common.layers.conv import conv
from common.layers.mbconv import MBConv
from common.layers.mlp import Dense, gelu
from common.layers.norm import batch_norm, layer_norm
from common.layers.remat import remat
from maxvit_jax.models.backbone import AttentionLayout, Backbone

STEM_STRIDE = 2
HEAD_DIM = 32


class Stem(nn.Module):
    """Two 3x3 convolutions, the first at stride 2 and normalised.

    Attributes:
      widths: channels of the two.
      norm_momentum: of the moving statistics of batch normalisation.
      dtype: compute type.
    """

    widths: tuple[int, int]
    norm_momentum: float = 0.99
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Maps `[batch, height, width, in]` to `[batch, ceil(height / 2), ..., widths[1]]`."""
        x = conv(self.widths[0], stride=STEM_STRIDE, dtype=self.dtype, name="conv_0")(x)
        norm = batch_norm(train=train, momentum=self.norm_momentum, dtype=self.dtype, name="norm_0")
        x = gelu(norm(x))
        return conv(self.widths[1], dtype=self.dtype, name="conv_1")(x)


class MaxViTBlock(nn.Module):
    """MBConv, block attention, grid attention (figure 2): local, then local, then global mixing.

    Attributes:
      features: output channels.
      stride: of the MBConv.
      window_size: window side of block attention.
      grid_size: grid side of grid attention.
      bias_window_size: window side that the relative-bias tables are stored for, if another.
      pad_inputs: pad and mask inside the attention when a side doesn't divide.
      drop_path_rate: stochastic depth of each of the five residual branches.
      norm_momentum: of the moving statistics of batch normalisation.
      frozen_norm: training uses the moving statistics and leaves them alone.
      dtype: compute type.
    """

    features: int
    stride: int
    window_size: int
    grid_size: int
    bias_window_size: int | None = None
    pad_inputs: bool = False
    drop_path_rate: float = 0.0
    norm_momentum: float = 0.99
    frozen_norm: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Maps `[batch, height, width, in]` to `[batch, ceil(height / stride), ..., features]`."""
        attention = functools.partial(
            MultiAxisAttention,
            head_dim=HEAD_DIM,
            bias_window=None if self.bias_window_size is None else (self.bias_window_size,) * 2,
            pad_inputs=self.pad_inputs,
            drop_path_rate=self.drop_path_rate,
            dtype=self.dtype,
        )
        x = MBConv(
            self.features,
            self.stride,
            drop_path_rate=self.drop_path_rate,
            norm_momentum=self.norm_momentum,
            frozen_norm=self.frozen_norm,
            dtype=self.dtype,
            name="mbconv",
        )(x, train=train)
        x = attention("block", (self.window_size,) * 2, name="window")(x, train=train)
        return attention("grid", (self.grid_size,) * 2, name="grid")(x, train=train)


class Head(nn.Module):
    """Classifier: mean over the map, LayerNorm, then dense, tanh, dense.

    Attributes:
      num_classes: logits; 0 returns the normalised features.
      dropout_rate: before the last layer.
      pre_logits: without classes, what the last layer would get is returned.
      dtype: compute type.
    """

    num_classes: int
    dropout_rate: float = 0.0
    pre_logits: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """Maps `[batch, height, width, channels]` to float32 `[batch, num_classes or channels]`."""
        x = jnp.mean(x, axis=(1, 2), dtype=jnp.float32)
        x = layer_norm(dtype=self.dtype, name="norm")(x)
        if self.num_classes or self.pre_logits:
            x = jnp.tanh(Dense(x.shape[-1], dtype=self.dtype, name="inner")(x))
        if self.num_classes:
            x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
            x = Dense(self.num_classes, dtype=self.dtype, name="logits")(x)
        return x.astype(jnp.float32)


class MaxViT(Backbone):
    """The network: convolutional stem, stages of MaxViT blocks at strides 4, 8, 16, 32, head.

    Attributes:
      stem_widths: channels of the stem's two convolutions.
      widths: channels per stage.
      depths: blocks per stage.
      num_classes: logits; 0 ends after the final LayerNorm.
      pre_logits: without classes, end after the dense layer and tanh that the classifier begins
        with: the embedding that timm's `num_classes=0` gives.
      in_channels: channels of the images.
      window_size: window side of block attention.
      grid_size: grid side of grid attention; `window_size` unless given.
      bias_window_size: window side that the relative-bias tables are stored for, when it differs
        from `window_size`: tables are then resized in every forward pass, which is how the official
        models are fine-tuned at 384 and 512 (tables of window 7).
      pad_inputs: let any height and width in, padded and masked inside the attention alone.
      drop_path_rate: stochastic depth; block n of N drops at rate `drop_path_rate * n / N`.
      head_dropout: before the classifier's last layer.
      norm_momentum: of the moving statistics of batch normalisation.
      frozen_norm: training uses the moving statistics of batch normalisation and leaves them alone,
        while all else trains: for small batches, such as detection's.
      remat: recompute each block in the backward pass instead of storing its activations.
      dtype: compute type; parameters, statistics, softmax and logits are float32.
    """

    stem_widths: tuple[int, int]
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    num_classes: int = 1000
    pre_logits: bool = False
    in_channels: int = 3
    window_size: int = 7
    grid_size: int | None = None
    bias_window_size: int | None = None
    pad_inputs: bool = False
    drop_path_rate: float = 0.0
    head_dropout: float = 0.0
    norm_momentum: float = 0.99
    frozen_norm: bool = False
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    @property
    def feature_strides(self) -> dict[str, int]:
        return {"stem": STEM_STRIDE, **super().feature_strides}

    @property
    def feature_widths(self) -> dict[str, int]:
        return {"stem": self.stem_widths[-1], **super().feature_widths}

    def setup(self):
        """Names parts `stem`, `stage_<from 1>_block_<from 0>` and `head`."""
        self.check()
        self.stem = Stem(self.stem_widths, self.norm_momentum, dtype=self.dtype)
        block_class = remat(MaxViTBlock) if self.remat else MaxViTBlock
        blocks = []
        for stage, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True), 1):
            for index in range(depth):
                blocks.append(
                    block_class(
                        features=width,
                        stride=2 if index == 0 else 1,
                        window_size=self.window_size,
                        grid_size=self.grid_size or self.window_size,
                        bias_window_size=self.bias_window_size,
                        pad_inputs=self.pad_inputs,
                        drop_path_rate=self.drop_path_rate * len(blocks) / sum(self.depths),
                        norm_momentum=self.norm_momentum,
                        frozen_norm=self.frozen_norm,
                        dtype=self.dtype,
                        name=f"stage_{stage}_block_{index}",
                    )
                )
        self.blocks = blocks
        self.head = Head(self.num_classes, self.head_dropout, self.pre_logits, dtype=self.dtype)

    def maps(self, x: Array, train: bool) -> Iterator[tuple[str, Array]]:
        x = self.stem(x, train and not self.frozen_norm)
        yield "stem", x
        blocks = iter(self.blocks)
        for stage, depth in enumerate(self.depths, 1):
            for _ in range(depth):
                x = next(blocks)(x, train)
            yield f"stage_{stage}", x

    @property
    def windows(self) -> dict[str, tuple[int, int]]:
        side = math.lcm(self.window_size, self.grid_size or self.window_size)
        return {name: (side, side) for name in self.feature_strides if name != "stem"}

    def attention_layouts(self, stage: str) -> list[AttentionLayout]:
        grid = self.grid_size or self.window_size
        parts = (("window", "block", self.window_size), ("grid", "grid", grid))
        return [
            AttentionLayout(f"{block}/{part}/attention", kind, (side, side))
            for block in self.block_names(stage)
            for part, kind, side in parts
        ]

    def check(self) -> None:
        super().check()
        stem = self.stem_widths
        require(len(stem) == 2 and min(stem) > 0, f"stem_widths={stem}: two positive are needed")
        momentum = self.norm_momentum
        require(0 <= momentum <= 1, f"norm_momentum={momentum}: use [0, 1]")
        for name in ("window_size", "grid_size", "bias_window_size"):
            side = getattr(self, name)
            require(side is None or side > 0, f"{name}={side} must be positive")
        for width in self.widths:
            require(
                width % HEAD_DIM == 0,
                f"widths={self.widths}: {width} is not a multiple of {HEAD_DIM}, the channels of an"
                f" attention head; {nearest_valid(width, HEAD_DIM)}",
            )


# Table 1 of the paper; drop_path_rate of ImageNet-1k pre-training from the official configs
# (extra-large, not in the release: TensorFlow Model Garden).
VARIANTS = {
    "maxvit_tiny": {
        "stem_widths": (64, 64),
        "widths": (64, 128, 256, 512),
        "depths": (2, 2, 5, 2),
        "drop_path_rate": 0.2,
    },
    "maxvit_small": {
        "stem_widths": (64, 64),
        "widths": (96, 192, 384, 768),
        "depths": (2, 2, 5, 2),
        "drop_path_rate": 0.3,
    },
    "maxvit_base": {
        "stem_widths": (64, 64),
        "widths": (96, 192, 384, 768),
        "depths": (2, 6, 14, 2),
        "drop_path_rate": 0.4,
    },
    "maxvit_large": {
        "stem_widths": (128, 128),
        "widths": (128, 256, 512, 1024),
        "depths": (2, 6, 14, 2),
        "drop_path_rate": 0.6,
    },
    "maxvit_xlarge": {
        "stem_widths": (192, 192),
        "widths": (192, 384, 768, 1536),
        "depths": (2, 6, 14, 2),
        "drop_path_rate": 0.7,
    },
}

# Published ImageNet-1k top-1 in per cent by image size, trained on ImageNet-1k alone.
PUBLISHED = {
    "maxvit_tiny": {224: 83.62, 384: 85.24, 512: 85.72},
    "maxvit_small": {224: 84.45, 384: 85.74, 512: 86.19},
    "maxvit_base": {224: 84.95, 384: 86.34, 512: 86.66},
    "maxvit_large": {224: 85.17, 384: 86.40, 512: 86.70},
}
