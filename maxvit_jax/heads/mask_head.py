"""Mask R-CNN's mask head (He et al. 2017, figure 4 right)."""

from typing import Literal

import jax
from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from maxvit_jax.heads.box_norm import box_norm
from maxvit_jax.heads.conv_norm import he_normal

_CONVS = 4


class MaskHead(nn.Module):
    """A mask per class at twice the pooled size.

    Attributes:
      num_classes: masks per box.
      channels: of the convolutions.
      convention: `"mg"` has a batch normalisation after every 3x3 convolution, `"mm"` none.
      dtype: compute type; logits are float32.
    """

    num_classes: int
    channels: int = 256
    convention: Literal["mm", "mg"] = "mm"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, real: Array, train: bool) -> Array:
        """Maps pooled features to masks.

        Args:
          x: `[boxes, size, size, channels]`.
          real: boolean `[boxes]`; batch statistics leave out padding.
          train: batch statistics.

        Returns:
          float32 logits `[boxes, 2 * size, 2 * size, classes]`.
        """
        fields = {"kernel_init": he_normal, "dtype": self.dtype}
        for i in range(_CONVS):
            x = nn.Conv(self.channels, (3, 3), name=f"conv_{i}", **fields)(x)
            if self.convention == "mg":
                x = box_norm(x, real, train=train, dtype=self.dtype, name=f"norm_{i}")
            else:
                x = jax.nn.relu(x)
        x = nn.ConvTranspose(self.channels, (2, 2), (2, 2), name="upsample", **fields)(x)
        x = jax.nn.relu(x)
        return nn.Dense(self.num_classes, name="logits", **fields)(x).astype(jnp.float32)
