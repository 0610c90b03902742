"""What an R-CNN makes of a box's pooled features: its class, and a better box."""

from typing import Literal

import jax
from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from maxvit_jax.heads.box_norm import box_norm

_POOLED_CONVS = 4  # of "mg"


class BoxHead(nn.Module):
    """Dense layers over a box's pooled features.

    Attributes:
      num_classes: without the background.
      class_agnostic: one box, not one for every class.
      channels: of the dense layers.
      convention: `"mm"` has two dense layers and the background as the last class; `"mg"` four
        convolutions, a dense layer, batch normalisation after each, the background first.
      dtype: compute type; outputs are float32.
    """

    num_classes: int
    class_agnostic: bool = False
    channels: int = 1024
    convention: Literal["mm", "mg"] = "mm"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, real: Array, train: bool) -> tuple[Array, Array]:
        """Looks at every box.

        Args:
          x: pooled features `[boxes, size, size, channels]`.
          real: boolean `[boxes]`; batch statistics leave out padding.
          train: batch statistics.

        Returns:
          float32 logits `[boxes, classes + 1]`, the background last in any case; and deltas
          `[boxes, classes, 4]`, or `[boxes, 1, 4]`.
        """
        norm = {"train": train, "dtype": self.dtype}
        if self.convention == "mg":
            for i in range(_POOLED_CONVS):
                conv = nn.Conv(x.shape[-1], (3, 3), dtype=self.dtype, name=f"conv_{i}")
                x = box_norm(conv(x), real, name=f"conv_norm_{i}", **norm)
        else:
            x = x.transpose(0, 3, 1, 2)  # as PyTorch flattens
        x = x.reshape(x.shape[0], -1)
        for i in range(1 if self.convention == "mg" else 2):
            init = nn.initializers.xavier_uniform()
            dense = nn.Dense(self.channels, kernel_init=init, dtype=self.dtype, name=f"dense_{i}")
            x = dense(x)
            if self.convention == "mg":
                x = box_norm(x, real, name=f"dense_norm_{i}", **norm)
            else:
                x = jax.nn.relu(x)
        logits = self._outputs(x, self.num_classes + 1, 0.01, "logits")
        if self.convention == "mg":
            logits = jnp.roll(logits, -1, -1)
        boxes = 1 if self.class_agnostic else self.num_classes
        deltas = self._outputs(x, 4 * boxes, 0.001, "deltas")
        return logits, deltas.reshape(-1, boxes, 4)

    def _outputs(self, x: Array, features: int, scale: float, name: str) -> Array:
        init = nn.initializers.normal(scale)
        dense = nn.Dense(features, kernel_init=init, dtype=self.dtype, name=name)
        return dense(x).astype(jnp.float32)
