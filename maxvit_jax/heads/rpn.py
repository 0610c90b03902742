"""The region proposal network's head (Ren et al. 2015): is there anything, and where exactly."""

from collections.abc import Sequence
from typing import Literal

import jax
from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from common.layers.norm import batch_norm


class RPNHead(nn.Module):
    """Objectness and boxes of all anchors; convolutions are the same for all maps.

    Attributes:
      anchors: per position.
      channels: of the 3x3 convolutions.
      convention: `"mm"` has one of them; `"mg"` two, and a batch normalisation per map after
        each.
      dtype: compute type; outputs are float32.
    """

    anchors: int
    channels: int = 256
    convention: Literal["mm", "mg"] = "mm"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: Sequence[Array], train: bool) -> tuple[list[Array], list[Array]]:
        """Looks at every position.

        Args:
          maps: `[batch, height, width, channels]` per level, finest first.
          train: batch statistics.

        Returns:
          Per level float32 logits `[batch, height * width * anchors]` and deltas
          `[batch, height * width * anchors, 4]`, rows outermost, anchors innermost.
        """
        mg = self.convention == "mg"
        fields = {"kernel_init": nn.initializers.normal(0.01), "dtype": self.dtype}
        convs = [
            nn.Conv(self.channels, (3, 3), name=f"conv_{i}", **fields)
            for i in range(2 if mg else 1)
        ]
        if mg:
            fields["kernel_init"] = nn.initializers.normal(1e-5)
        to_logits = nn.Dense(self.anchors, name="logits", **fields)
        to_deltas = nn.Dense(4 * self.anchors, name="deltas", **fields)
        logits, deltas = [], []
        for level, x in enumerate(maps):
            for i, conv in enumerate(convs):
                x = conv(x)
                if mg:
                    name = f"norm_{i}_level_{level}"
                    x = batch_norm(train=train, momentum=0.99, dtype=self.dtype, name=name)(x)
                x = jax.nn.relu(x)
            batch = x.shape[0]
            logits.append(to_logits(x).astype(jnp.float32).reshape(batch, -1))
            deltas.append(to_deltas(x).astype(jnp.float32).reshape(batch, -1, 4))
        return logits, deltas
