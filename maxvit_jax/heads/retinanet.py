"""RetinaNet's head (Lin et al. 2017, figure 3): two towers over every map of a pyramid."""

import math
from collections.abc import Sequence
from typing import Literal

import jax
from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from common.layers.norm import batch_norm

_PRIOR = 0.01  # probability of every class before training
_init = nn.initializers.normal(0.01)


class RetinaNetHead(nn.Module):
    """Classes and boxes of all anchors; the towers are the same for all maps.

    Attributes:
      num_classes: logits per anchor.
      anchors: per position.
      channels: of the towers.
      depth: convolutions of each tower.
      convention: `"mg"` has a batch normalisation per map after every convolution of a tower,
        `"mm"` none.
      dtype: compute type; outputs are float32.
    """

    num_classes: int
    anchors: int
    channels: int = 256
    depth: int = 4
    convention: Literal["mm", "mg"] = "mm"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: Sequence[Array], train: bool) -> tuple[list[Array], list[Array]]:
        """Looks at every position.

        Args:
          maps: `[batch, height, width, channels]` per level, finest first.
          train: batch statistics.

        Returns:
          Per level float32 logits `[batch, height * width * anchors, classes]` and deltas
          `[batch, height * width * anchors, 4]`, rows outermost, anchors innermost.
        """
        bias = nn.initializers.constant(-math.log((1 - _PRIOR) / _PRIOR))
        logits = self._tower(maps, "class", self.num_classes, "logits", bias, train)
        deltas = self._tower(maps, "box", 4, "deltas", nn.initializers.zeros, train)
        return logits, deltas

    def _tower(
        self,
        maps: Sequence[Array],
        part: str,
        outputs: int,
        last: str,
        bias: nn.initializers.Initializer,
        train: bool,
    ) -> list[Array]:
        convs = [self._conv(self.channels, f"{part}_conv_{i}") for i in range(self.depth)]
        last_conv = self._conv(self.anchors * outputs, f"{part}_{last}", bias)
        found = []
        for level, x in enumerate(maps):
            for i, conv in enumerate(convs):
                x = conv(x)
                if self.convention == "mg":
                    name = f"{part}_norm_{i}_level_{level}"
                    x = batch_norm(train=train, momentum=0.99, dtype=self.dtype, name=name)(x)
                x = jax.nn.relu(x)
            x = last_conv(x).astype(jnp.float32)
            found.append(x.reshape(x.shape[0], -1, outputs))
        return found

    def _conv(
        self, features: int, name: str, bias: nn.initializers.Initializer = nn.initializers.zeros
    ) -> nn.Conv:
        fields = {"kernel_init": _init, "bias_init": bias, "dtype": self.dtype}
        return nn.Conv(features, (3, 3), name=name, **fields)
