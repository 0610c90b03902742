"""MAXIM as the release formulates it, op by op: what `benchmark_maxim.py` measures against.

Axis swaps around products over positions, concatenations before and splits after projections,
resizes by matrices, convolutions of upsampled maps. Weights are under the official names. It is
also a second, independent account of the architecture for the tests.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax import Array, lax
from jax import numpy as jnp

Weights = Mapping[str, Array]
_MAPS = ("NHWC", "HWIO", "NHWC")


def plain_maxim(weights: Weights, images: Array, fields: Mapping[str, Any]) -> list[list[Array]]:
    """Restores images.

    Args:
      weights: arrays under the official names, without `opt/target/`.
      images: `[batch, height, width, 3]`, values 0..1; sides must fit.
      fields: all fields of `maxim_jax.models.maxim.Fields`.

    Returns:
      Per stage, per scale, coarsest first, as the release does.
    """
    return _Network(weights, fields).run(images)


class _Network:
    def __init__(self, weights: Weights, fields: Mapping[str, Any]):
        self.w, self.f = weights, fields
        self.numbers = {"UpSampleRatio": 0, "Conv": 0}  # the release numbers these by call

    def run(self, images: Array) -> list[list[Array]]:
        f = self.f
        depth, scales = f["depth"], range(f["num_supervision_scales"])
        pyramid = [_resized(images, 2.0**-s, "nearest") for s in scales]
        outputs, encoded_before, decoded_before, attended = [], [], [], []
        for t in range(f["num_stages"]):
            inputs = []
            for s in scales:
                x = self.conv(f"stage_{t}_input_conv_{s}", pyramid[s])
                if t and f["use_cross_gating"]:
                    name = f"stage_{t}_input_fuse_sam_{s}"
                    x, _ = self.cross_gating(name, x, attended[s], s, upsample=False)
                elif t:
                    x = jnp.concatenate([x, attended[s]], -1)
                    x = self.conv(f"stage_{t}_input_catconv_{s}", x)
                inputs.append(x)

            encoded, x = [], inputs[0]
            for i in range(depth):
                skip = inputs[i] if i in scales else None
                before = encoded_before[i] + decoded_before[i] if t else None
                name = f"stage_{t}_encoder_block_{i}"
                x = self.block(name, x, skip, i)
                if before is not None:
                    x, _ = self.cross_gating(f"{name}/cross_gating_block", x, before, i, False)
                encoded.append(x)
                x = self.conv(f"{name}/Conv_1", x, stride=2)
            for b in range(f["num_bottleneck_blocks"]):
                x = self.bottleneck(f"stage_{t}_global_block_{b}", x)

            below, skips = x, []
            for i in reversed(range(depth)):
                maps = [self.rescaled(encoded[j], 2.0 ** (j - i)) for j in range(depth)]
                signal = jnp.concatenate(maps, -1)
                if f["use_cross_gating"]:
                    name = f"stage_{t}_cross_gating_block_{i}"
                    signal, below = self.cross_gating(name, signal, below, i, upsample=True)
                else:
                    signal = self.conv(self.numbered("Conv"), signal)
                    signal = self.conv(self.numbered("Conv"), signal)
                skips.append(signal)

            decoded, restored, features = [None] * depth, [], {}
            for i in reversed(range(depth)):
                ratios = [2.0 ** (depth - 1 - j - i) for j in range(depth)]
                maps = [self.rescaled(skip, r) for skip, r in zip(skips, ratios, strict=True)]
                name = f"stage_{t}_decoder_block_{i}"
                x = self.up(f"{name}/ConvTranspose_0", x)
                inner = f"{name}/UNetEncoderBlock_0"
                x = self.block(inner, x, jnp.concatenate(maps, -1), i)
                decoded[i] = x
                if i not in scales:
                    continue
                if t < f["num_stages"] - 1:
                    name = f"stage_{t}_supervised_attention_module_{i}"
                    features[i], image = self.supervised_attention(name, x, pyramid[i])
                else:
                    image = self.conv(f"stage_{t}_output_conv_{i}", x) + pyramid[i]
                restored.append(image)
            outputs.append(restored)
            encoded_before, decoded_before, attended = encoded, decoded, features
        return outputs

    def numbered(self, kind: str) -> str:
        self.numbers[kind] += 1
        return f"{kind}_{self.numbers[kind] - 1}"

    def sides(self, level: int) -> tuple[Sequence[int], Sequence[int]]:
        high = level < self.f["high_res_stages"]
        block = self.f["block_size_hr" if high else "block_size_lr"]
        return block, self.f["grid_size_hr"] if high else block

    def dense(self, name: str, x: Array) -> Array:
        y = jnp.dot(x, self.w[f"{name}/kernel"])
        return y + self.w[f"{name}/bias"] if f"{name}/bias" in self.w else y

    def conv(self, name: str, x: Array, stride: int = 1) -> Array:
        kernel = self.w[f"{name}/kernel"]
        strides = (stride, stride)
        y = lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=_MAPS)
        return y + self.w[f"{name}/bias"] if f"{name}/bias" in self.w else y

    def up(self, name: str, x: Array) -> Array:
        kernel = self.w[f"{name}/kernel"]
        y = lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=_MAPS)
        return y + self.w[f"{name}/bias"] if f"{name}/bias" in self.w else y

    def norm(self, name: str, x: Array) -> Array:
        mean = x.mean(-1, keepdims=True)
        variance = jnp.maximum(0.0, (x * x).mean(-1, keepdims=True) - mean * mean)
        scale = lax.rsqrt(variance + 1e-6) * self.w[f"{name}/scale"]
        return (x - mean) * scale + self.w[f"{name}/bias"]

    def rescaled(self, x: Array, ratio: float) -> Array:
        return self.conv(f"{self.numbered('UpSampleRatio')}/Conv_0", _resized(x, ratio, "bilinear"))

    def along(self, name: str, x: Array, axis: int) -> Array:
        return self.dense(name, x.swapaxes(-1, axis)).swapaxes(-1, axis)

    def gmlp(self, name: str, x: Array, kind: str, sides: Sequence[int]) -> Array:
        spatial = x.shape[1:3]
        patch = sides if kind == "Block" else [s // g for s, g in zip(spatial, sides, strict=True)]
        x = _windows(x, patch)
        y = _gelu(self.dense(f"{name}/in_project", self.norm(f"{name}/LayerNorm", x)))
        u, v = jnp.split(y, 2, axis=-1)
        unit = f"{name}/{kind}GatingUnit"
        v = self.norm(f"{unit}/intermediate_layernorm", v)
        v = self.along(f"{unit}/Dense_0", v, -2 if kind == "Block" else -3)
        x = x + self.dense(f"{name}/out_project", u * (v + 1.0))
        return _unwindowed(x, patch, spatial)

    def multi_axis(self, name: str, x: Array, level: int) -> Array:
        block, grid = self.sides(level)
        y = _gelu(self.dense(f"{name}/in_project", self.norm(f"{name}/LayerNorm_in", x)))
        u, v = jnp.split(y, 2, axis=-1)
        u = self.gmlp(f"{name}/GridGmlpLayer", u, "Grid", grid)
        v = self.gmlp(f"{name}/BlockGmlpLayer", v, "Block", block)
        return x + self.dense(f"{name}/out_project", jnp.concatenate([u, v], -1))

    def channel_attention(self, name: str, x: Array) -> Array:
        y = x.mean((1, 2), keepdims=True)
        y = jax.nn.relu(self.conv(f"{name}/Conv_0", y))
        return x * jax.nn.sigmoid(self.conv(f"{name}/Conv_1", y))

    def block(self, name: str, x: Array, skip: Array | None, level: int) -> Array:
        x = x if skip is None else jnp.concatenate([x, skip], -1)
        shortcut = x = self.conv(f"{name}/Conv_0", x)
        for k in range(self.f["num_groups"]):
            if self.f["use_global_mlp"]:
                x = self.multi_axis(f"{name}/SplitHeadMultiAxisGmlpLayer_{k}", x, level)
            inner = f"{name}/channel_attention_block_1{k}"
            y = self.conv(f"{inner}/conv1", self.norm(f"{inner}/LayerNorm", x))
            y = self.conv(f"{inner}/conv2", jax.nn.leaky_relu(y, 0.2))
            x = x + self.channel_attention(f"{inner}/channel_attention", y)
        return x + shortcut

    def bottleneck(self, name: str, x: Array) -> Array:
        shortcut = x = self.conv(f"{name}/input_proj", x)
        for k in range(self.f["num_groups"]):
            x = self.multi_axis(f"{name}/SplitHeadMultiAxisGmlpLayer_{k}", x, self.f["depth"])
            inner = f"{name}/channel_attention_block_1_{k}"
            y = self.dense(f"{inner}/channel_mixing/Dense_0", self.norm(f"{inner}/LayerNorm", x))
            y = self.dense(f"{inner}/channel_mixing/Dense_1", _gelu(y))
            x = x + self.channel_attention(f"{inner}/channel_attention", y)
        return x + shortcut

    def gate(self, name: str, x: Array, level: int) -> Array:
        block, grid = self.sides(level)
        spatial = x.shape[1:3]
        cell = [s // g for s, g in zip(spatial, grid, strict=True)]
        y = _gelu(self.dense(f"{name}/in_project", self.norm(f"{name}/LayerNorm_in", x)))
        u, v = jnp.split(y, 2, axis=-1)
        u = _unwindowed(self.along(f"{name}/Dense_0", _windows(u, cell), -3), cell, spatial)
        v = _unwindowed(self.along(f"{name}/Dense_1", _windows(v, block), -2), block, spatial)
        return self.dense(f"{name}/out_project", jnp.concatenate([u, v], -1))

    def cross_gating(
        self, name: str, x: Array, y: Array, level: int, upsample: bool
    ) -> tuple[Array, Array]:
        y = self.up(f"{name}/ConvTranspose_0", y) if upsample else y
        shortcut_x = x = self.conv(f"{name}/Conv_0", x)
        shortcut_y = y = self.conv(f"{name}/Conv_1", y)
        x = _gelu(self.dense(f"{name}/in_project_x", self.norm(f"{name}/LayerNorm_x", x)))
        gate_x = self.gate(f"{name}/SplitHeadMultiAxisGating_x", x, level)
        y = _gelu(self.dense(f"{name}/in_project_y", self.norm(f"{name}/LayerNorm_y", y)))
        gate_y = self.gate(f"{name}/SplitHeadMultiAxisGating_y", y, level)
        y = self.dense(f"{name}/out_project_y", y * gate_x) + shortcut_y
        return self.dense(f"{name}/out_project_x", x * gate_y) + y + shortcut_x, y

    def supervised_attention(self, name: str, x: Array, image: Array) -> tuple[Array, Array]:
        feature = self.conv(f"{name}/Conv_0", x)
        restored = self.conv(f"{name}/Conv_1", x) + image
        return feature * jax.nn.sigmoid(self.conv(f"{name}/Conv_2", restored)) + x, restored


def _gelu(x: Array) -> Array:
    return jax.nn.gelu(x, approximate=True)


def _resized(x: Array, ratio: float, method: str) -> Array:
    n, h, w, c = x.shape
    return jax.image.resize(x, (n, int(h * ratio), int(w * ratio), c), method)


def _windows(x: Array, patch: Sequence[int]) -> Array:
    n, h, w, c = x.shape
    x = x.reshape(n, h // patch[0], patch[0], w // patch[1], patch[1], c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, -1, patch[0] * patch[1], c)


def _unwindowed(x: Array, patch: Sequence[int], spatial: Sequence[int]) -> Array:
    counts = [s // p for s, p in zip(spatial, patch, strict=True)]
    x = x.reshape(x.shape[0], *counts, *patch, x.shape[-1])
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(x.shape[0], *spatial, x.shape[-1])
