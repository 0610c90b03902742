"""MAXIM: Multi-Axis MLP for Image Processing (Tu et al., CVPR 2022), figure 2.

A stack of UNets. Each has encoders and decoders of multi-axis gated MLPs and convolutions, a
bottleneck, and skip connections over all scales that are filtered by cross-gating. Supervised
attention passes features from one stage to the next. Weight-exact with the official release.

Level and scale i have sides `1 / 2**i` of the image's and `features * 2**i` channels.
"""

import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from common.config import require
from common.errors import UserError, nearest_valid
from common.layers.conv import UpConv, conv
from common.layers.cross_gating import CrossGating
from common.layers.gmlp import MultiAxisGatedMLP, gelu
from common.layers.images import check_images
from common.layers.mlp import MLP, Dense
from common.layers.norm import layer_norm
from common.layers.remat import remat
from common.layers.resize import MultiScaleDense, nearest_downsample, resize
from common.layers.squeeze_excite import SqueezeExcite

LRELU_SLOPE = 0.2
_COUNTS = (
    *("features", "depth", "num_stages", "num_groups", "num_bottleneck_blocks"),
    *("block_gmlp_factor", "grid_gmlp_factor", "input_proj_factor", "channels_reduction"),
    *("in_channels", "num_outputs"),
)

_init = nn.initializers.lecun_normal()


class Fields(nn.Module):
    """What the network, its stages and their levels are configured by.

    Attributes:
      features: channels of level 0.
      depth: levels of each UNet.
      num_stages: UNets, one after the other.
      num_groups: pairs of multi-axis gMLP and channel attention per level.
      use_bias: layers have biases.
      num_supervision_scales: scales at which images come in and out of every stage.
      lrelu_slope: 0.2, which the release has whatever stands here; nothing else is accepted.
      use_global_mlp: encoders and decoders have multi-axis gMLPs; the bottleneck always has.
      use_cross_gating: skip connections and the stages' inputs are cross-gated, not convolved;
        encoders of later stages always are.
      high_res_stages: levels that use the `_hr` sides.
      block_size_hr: sides of a block on these levels.
      block_size_lr: sides of a block, and cells of the grid, on all others.
      grid_size_hr: cells of the grid on the first levels.
      grid_size_lr: never read, as in the release, where the grid is `block_size_lr`; nothing but
        that or the release's (8, 8) is accepted.
      num_bottleneck_blocks: blocks of the bottleneck.
      block_gmlp_factor: hidden channels of the block head over its channels.
      grid_gmlp_factor: the same for the grid head.
      input_proj_factor: channels of both heads over the block's, in encoders and bottleneck;
        2 in decoders, as in the release.
      channels_reduction: channels over hidden channels of the channel attention.
      in_channels: channels of the images.
      num_outputs: channels of the restored image; the input is added where it has as many.
      dropout_rate: after the projections of gMLPs and gates.
      remat: recompute each block in the backward pass instead of storing its activations.
      dtype: compute type; parameters and outputs are float32.
    """

    features: int = 64
    depth: int = 3
    num_stages: int = 2
    num_groups: int = 1
    use_bias: bool = True
    num_supervision_scales: int = 3
    lrelu_slope: float = LRELU_SLOPE
    use_global_mlp: bool = True
    use_cross_gating: bool = True
    high_res_stages: int = 2
    block_size_hr: tuple[int, int] = (16, 16)
    block_size_lr: tuple[int, int] = (8, 8)
    grid_size_hr: tuple[int, int] = (16, 16)
    grid_size_lr: tuple[int, int] = (8, 8)
    num_bottleneck_blocks: int = 1
    block_gmlp_factor: int = 2
    grid_gmlp_factor: int = 2
    input_proj_factor: int = 2
    channels_reduction: int = 4
    in_channels: int = 3
    num_outputs: int = 3
    dropout_rate: float = 0.0
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    def shared(self, **changes: Any) -> dict[str, Any]:
        """Returns these fields for a part of the network, with changes."""
        names = {f.name for f in dataclasses.fields(Fields)} - {"parent", "name"}
        return {name: getattr(self, name) for name in names} | changes

    def width(self, level: int) -> int:
        """Returns the channels of a level."""
        return self.features * 2**level

    def sides(self, level: int) -> dict[str, tuple[int, int]]:
        """Returns the sides of a block and the cells of the grid on a level."""
        if level < self.high_res_stages:
            return {"block": self.block_size_hr, "grid": self.grid_size_hr}
        return {"block": self.block_size_lr, "grid": self.block_size_lr}

    @property
    def options(self) -> dict[str, Any]:
        """Returns what every layer is configured by."""
        return {"use_bias": self.use_bias, "dtype": self.dtype}

    def cross_gating(self, level: int, name: str, *, upsample_y: bool = False) -> CrossGating:
        """Makes a cross-gating block."""
        block = remat(CrossGating) if self.remat else CrossGating
        return block(
            self.width(level),
            **self.sides(level),
            upsample_y=upsample_y,
            dropout_rate=self.dropout_rate,
            **self.options,
            name=name,
        )


class ChannelAttention(nn.Module):
    """Residual channel attention block: `x + CA(f(LN(x)))`.

    Attributes:
      mixer: f, `"conv"` (two 3x3 convolutions; encoders and decoders) or `"mlp"` (bottleneck).
      reduction: channels over those of the attention's hidden layer.
      use_bias: layers have biases.
      dtype: compute type.
    """

    mixer: str
    reduction: int
    use_bias: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[batch, height, width, channels]` to the same shape."""
        options = {"use_bias": self.use_bias, "dtype": self.dtype}
        channels = x.shape[-1]
        y = layer_norm(epsilon=1e-6, dtype=self.dtype, name="norm")(x)
        if self.mixer == "conv":
            y = conv(channels, kernel_init=_init, **options, name="conv_0")(y)
            y = nn.leaky_relu(y, LRELU_SLOPE)
            y = conv(channels, kernel_init=_init, **options, name="conv_1")(y)
        else:
            y = MLP(expansion=1, activation=gelu, **options, name="mlp")(y)
        hidden = channels // self.reduction
        return x + SqueezeExcite(hidden, nn.relu, kernel_init=_init, **options, name="gate")(y)


class Level(Fields):
    """One level of a UNet: projection, then groups of multi-axis gMLP and channel attention.

    Attributes:
      level: which; `depth` is the bottleneck.
      upsample: the first map comes from the level below and is upsampled before anything else.
      downsample: also return the map at half the size.
    """

    level: int = 0
    upsample: bool = False
    downsample: bool = False

    @nn.compact
    def __call__(
        self, maps: Sequence[Array], previous: Array | None, train: bool
    ) -> tuple[Array, Array | None]:
        """Runs the level.

        Args:
          maps: `[batch, height / f, width / f, channels]`, concatenated (see `MultiScaleDense`).
          previous: of the previous stage, `[batch, height, width, features]`, or None.
          train: dropout is on.

        Returns:
          `[batch, height, width, features]`, and with `downsample` the same at half the sides.
        """
        width, options = self.width(min(self.level, self.depth - 1)), self.options
        bottleneck = self.level == self.depth
        if self.upsample:
            maps = [UpConv(width, **options, name="up")(maps[0]), *maps[1:]]
        shortcut = x = MultiScaleDense(width, **options, name="input_proj")(maps)
        for k in range(self.num_groups):
            if self.use_global_mlp or bottleneck:
                x = MultiAxisGatedMLP(
                    **self.sides(self.level),
                    block_factor=self.block_gmlp_factor,
                    grid_factor=self.grid_gmlp_factor,
                    input_proj_factor=2 if self.upsample else self.input_proj_factor,
                    dropout_rate=self.dropout_rate,
                    **options,
                    name=f"multi_axis_{k}",
                )(x, train=train)
            x = ChannelAttention(
                "mlp" if bottleneck else "conv",
                self.channels_reduction,
                **options,
                name=f"channel_attention_{k}",
            )(x)
        x = x + shortcut
        if previous is not None:
            x, _ = self.cross_gating(self.level, "cross_gating")([x], previous, train)
        if not self.downsample:
            return x, None
        down = conv(width, kernel=4, stride=2, kernel_init=_init, **options, name="down")
        return x, down(x)


class SupervisedAttention(nn.Module):
    """Restores an image of a stage, and weights the features for the next by it.

    Attributes:
      num_outputs: channels of the image.
      use_bias: layers have biases.
      dtype: compute type.
    """

    num_outputs: int
    use_bias: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Array, image: Array) -> tuple[Array, Array]:
        """Maps features and the stage's input image to features and restored image.

        Where the collection `intermediates` is mutable, `weights` there has what the features were
        weighted by, `[batch, height, width, channels]` in 0..1.
        """
        layer = partial(conv, kernel_init=_init, use_bias=self.use_bias, dtype=self.dtype)
        restored = layer(self.num_outputs, name="image_conv")(x)
        if restored.shape[-1] == image.shape[-1]:
            restored = restored + image.astype(self.dtype)
        attention = nn.sigmoid(layer(x.shape[-1], name="mask_conv")(restored))
        self.sow("intermediates", "weights", attention)
        return layer(x.shape[-1], name="feature_conv")(x) * attention + x, restored


class ConvFusion(nn.Module):
    """Skip connection without cross-gating: projection and 3x3 convolution.

    Attributes:
      features: output channels.
      use_bias: layers have biases.
      dtype: compute type.
    """

    features: int
    use_bias: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, maps: Sequence[Array]) -> Array:
        """Maps `[batch, height / f, width / f, channels]` to `[batch, height, width, features]`."""
        options = {"use_bias": self.use_bias, "dtype": self.dtype}
        x = MultiScaleDense(self.features, **options, name="proj")(maps)
        return conv(self.features, kernel_init=_init, **options, name="conv")(x)


class Handover(NamedTuple):
    """What a stage takes from the one before.

    Attributes:
      levels: encoder plus decoder features per level.
      attended: features of the supervised attention per scale.
    """

    levels: Sequence[Array]
    attended: Sequence[Array]


class Stage(Fields):
    """One UNet of the stack.

    Attributes:
      last: restores by convolutions; the others by supervised attention.
    """

    last: bool = False

    @nn.compact
    def __call__(
        self, pyramid: Sequence[Array], previous: Handover | None, train: bool
    ) -> tuple[list[Array], Handover]:
        """Runs the stage.

        Args:
          pyramid: the image at every scale, finest first, `[batch, height, width,
            in_channels]`.
          previous: of the stage before, None for the first.
          train: dropout is on.

        Returns:
          Restored images per scale, and what the next stage takes.
        """
        inputs = []
        for i, image in enumerate(pyramid):
            x = self._conv(self.width(i), f"input_conv_{i}")(image)
            inputs.append(self._fuse(i, x, previous.attended[i], train) if previous else x)

        encoded, x = [], inputs[0]
        for i in range(self.depth):
            encoder = self._level(i, f"encoder_{i}", downsample=True)
            partner = inputs[i : i + 1]  # none below the coarsest scale
            feature, x = encoder([x, *partner], previous and previous.levels[i], train)
            encoded.append(feature)

        for b in range(self.num_bottleneck_blocks):
            x, _ = self._level(self.depth, f"bottleneck_{b}")([x], None, train)

        # Every level sees the encoders of all; what lies below gates it and is gated by it.
        skips, below = {}, x
        for i in reversed(range(self.depth)):
            maps = [self._rescale(encoded, j, i, "skip_proj") for j in range(self.depth)]
            if self.use_cross_gating:
                fusion = self.cross_gating(i, f"skip_fusion_{i}", upsample_y=True)
                skips[i], below = fusion(maps, below, train)
            else:
                fusion = ConvFusion(self.width(i), **self.options, name=f"skip_fusion_{i}")
                skips[i] = fusion(maps)

        decoded = {}
        for i in reversed(range(self.depth)):
            maps = [self._rescale(skips, j, i, "decoder_proj") for j in skips]
            decoder = self._level(i, f"decoder_{i}", upsample=True)
            decoded[i] = x = decoder([x, *maps], None, train)[0]

        restored, attended = [], []
        for i, image in enumerate(pyramid):
            if self.last:
                residual = self._conv(self.num_outputs, f"output_conv_{i}")(decoded[i])
                alike = residual.shape[-1] == image.shape[-1]
                restored.append(residual + image if alike else residual)
            else:
                name = f"supervised_attention_{i}"
                attention = SupervisedAttention(self.num_outputs, **self.options, name=name)
                feature, image = attention(decoded[i], image)
                attended.append(feature)
                restored.append(image)
        levels = [feature + decoded[i] for i, feature in enumerate(encoded)]
        return restored, Handover(levels, attended)

    def _conv(self, features: int, name: str) -> nn.Conv:
        return conv(features, kernel_init=_init, **self.options, name=name)

    def _level(self, level: int, name: str, **kind: bool) -> Level:
        block = remat(Level) if self.remat else Level
        return block(**self.shared(), level=level, **kind, name=name)

    def _fuse(self, level: int, x: Array, attended: Array, train: bool) -> Array:
        name = f"input_fusion_{level}"
        if self.use_cross_gating:
            return self.cross_gating(level, name)([x], attended, train)[0]
        return MultiScaleDense(self.width(level), **self.options, name=name)([x, attended])

    def _rescale(self, maps: Any, j: int, i: int, name: str) -> Array:
        """Brings the map of level j to the channels of level i; upsampling is left to its user."""
        x = maps[j] if j >= i else resize(maps[j], maps[i].shape[1])
        dense = Dense(self.width(i), kernel_init=_init, **self.options, name=f"{name}_{j}_{i}")
        return dense(x)


class MAXIM(Fields):
    """Image to restored images of every stage and scale; its fields are those of `Fields`."""

    @property
    def size_multiple(self) -> int:
        """Height and width of images must be multiples of it."""
        levels = range(self.depth + 1)  # the last is the bottleneck
        windows = [math.lcm(*self.sides(i)["block"], *self.sides(i)["grid"]) for i in levels]
        return math.lcm(*(window * 2**i for i, window in enumerate(windows)))

    @nn.compact
    def __call__(self, images: Array, train: bool = False) -> tuple[tuple[Array, ...], ...]:
        """Restores images.

        Args:
          images: float32 `[batch, height, width, in_channels]`, values 0..1.
          train: dropout is on; the rng stream `dropout` is needed when its rate is not 0.

        Returns:
          Per stage, per scale, finest first: `[batch, height / 2**i, width / 2**i, num_outputs]`
          float32, not clipped. `[-1][0]` is the restored image.

        Raises:
          UserError: a side is not a multiple of `size_multiple`, or fields that can't work.
        """
        self._check_sizes()
        self._check_images(images.shape)
        scales = range(self.num_supervision_scales)
        pyramid = [nearest_downsample(images, 2**i) for i in scales]

        outputs, handover = [], None
        for stage in range(1, self.num_stages + 1):
            last = stage == self.num_stages
            unet = Stage(**self.shared(), last=last, name=f"stage_{stage}")
            restored, handover = unet(pyramid, handover, train)
            outputs.append(tuple(x.astype(jnp.float32) for x in restored))
        return tuple(outputs)

    def check(self) -> None:
        """Raises UserError for fields that make no model or are never read; looks at nothing else.

        Modules made by hand do without the second: the release's own configurations have values of
        `grid_size_lr` that nothing reads.
        """
        self._check_sizes()
        require(
            self.lrelu_slope == LRELU_SLOPE,
            f"lrelu_slope={self.lrelu_slope}: the slope is {LRELU_SLOPE}, as in the release",
        )
        require(
            self.grid_size_lr in ((8, 8), self.block_size_lr),
            f"grid_size_lr={self.grid_size_lr} is never read, leave it (8, 8): the grid is"
            f" block_size_lr={self.block_size_lr}, as in the release",
        )

    def _check_sizes(self) -> None:
        for name in _COUNTS:
            require(getattr(self, name) > 0, f"{name}={getattr(self, name)} must be positive")
        for name in ("block_size_hr", "block_size_lr", "grid_size_hr"):
            sides = getattr(self, name)
            two = f"{name}={sides}: height and width, both positive, are needed"
            require(len(sides) == 2 and min(sides) > 0, two)
        require(
            self.channels_reduction <= self.features,
            f"channels_reduction={self.channels_reduction}: 1 to {self.features}, the features",
        )
        scales = self.num_supervision_scales
        require(1 <= scales <= self.depth, f"num_supervision_scales={scales}: 1 to {self.depth}")
        require(0 <= self.dropout_rate < 1, f"dropout_rate={self.dropout_rate}: use [0, 1)")
        require(
            0 <= self.high_res_stages <= self.depth,
            f"high_res_stages={self.high_res_stages}: 0 to {self.depth}, the depth",
        )

    def _check_images(self, shape: tuple[int, ...]) -> None:
        check_images(shape, self.in_channels)
        multiple = self.size_multiple
        for name, side in zip(("height", "width"), shape[1:3], strict=True):
            if side % multiple != 0:
                raise UserError(
                    f"image {name} {side} is not a multiple of {multiple};"
                    f" {nearest_valid(side, multiple)}"
                    " (maxim_jax.inference.Restorer takes any size)"
                )


# The release's table; all at num_supervision_scales=3, as the published checkpoints.
VARIANTS = {
    f"maxim_{kind}{stages}": {
        "features": features,
        "depth": 3,
        "num_stages": stages,
        "num_groups": 2,
        "num_bottleneck_blocks": 2,
    }
    for kind, features in (("s", 32), ("m", 64))
    for stages in (1, 2, 3)
}
