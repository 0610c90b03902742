"""MetaFormer: one network for any token mixer (PoolFormer, CAFormer, ConvFormer and relatives).

First paper: Yu et al., CVPR 2022, https://arxiv.org/abs/2111.11418 (PoolFormer and its ablations).
Second paper: Yu et al., TPAMI 2024, https://arxiv.org/abs/2210.13452 (CAFormer, ConvFormer,
IdentityFormer, RandFormer, PoolFormerV2). Numerics follow the official releases, sail-sg/poolformer
and sail-sg/metaformer; timm's differences are a field.
"""

import dataclasses
import importlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from common.config import require
from common.errors import UserError, did_you_mean, nearest_valid
from common.kernels.gelu import exact_gelu
from common.layers.conv import DepthwiseConv, conv
from common.layers.mlp import MLP, Dense, normal_init
from common.layers.norm import group_norm, layer_norm
from common.layers.remat import remat
from common.layers.stochastic_depth import StochasticDepth
from common.layers.token_mixers import (
    GlobalAttention,
    IdentityMixer,
    PartitionAttention,
    PoolMixer,
    RandomMixer,
    SeparableConv,
    SpatialDense,
    StarReLU,
)
from maxvit_jax.models.backbone import AttentionLayout, Backbone

Mixer = Callable[..., nn.Module]  # called with `dtype` and `name`

MIXERS = (
    *("identity", "pool", "random", "spatial_fc", "depthwise_conv", "sep_conv", "attention"),
    *("block_attention", "grid_attention"),
)
ONE_SIZE = ("random", "spatial_fc")  # mixers whose weights have an axis of positions
WINDOWED = ("block_attention", "grid_attention")
STEM_STRIDE = 4


class PatchEmbedding(nn.Module):
    """Strided convolution that makes a map smaller: the stem, and between stages.

    Attributes:
      features: output channels.
      kernel: side of the filters.
      stride: of the convolution.
      padding: pixels on every side; SAME would shift the map.
      norm: LayerNorm over channels without bias, `"before"` or `"after"` the convolution; None
        for none, as in the first paper.
      dtype: compute type.
    """

    features: int
    kernel: int
    stride: int
    padding: int
    norm: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[batch, side, side, in]` to sides `(side + 2 padding - kernel) // stride + 1`."""
        kernel_init, bias_init = normal_init, nn.initializers.zeros
        if self.norm is None:  # PyTorch's default, which the first release leaves untouched
            limit = (self.kernel**2 * x.shape[-1]) ** -0.5
            kernel_init = bias_init = partial(_uniform, limit)
        norm = layer_norm(epsilon=1e-6, use_bias=False, dtype=self.dtype, name="norm")
        if self.norm == "before":
            x = norm(x)
        x = conv(
            self.features,
            kernel=self.kernel,
            stride=self.stride,
            padding=self.padding,
            dtype=self.dtype,
            kernel_init=kernel_init,
            bias_init=bias_init,
            name="conv",
        )(x)
        return norm(x) if self.norm == "after" else x


class MetaFormerBlock(nn.Module):
    """`x + mixer(norm(x))`, then `x + MLP(norm(x))`: the architecture, whatever the mixer.

    Attributes:
      mixer: called with `dtype` and `name`, makes the module that mixes positions.
      norm: called with `name`, makes the normalisation.
      activation: of the MLP, `"gelu"` or `"star_relu"`.
      use_bias: the MLP has biases.
      layer_scale: initial value of learned factors per channel on both branches; None: no factors.
      scaled_residual: learned factors per channel on both shortcuts.
      drop_path_rate: stochastic depth of each branch.
      dtype: compute type.
    """

    mixer: Mixer
    norm: Callable[..., nn.Module]
    activation: str = "star_relu"
    use_bias: bool = False
    layer_scale: float | None = None
    scaled_residual: bool = False
    drop_path_rate: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Maps `[batch, height, width, channels]` to the same shape."""
        activation = exact_gelu
        if self.activation == "star_relu":
            activation = StarReLU(dtype=self.dtype, name="mlp_activation")
        mlp = MLP(activation=activation, use_bias=self.use_bias, dtype=self.dtype, name="mlp")
        x = self._residual("mixer", self.mixer(dtype=self.dtype, name="mixer"), x, train)
        return self._residual("mlp", mlp, x, train)

    def _residual(self, name: str, branch: nn.Module, x: Array, train: bool) -> Array:
        y = branch(self.norm(name=f"{name}_norm")(x))
        if y.shape != x.shape:
            raise UserError(
                f"{type(branch).__name__} turns {list(x.shape)} into {list(y.shape)}; a mixer keeps"
                " the shape"
            )
        if self.layer_scale is not None:
            y *= self._factors(f"{name}_layer_scale", self.layer_scale, x.shape[-1])
        if self.scaled_residual:
            x *= self._factors(f"{name}_residual_scale", 1.0, x.shape[-1])
        return x + StochasticDepth(self.drop_path_rate)(y, train=train)

    def _factors(self, name: str, value: float, channels: int) -> Array:
        init = nn.initializers.constant(value)
        return self.param(name, init, (channels,), jnp.float32).astype(self.dtype)


class Head(nn.Module):
    """Classifier: norm and mean over the map, in either order, then one dense layer or an MLP.

    Attributes:
      num_classes: logits; 0 returns the normalised mean features.
      map_norm: called with `name`, normalises the map before its mean is taken; None: LayerNorm of
        the mean.
      mlp: squared ReLU and LayerNorm between two dense layers, instead of one layer.
      hidden_epsilon: of the LayerNorm within the MLP.
      dropout_rate: before the last layer.
      dtype: compute type.
    """

    num_classes: int
    map_norm: Callable[..., nn.Module] | None = None
    mlp: bool = False
    hidden_epsilon: float = 1e-5
    dropout_rate: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Maps `[batch, height, width, channels]` to float32 `[batch, num_classes or channels]`."""
        if self.map_norm is not None:
            x = mean_over_map(self.map_norm(name="norm")(x))
        else:
            x = layer_norm(epsilon=1e-6, dtype=self.dtype, name="norm")(mean_over_map(x))
        if self.num_classes:
            if self.mlp:
                x = Dense(4 * x.shape[-1], dtype=self.dtype, name="inner")(x)
                norm = layer_norm(epsilon=self.hidden_epsilon, dtype=self.dtype, name="inner_norm")
                x = norm(jnp.square(nn.relu(x)))
            x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
            x = Dense(self.num_classes, dtype=self.dtype, name="logits")(x)
        return x.astype(jnp.float32)


class MetaFormer(Backbone):
    """The network: four stages of blocks at strides 4, 8, 16, 32, whose token mixers are a field.

    A mixer of your own is any module class with a field `dtype` that maps
    `[batch, height, width, channels]` to the same shape (or a `functools.partial` of one), or its
    name as `"package.module:Class"`, which also works in a config and is stored with weights:

        class Shift(nn.Module):
            step: int = 1
            dtype: DTypeLike = jnp.float32

            def __call__(self, x):
                return jnp.roll(x, self.step, axis=2) - x

        create_model("poolformerv2_s12", mixers=("pool", "pool", Shift, partial(Shift, step=2)))

    Defaults are the second paper's.

    Attributes:
      widths: channels per stage.
      depths: blocks per stage.
      mixers: token mixer per stage: one of `MIXERS`, or your own, itself or as
        `"package.module:Class"`.
      num_classes: logits; 0 ends before the classifier.
      in_channels: channels of the images.
      pool_size: window side of `"pool"`, odd.
      head_dim: channels per head of attention mixers.
      window_size: window (or grid) side of `"block_attention"` and `"grid_attention"`.
      pad_inputs: let those two take maps that their windows do not fit, padded and masked.
      norm: of blocks: `"layer"` over channels, or `"group"` over height, width and channels.
      norm_epsilon: of blocks.
      use_bias: of norms, MLPs and attention's output in blocks.
      activation: of MLPs, `"star_relu"` or `"gelu"`.
      layer_scale: initial value of learned factors on branches; None: there are none.
      scaled_residuals: stages, from 1, with learned factors on shortcuts.
      downsample_norms: LayerNorm after the stem's convolution and before those between stages.
      position_embeddings: stages, from 1, with a learned map added before their first block.
      image_size: side, or height and width, of the images that parts for one size are made for:
        `"random"`, `"spatial_fc"` and position embeddings. Without these any size will do.
      feature_norms: a norm of its own for each of the maps that `features` returns, and no
        classifier: the first paper's backbone for dense tasks. Needs `num_classes=0`.
      pool_first: the head normalises the mean (second paper), not the map (first).
      mlp_head: an MLP as classifier.
      head_order: `"official"`, or `"timm"`: pool first always, and 1e-6 as epsilon in the MLP head.
      head_dropout: before the classifier's last layer.
      drop_path_rate: stochastic depth; block n of N, from 0, drops at
        `drop_path_rate * n / (N - 1)`.
      remat: recompute each block in the backward pass instead of storing its activations.
      dtype: compute type; parameters, statistics, softmax and logits are float32.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    mixers: tuple[str | Mixer, ...]
    num_classes: int = 1000
    in_channels: int = 3
    pool_size: int = 3
    head_dim: int = 32
    window_size: int = 7
    pad_inputs: bool = False
    norm: str = "layer"
    norm_epsilon: float = 1e-6
    use_bias: bool = False
    activation: str = "star_relu"
    layer_scale: float | None = None
    scaled_residuals: tuple[int, ...] = ()
    downsample_norms: bool = True
    position_embeddings: tuple[int, ...] = ()
    image_size: int | tuple[int, int] = 224
    feature_norms: bool = False
    pool_first: bool = True
    mlp_head: bool = False
    head_order: str = "official"
    head_dropout: float = 0.0
    drop_path_rate: float = 0.0
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    @property
    def feature_strides(self) -> dict[str, int]:
        return {"stem": STEM_STRIDE, **super().feature_strides}

    @property
    def feature_widths(self) -> dict[str, int]:
        return {"stem": self.widths[0], **super().feature_widths}

    @property
    def windows(self) -> dict[str, tuple[int, int]]:
        stages = zip(self._stages, self.mixers, strict=True)
        return {f"stage_{s}": (self.window_size,) * 2 for s, mixer in stages if mixer in WINDOWED}

    def attention_layouts(self, stage: str) -> list[AttentionLayout]:
        paths = [f"{block}/mixer/attention" for block in self.block_names(stage)]
        side = self.window_size
        partitions = {
            "attention": ("block", None),
            "block_attention": ("block", (side, side)),
            "grid_attention": ("grid", (side, side)),
        }
        mixer = self.mixers[int(stage.removeprefix("stage_")) - 1]
        return [AttentionLayout(p, *partitions[mixer]) for p in paths if mixer in partitions]

    @property
    def only_size(self) -> tuple[int, int] | None:
        return self._image_size if self._fixed_stages else None

    def setup(self):
        """Names parts `stem`, `stage_<from 1>_downsample`, `stage_<s>_positions`,
        `stage_<s>_block_<from 0>`, `stage_<s>_norm` and `head`."""
        self.check()
        embed = partial(PatchEmbedding, dtype=self.dtype)
        norms = ("after", "before") if self.downsample_norms else (None, None)
        self.stem = embed(self.widths[0], kernel=7, stride=STEM_STRIDE, padding=2, norm=norms[0])
        self.downsamples = [
            embed(width, kernel=3, stride=2, padding=1, norm=norms[1], name=f"stage_{s}_downsample")
            for s, width in enumerate(self.widths[1:], 2)
        ]
        self.blocks = self._make_blocks()
        if self.feature_norms:
            self.norms = [self._norm(name=f"stage_{s}_norm") for s in self._stages]
        else:
            timm = self.head_order == "timm"
            self.head = Head(
                self.num_classes,
                map_norm=None if self.pool_first or timm else self._norm,
                mlp=self.mlp_head,
                hidden_epsilon=1e-6 if timm else 1e-5,
                dropout_rate=self.head_dropout,
                dtype=self.dtype,
            )

    def maps(self, x: Array, train: bool) -> Iterator[tuple[str, Array]]:
        x = self.stem(x)
        yield "stem", x
        for stage, blocks in enumerate(self.blocks, 1):
            if stage > 1:
                x = self.downsamples[stage - 2](x)
            if stage in self.position_embeddings:
                x += self._positions(stage).astype(self.dtype)
            for block in blocks:
                x = block(x, train)
            yield f"stage_{stage}", self.norms[stage - 1](x) if self.feature_norms else x

    def classify(self, x: Array, train: bool) -> Array:
        return mean_over_map(x) if self.feature_norms else self.head(x, train)

    @nn.compact  # not in setup: without the stage there are none
    def _positions(self, stage: int) -> Array:
        shape = (*self._map_sizes(self._image_size)[stage - 1], self.widths[stage - 1])
        return self.param(f"stage_{stage}_positions", nn.initializers.zeros, shape, jnp.float32)

    @property
    def _stages(self) -> range:
        return range(1, len(self.widths) + 1)

    @property
    def _image_size(self) -> tuple[int, int]:
        size = self.image_size
        return size if isinstance(size, tuple) else (size, size)

    @property
    def _fixed_stages(self) -> dict[int, str]:
        """What ties which stage to one size."""
        mixers = {s: m for s, m in zip(self._stages, self.mixers, strict=True) if m in ONE_SIZE}
        return dict.fromkeys(self.position_embeddings, "position_embeddings") | mixers

    def _map_sizes(self, size: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Height and width of every stage's map for those of an image."""
        sizes = [tuple((side - 3) // STEM_STRIDE + 1 for side in size)]
        for _ in self._stages[1:]:
            sizes.append(tuple((side - 1) // 2 + 1 for side in sizes[-1]))
        return sizes

    def _map_side(self, size: int, name: str) -> int:
        return self._map_sizes((size,))[int(name.removeprefix("stage_")) - 1][0]

    def _make_blocks(self) -> list[list[nn.Module]]:
        """The blocks of every stage."""
        block_class = remat(MetaFormerBlock) if self.remat else MetaFormerBlock
        rates = iter(np.linspace(0, self.drop_path_rate, sum(self.depths)).tolist())
        return [
            [
                block_class(
                    mixer=self._mixer(mixer),
                    norm=self._norm,
                    activation=self.activation,
                    use_bias=self.use_bias,
                    layer_scale=self.layer_scale,
                    scaled_residual=stage in self.scaled_residuals,
                    drop_path_rate=next(rates),
                    dtype=self.dtype,
                    name=f"stage_{stage}_block_{index}",
                )
                for index in range(depth)
            ]
            for stage, depth, mixer in zip(self._stages, self.depths, self.mixers, strict=True)
        ]

    @property
    def _norm(self) -> Callable[..., nn.Module]:
        norm = group_norm if self.norm == "group" else layer_norm
        return partial(norm, epsilon=self.norm_epsilon, use_bias=self.use_bias, dtype=self.dtype)

    def _mixer(self, mixer: str | Mixer) -> Mixer:
        windows = partial(
            PartitionAttention,
            window=(self.window_size,) * 2,
            head_dim=self.head_dim,
            use_bias=self.use_bias,
            pad_inputs=self.pad_inputs,
        )
        known = {
            "identity": IdentityMixer,
            "pool": partial(PoolMixer, self.pool_size),
            "random": RandomMixer,
            "spatial_fc": SpatialDense,
            "depthwise_conv": DepthwiseConv,
            "sep_conv": SeparableConv,
            "attention": partial(GlobalAttention, self.head_dim, self.use_bias),
            "block_attention": partial(windows, "block"),
            "grid_attention": partial(windows, "grid"),
        }
        return known.get(mixer) or _own_mixer(mixer)

    def check(self) -> None:
        super().check()
        widths, mixers = self.widths, self.mixers
        count = f"mixers={mixers!r}: one for each of {len(widths)} stages is needed"
        require(isinstance(mixers, tuple) and len(mixers) == len(widths), count)
        for stage, (mixer, width) in enumerate(zip(mixers, widths, strict=True), 1):
            if mixer not in MIXERS:
                _own_mixer(mixer)
            elif mixer.endswith("attention") and (head := self.head_dim) > 0:
                require(
                    width % head == 0,
                    f"widths: {width} of stage {stage} is not a multiple of head_dim={head};"
                    f" {nearest_valid(width, head)}",
                )
        _require_choice("norm", self.norm, ("layer", "group"))
        _require_choice("activation", self.activation, ("star_relu", "gelu"))
        _require_choice("head_order", self.head_order, ("official", "timm"))
        for name in ("scaled_residuals", "position_embeddings"):
            chosen = getattr(self, name)
            wrong = f"{name}={chosen}: stages are 1 to {len(widths)}"
            require(set(chosen) <= set(self._stages), wrong)
        dense = f"feature_norms=True has no classifier: num_classes={self.num_classes} must be 0"
        require(not (self.feature_norms and self.num_classes), dense)
        odd = f"pool_size={self.pool_size} must be odd: try {self.pool_size + 1}"
        require(self.pool_size > 0 and self.pool_size % 2 == 1, odd)
        for name in ("head_dim", "window_size"):
            require(getattr(self, name) > 0, f"{name}={getattr(self, name)} must be positive")
        require(self.norm_epsilon > 0, f"norm_epsilon={self.norm_epsilon} must be positive")
        size = self._image_size
        require(
            len(size) == 2 and min(size) > 2, f"image_size={size}: a side, or two, of 3 or more"
        )

    def _check_images(self, shape: tuple[int, ...]) -> None:
        super()._check_images(shape)
        if any(side < 3 for side in shape[1:3]):
            raise UserError(f"images of {shape[1]}x{shape[2]} are too small: sides are 3 or more")
        sizes, made_for = self._map_sizes(shape[1:3]), self._map_sizes(self._image_size)
        for stage, part in self._fixed_stages.items():
            if sizes[stage - 1] != made_for[stage - 1]:
                height, width = self._image_size
                raise UserError(
                    f"images of {shape[1]}x{shape[2]}, but {part} of stage {stage} is made for"
                    f" image_size {height}x{width}: resize, or set another"
                )


def mean_over_map(x: Array) -> Array:
    """`[batch, height, width, channels]` -> float32 `[batch, channels]`."""
    return jnp.mean(x, axis=(1, 2), dtype=jnp.float32)


def _uniform(limit: float, rng: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    return jax.random.uniform(rng, shape, dtype, -limit, limit)


def _own_mixer(mixer: Any) -> Mixer:
    """A user's mixer, given as such or by name."""
    if isinstance(mixer, str):
        module, colon, name = mixer.partition(":")
        require(bool(colon), f"mixers={mixer!r}: {did_you_mean(mixer, MIXERS)}, or 'module:Class'")
        try:
            mixer = getattr(importlib.import_module(module), name)
        except (AttributeError, ImportError, ValueError) as error:
            raise UserError(f"mixers={mixer!r} can't be imported: {error}") from error
    made = mixer.func if isinstance(mixer, partial) else mixer
    is_class = isinstance(made, type) and issubclass(made, nn.Module)
    fits = is_class and "dtype" in {field.name for field in dataclasses.fields(made)}
    wanted = "a module class with a field `dtype`, or a functools.partial of one"
    require(fits, f"mixers: {getattr(made, '__name__', repr(made))} is not {wanted}")
    return mixer


def _require_choice(field: str, value: str, choices: tuple[str, ...]) -> None:
    require(value in choices, f"{field}={value!r}: {did_you_mean(str(value), choices)}")


# Layouts, shared by both papers (table 1 of the first; the last four: table 2 of the second).
_NARROW, _WIDE = (64, 128, 320, 512), (96, 192, 384, 768)
_LAYOUTS = {
    "s12": {"widths": _NARROW, "depths": (2, 2, 6, 2)},
    "s24": {"widths": _NARROW, "depths": (4, 4, 12, 4)},
    "s36": {"widths": _NARROW, "depths": (6, 6, 18, 6)},
    "m36": {"widths": _WIDE, "depths": (6, 6, 18, 6)},
    "m48": {"widths": _WIDE, "depths": (8, 8, 24, 8)},
}
_LAYOUTS_CONV = {
    "s18": {"widths": _NARROW, "depths": (3, 3, 9, 3)},
    "s36": {"widths": _NARROW, "depths": (3, 12, 18, 3)},
    "m36": {"widths": (96, 192, 384, 576), "depths": (3, 12, 18, 3)},
    "b36": {"widths": (128, 256, 512, 768), "depths": (3, 12, 18, 3)},
}
_FIRST = {
    "norm": "group",
    "norm_epsilon": 1e-5,
    "use_bias": True,
    "activation": "gelu",
    "layer_scale": 1e-5,
    "downsample_norms": False,
    "pool_first": False,
}
_GLOBAL_NORM = {"norm": "group", "scaled_residuals": (3, 4)}  # second paper, simple mixers
_MLP_HEAD = {"mlp_head": True, "scaled_residuals": (3, 4)}  # second paper, learned mixers


def _rows(name: str, layouts: dict, drop_path_rates: tuple[float, ...], **shared) -> dict:
    """Rows of one family: its layouts, each with its stochastic depth, and what they share."""
    return {
        f"{name}_{size}": layout | {"drop_path_rate": rate} | shared
        for (size, layout), rate in zip(layouts.items(), drop_path_rates, strict=True)
    }


def _ablation(*mixers: str, **fields) -> dict:
    """One row of the first paper's hybrid and minimal models."""
    return _LAYOUTS["s12"] | _FIRST | {"mixers": mixers, "drop_path_rate": 0.1} | fields


_SIMPLE_RATES = (0.1, 0.1, 0.2, 0.3, 0.4)
# drop_path_rate and head_dropout of ImageNet-1k training from the official scripts.
VARIANTS = _rows("poolformer", _LAYOUTS, _SIMPLE_RATES, mixers=("pool",) * 4, **_FIRST)
for _size in ("s36", "m36", "m48"):
    VARIANTS[f"poolformer_{_size}"]["layer_scale"] = 1e-6
VARIANTS |= {
    "metaformer_id_s12": _ablation("identity", "identity", "identity", "identity"),
    "metaformer_pppa_s12_224": _ablation(
        "pool", "pool", "pool", "attention", norm="layer", position_embeddings=(4,)
    ),
    "metaformer_ppaa_s12_224": _ablation(
        "pool", "pool", "attention", "attention", norm="layer", position_embeddings=(3,)
    ),
    "metaformer_pppf_s12_224": _ablation("pool", "pool", "pool", "spatial_fc"),
    "metaformer_ppff_s12_224": _ablation("pool", "pool", "spatial_fc", "spatial_fc"),
}
VARIANTS |= _rows(
    "caformer",
    _LAYOUTS_CONV,
    (0.15, 0.3, 0.4, 0.6),
    mixers=("sep_conv", "sep_conv", "attention", "attention"),
    **_MLP_HEAD,
)
for _size, _rate in {"s36": 0.4, "m36": 0.4, "b36": 0.5}.items():
    VARIANTS[f"caformer_{_size}"]["head_dropout"] = _rate
VARIANTS |= _rows(
    "convformer", _LAYOUTS_CONV, (0.2, 0.3, 0.4, 0.6), mixers=("sep_conv",) * 4, **_MLP_HEAD
)
VARIANTS |= _rows("poolformerv2", _LAYOUTS, _SIMPLE_RATES, mixers=("pool",) * 4, **_GLOBAL_NORM)
VARIANTS |= _rows(
    "identityformer", _LAYOUTS, _SIMPLE_RATES, mixers=("identity",) * 4, **_GLOBAL_NORM
)
VARIANTS |= _rows(
    "randformer",
    _LAYOUTS,
    (0.1, 0.1, 0.2, 0.3, 0.3),
    mixers=("identity", "identity", "random", "random"),
    **_GLOBAL_NORM,
)

# Published ImageNet-1k top-1 in per cent by image size, trained on ImageNet-1k alone.
PUBLISHED = {
    "poolformer_s12": {224: 77.2},
    "poolformer_s24": {224: 80.3},
    "poolformer_s36": {224: 81.4},
    "poolformer_m36": {224: 82.1},
    "poolformer_m48": {224: 82.5},
    "metaformer_id_s12": {224: 74.3},
    "metaformer_pppa_s12_224": {224: 78.3},
    "metaformer_ppaa_s12_224": {224: 81.0},
    "metaformer_pppf_s12_224": {224: 77.5},
    "metaformer_ppff_s12_224": {224: 77.9},
    "caformer_s18": {224: 83.6, 384: 85.0},
    "caformer_s36": {224: 84.5, 384: 85.7},
    "caformer_m36": {224: 85.2, 384: 86.2},
    "caformer_b36": {224: 85.5, 384: 86.4},
    "convformer_s18": {224: 83.0, 384: 84.4},
    "convformer_s36": {224: 84.1, 384: 85.4},
    "convformer_m36": {224: 84.5, 384: 85.6},
    "convformer_b36": {224: 84.8, 384: 85.7},
    "poolformerv2_s12": {224: 78.0},
    "poolformerv2_s24": {224: 80.7},
    "poolformerv2_s36": {224: 81.6},
    "poolformerv2_m36": {224: 82.2},
    "poolformerv2_m48": {224: 82.6},
    "identityformer_s12": {224: 74.6},
    "identityformer_s24": {224: 78.2},
    "identityformer_s36": {224: 79.3},
    "identityformer_m36": {224: 80.0},
    "identityformer_m48": {224: 80.4},
    "randformer_s12": {224: 76.6},
    "randformer_s24": {224: 78.2},
    "randformer_s36": {224: 79.5},
    "randformer_m36": {224: 81.2},
    "randformer_m48": {224: 81.4},
}
