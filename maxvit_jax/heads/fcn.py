"""The auxiliary head beside UPerNet: one convolution on an earlier map (mmsegmentation's FCN)."""

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from maxvit_jax.heads.conv_norm import ConvNorm, PixelClassifier


class FCN(nn.Module):
    """Convolution and classifier.

    Attributes:
      num_classes: logits.
      channels: between the two.
      dropout: rate before the classifier.
      dtype: compute type; parameters, statistics and logits are float32.
    """

    num_classes: int
    channels: int = 256
    dropout: float = 0.1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Maps `[batch, height, width, channels]` to logits of the same height and width."""
        x = ConvNorm(self.channels, dtype=self.dtype, name="conv")(x, train)
        head = PixelClassifier(self.num_classes, self.dropout, dtype=self.dtype, name="classifier")
        return head(x, train)
