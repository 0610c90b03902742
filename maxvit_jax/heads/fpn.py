"""Feature pyramid networks (Lin et al. 2017) by the two conventions of published models."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal

import jax
from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from common.layers.norm import batch_norm
from common.layers.resize import nearest

CONVENTIONS = ("mm", "mg")


class FPN(nn.Module):
    """Maps of all strides, each seeing what the coarser ones saw, with equal channels.

    `"mm"` is mmdetection's and detectron2's: outputs are 3x3 convolutions with bias. `"mg"` is
    TensorFlow Model Garden's: batch normalisation follows on every output, and where `fusion` is
    `"concat"` the channels grow from the coarsest map on.

    Attributes:
      channels: of every output.
      convention: `"mm"` or `"mg"`.
      fusion: what the upsampled coarser map is to the lateral one: `"sum"`, or `"concat"`, the
        coarser one first.
      extra: maps beyond the coarsest, each at twice the stride.
      extra_kind: how they are made: `"pool"` takes every second position of the one before (R-CNNs
        of `"mm"`), `"input"` convolves the backbone's last map, then each other (RetinaNet of
        `"mm"`), `"output"` convolves the last output, with a ReLU from the second on (`"mg"`).
      finest_only: return the finest map alone; the others' last layers are then not there.
      dtype: compute type; parameters and statistics are float32.
    """

    channels: int = 256
    convention: Literal["mm", "mg"] = "mm"
    fusion: Literal["sum", "concat"] = "sum"
    extra: int = 0
    extra_kind: Literal["pool", "input", "output"] = "pool"
    finest_only: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: Mapping[str, Array], train: bool) -> OrderedDict[str, Array]:
        """Builds the pyramid.

        Args:
          maps: `[batch, height, width, channels]` by name, finest first.
          train: batch statistics.

        Returns:
          Maps under the same names, then `extra_1` .., finest first.
        """
        laterals = {name: self._conv(x, 1, f"{name}_lateral") for name, x in maps.items()}
        merged, above = {}, None
        for name in reversed(laterals):
            x = laterals[name]
            if above is not None:
                above = nearest(above, *x.shape[1:3])
                x = x + above if self.fusion == "sum" else jnp.concatenate([above, x], -1)
            merged[name] = above = x
        wanted = list(laterals)[:1] if self.finest_only else laterals
        outputs = OrderedDict((n, self._conv(merged[n], 3, f"{n}_output")) for n in wanted)

        x = list(maps.values())[-1] if self.extra_kind == "input" else list(outputs.values())[-1]
        for i in range(1, self.extra + 1):
            if self.extra_kind == "pool":
                x = x[:, ::2, ::2]
            else:
                if self.extra_kind == "output" and i > 1:
                    x = jax.nn.relu(x)
                x = self._conv(x, 3, f"extra_{i}", stride=2)
            outputs[f"extra_{i}"] = x
        if self.convention == "mg":
            outputs = OrderedDict((n, self._norm(y, train, n)) for n, y in outputs.items())
        return outputs

    def _conv(self, x: Array, kernel: int, name: str, stride: int = 1) -> Array:
        same = self.convention == "mg"  # TensorFlow pads an odd pixel at the bottom and right alone
        return nn.Conv(
            self.channels,
            (kernel, kernel),
            stride,
            padding="SAME" if same else kernel // 2,
            kernel_init=nn.initializers.lecun_normal()
            if same
            else nn.initializers.xavier_uniform(),
            dtype=self.dtype,
            name=name,
        )(x)

    def _norm(self, x: Array, train: bool, name: str) -> Array:
        return batch_norm(train=train, momentum=0.99, dtype=self.dtype, name=f"{name}_norm")(x)
