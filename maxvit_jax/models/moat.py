"""MOAT: mobile convolution with attention (Yang et al., ICLR 2023, https://arxiv.org/abs/2210.01820).

Numerics follow the official TensorFlow release (google-research/deeplab2), with two differences:
the position bias is computed in the forward pass, so that it trains, and global attention spans the
map that comes in, so that one model takes any size.
"""

import math
from collections.abc import Iterator
from typing import Literal

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from common.config import require
from common.errors import nearest_valid
from common.kernels.gelu import exact_gelu
from common.layers.attention import WindowAttention
from common.layers.conv import conv
from common.layers.mbconv import MBConv
from common.layers.mlp import Dense
from common.layers.norm import batch_norm, layer_norm
from common.layers.remat import remat
from common.layers.stochastic_depth import StochasticDepth
from maxvit_jax.models.backbone import AttentionLayout, Backbone

STEM_STRIDE = 2
SE_RATIO = 0.25
BLOCK_KINDS = ("mbconv", "moat")


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
        return conv(self.widths[1], dtype=self.dtype, name="conv_1")(exact_gelu(norm(x)))


class MOATBlock(nn.Module):
    """A transformer block whose MLP is an MBConv that comes before the attention (figure 1).

    Attributes:
      features: output channels.
      stride: of the MBConv: attention runs at the lower resolution.
      kind: `"moat"`, or `"mbconv"` for an MBConv with squeeze-excite and no attention.
      window: height and width of attention windows; None: the whole map.
      bias_window: height and width that the relative-bias table is stored for.
      relative_bias: the attention has a relative position bias.
      head_dim: channels per head.
      pool_size: side of the shortcut's average pooling.
      pad_inputs: pad and mask inside the attention when a side doesn't divide.
      drop_path_rate: stochastic depth of each of the two residual branches.
      norm_momentum: of the moving statistics of batch normalisation.
      frozen_norm: training uses the moving statistics and leaves them alone.
      dtype: compute type.
    """

    features: int
    stride: int
    kind: str = "moat"
    window: tuple[int, int] | None = None
    bias_window: tuple[int, int] | None = None
    relative_bias: bool = True
    head_dim: int = 32
    pool_size: int = 2
    pad_inputs: bool = False
    drop_path_rate: float = 0.0
    norm_momentum: float = 0.99
    frozen_norm: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Maps `[batch, height, width, in]` to `[batch, ceil(height / stride), ..., features]`.

        Raises:
          UserError: a side is not a multiple of the window and `pad_inputs` is False, or `features`
            not one of `head_dim`.
        """
        x = MBConv(
            self.features,
            self.stride,
            pool_size=self.pool_size,
            se_ratio=SE_RATIO if self.kind == "mbconv" else None,
            activation=exact_gelu,
            drop_path_rate=self.drop_path_rate,
            norm_momentum=self.norm_momentum,
            frozen_norm=self.frozen_norm,
            dtype=self.dtype,
            name="mbconv",
        )(x, train=train)
        if self.kind == "mbconv":
            return x
        window = self.window or x.shape[1:3]
        attention = WindowAttention(
            window,
            self.head_dim,
            self.bias_window,
            relative_bias=self.relative_bias,
            dtype=self.dtype,
            name="attention",
        )
        y = layer_norm(dtype=self.dtype, name="attention_norm")(x)
        y = attention.on_map(y, "block", pad_inputs=self.pad_inputs)
        return x + StochasticDepth(self.drop_path_rate)(y, train=train)


class Head(nn.Module):
    """Classifier: mean over the map, LayerNorm, dense.

    Attributes:
      num_classes: logits; 0 returns the normalised features.
      dropout_rate: before the last layer.
      dtype: compute type.
    """

    num_classes: int
    dropout_rate: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """Maps `[batch, height, width, channels]` to float32 `[batch, num_classes or channels]`."""
        x = jnp.mean(x, axis=(1, 2), dtype=jnp.float32)
        x = layer_norm(dtype=self.dtype, name="norm")(x)
        if self.num_classes:
            x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
            x = Dense(self.num_classes, dtype=self.dtype, name="logits")(x)
        return x.astype(jnp.float32)


class MOAT(Backbone):
    """The network: convolutional stem, stages of MBConv and MOAT blocks at strides 4 to 32, head.

    As released, attention is global and every image size is valid. Dense tasks use `pool_size=3`,
    and for detection windows of 14 at stride 16:
    `window_size=(None, None, 14, None)`.

    Attributes:
      stem_widths: channels of the stem's two convolutions.
      widths: channels per stage.
      depths: blocks per stage.
      block_kinds: per stage `"mbconv"` (with squeeze-excite) or `"moat"`.
      num_classes: logits; 0 ends after the final LayerNorm.
      in_channels: channels of the images.
      window_size: per stage side or (height, width) of attention windows, None for global attention
        over the map of whatever image comes in; None alone: global in all stages.
      bias_window_size: per stage the window side that relative-bias tables are stored for, None
        where there is no attention. For maps and windows of another size the tables are resized in
        every forward pass.
      relative_bias: attention has a relative position bias; False are the released "no PE" models.
      global_attention_at_end: the last block of every MOAT stage attends globally in any case.
      pad_inputs: let any height and width into windows, padded and masked inside the attention.
      head_dim: channels per attention head.
      output_stride: of the last map: 32, or 16 for dense tasks, whose last stage then keeps the map
        of the one before; weights are the same.
      pool_size: side of the average pooling of downsampling shortcuts: 2 to classify, 3 in the
        official dense models. It holds no parameters but changes the outputs.
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
    block_kinds: tuple[str, ...] = ("mbconv", "mbconv", "moat", "moat")
    num_classes: int = 1000
    in_channels: int = 3
    window_size: tuple[int | tuple[int, int] | None, ...] | None = None
    bias_window_size: tuple[int | None, ...] = (None, None, 14, 7)
    relative_bias: bool = True
    global_attention_at_end: bool = False
    pad_inputs: bool = False
    head_dim: int = 32
    output_stride: Literal[32, 16] = 32
    pool_size: int = 2
    drop_path_rate: float = 0.0
    head_dropout: float = 0.0
    norm_momentum: float = 0.99
    frozen_norm: bool = False
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    @property
    def feature_strides(self) -> dict[str, int]:
        strides = {"stem": STEM_STRIDE, **super().feature_strides}
        return strides | {f"stage_{len(self.widths)}": STEM_STRIDE * math.prod(self._strides)}

    @property
    def _strides(self) -> tuple[int, ...]:
        """Of every stage's first block."""
        return (2,) * (len(self.widths) - 1) + (1 if self.output_stride == 16 else 2,)

    @property
    def feature_widths(self) -> dict[str, int]:
        return {"stem": self.stem_widths[-1], **super().feature_widths}

    @property
    def windows(self) -> dict[str, tuple[int, int]]:
        fewest = 2 if self.global_attention_at_end else 1  # blocks of a stage with windows
        stages = enumerate(zip(self._stage_windows, self.depths, strict=True), 1)
        return {f"stage_{s}": window for s, (window, depth) in stages if window and depth >= fewest}

    def setup(self):
        """Names parts `stem`, `stage_<from 1>_block_<from 0>` and `head`."""
        self.check()
        self.stem = Stem(self.stem_widths, self.norm_momentum, dtype=self.dtype)
        block_class = remat(MOATBlock) if self.remat else MOATBlock
        blocks = []
        stages = zip(
            self.widths,
            self._strides,
            self.depths,
            self.block_kinds,
            self._stage_windows,
            self.bias_window_size,
            strict=True,
        )
        for stage, (width, stride, depth, kind, window, bias_side) in enumerate(stages, 1):
            for index in range(depth):
                is_global = self.global_attention_at_end and index == depth - 1
                blocks.append(
                    block_class(
                        features=width,
                        stride=stride if index == 0 else 1,
                        kind=kind,
                        window=None if is_global else window,
                        bias_window=bias_side and (bias_side, bias_side),
                        relative_bias=self.relative_bias,
                        head_dim=self.head_dim,
                        pool_size=self.pool_size,
                        pad_inputs=self.pad_inputs,
                        drop_path_rate=self.drop_path_rate * len(blocks) / sum(self.depths),
                        norm_momentum=self.norm_momentum,
                        frozen_norm=self.frozen_norm,
                        dtype=self.dtype,
                        name=f"stage_{stage}_block_{index}",
                    )
                )
        self.blocks = blocks
        self.head = Head(self.num_classes, self.head_dropout, dtype=self.dtype)

    def maps(self, x: Array, train: bool) -> Iterator[tuple[str, Array]]:
        x = self.stem(x, train and not self.frozen_norm)
        yield "stem", x
        blocks = iter(self.blocks)
        for stage, depth in enumerate(self.depths, 1):
            for _ in range(depth):
                x = next(blocks)(x, train)
            yield f"stage_{stage}", x

    def attention_layouts(self, stage: str) -> list[AttentionLayout]:
        blocks, index = self.block_names(stage), int(stage.removeprefix("stage_")) - 1
        if self.block_kinds[index] == "mbconv":
            return []
        windows = [self._stage_windows[index]] * len(blocks)
        if self.global_attention_at_end:
            windows[-1] = None
        pairs = zip(blocks, windows, strict=True)
        return [AttentionLayout(f"{block}/attention", "block", window) for block, window in pairs]

    @property
    def _stage_windows(self) -> tuple[tuple[int, int] | None, ...]:
        sizes = self.window_size or (None,) * len(self.depths)
        return tuple(s if s is None or isinstance(s, tuple) else (s, s) for s in sizes)

    def check(self) -> None:
        super().check()
        depths, stem, momentum = self.depths, self.stem_widths, self.norm_momentum
        require(len(stem) == 2 and min(stem) > 0, f"stem_widths={stem}: two positive are needed")
        for name in ("block_kinds", "window_size", "bias_window_size"):
            value = getattr(self, name)
            one_each = f"{name}={value}: one per stage is needed, there are {len(depths)} stages"
            if value is not None or name != "window_size":
                require(isinstance(value, tuple) and len(value) == len(depths), one_each)
        require(self.head_dim > 0, f"head_dim={self.head_dim} must be positive")
        for stage, kind in enumerate(self.block_kinds, 1):
            self._check_stage(stage, kind)
        short = f"output_stride=16 is for four stages, not {len(depths)}"
        require(self.output_stride == 32 or len(depths) == 4, short)
        require(self.pool_size > 0, f"pool_size={self.pool_size} must be positive")
        require(0 <= momentum <= 1, f"norm_momentum={momentum}: use [0, 1]")

    def _check_stage(self, stage: int, kind: str) -> None:
        width, window = self.widths[stage - 1], self._stage_windows[stage - 1]
        bias_side, head = self.bias_window_size[stage - 1], self.head_dim
        require(
            kind in BLOCK_KINDS, f"block_kinds: {kind!r} of stage {stage} is not mbconv or moat"
        )
        if kind == "mbconv":
            require(window is None, f"window_size: stage {stage} (mbconv) has no attention")
            return
        require(
            window is None or (len(window) == 2 and min(window) > 0),
            f"window_size: {window} of stage {stage} is not a side, (height, width) or None",
        )
        require(
            not self.relative_bias or (bias_side is not None and bias_side > 0),
            f"bias_window_size: {bias_side} of stage {stage}; relative_bias needs a window side",
        )
        require(
            width % head == 0,
            f"widths: {width} of stage {stage} is not a multiple of head_dim={head};"
            f" {nearest_valid(width, head)}",
        )


def _variant(stem: int, widths: tuple[int, ...], depths: tuple[int, ...], drop_path: float) -> dict:
    return {
        "stem_widths": (stem, stem),
        "widths": widths,
        "depths": depths,
        "drop_path_rate": drop_path,
    }


# Table 1 of the paper; drop_path_rate is 1 - the survival probability of the official configs.
VARIANTS = {
    "moat_0": _variant(64, (96, 192, 384, 768), (2, 3, 7, 2), 0.2),
    "moat_1": _variant(64, (96, 192, 384, 768), (2, 6, 14, 2), 0.3),
    "moat_2": _variant(128, (128, 256, 512, 1024), (2, 6, 14, 2), 0.3),
    "moat_3": _variant(160, (160, 320, 640, 1280), (2, 12, 28, 2), 0.6),
    "moat_4": _variant(256, (256, 512, 1024, 2048), (2, 12, 28, 2), 0.7),
    "tiny_moat_0": _variant(32, (32, 64, 128, 256), (2, 3, 7, 2), 0.0),
    "tiny_moat_1": _variant(40, (40, 80, 160, 320), (2, 3, 7, 2), 0.0),
    "tiny_moat_2": _variant(56, (56, 112, 224, 448), (2, 3, 7, 2), 0.0),
    "tiny_moat_3": _variant(80, (80, 160, 320, 640), (2, 3, 7, 2), 0.1),
}

# Published ImageNet-1k top-1 in per cent by image size, with position bias. moat_2, moat_3 and
# moat_4 were pre-trained on ImageNet-22k, the others trained on ImageNet-1k alone.
PUBLISHED = {
    "moat_0": {224: 83.3},
    "moat_1": {224: 84.2},
    "moat_2": {384: 87.5},
    "moat_3": {512: 88.4},
    "moat_4": {512: 89.1},
    "tiny_moat_0": {256: 76.6},
    "tiny_moat_1": {256: 79.2},
    "tiny_moat_2": {256: 81.7},
    "tiny_moat_3": {256: 83.3},
}
