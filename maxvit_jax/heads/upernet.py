"""UPerNet (Xiao et al. 2018): pyramid pooling on the coarsest map, and a feature pyramid."""

from collections.abc import Mapping

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from common.layers.resize import adaptive_average_pool, bilinear
from maxvit_jax.heads.conv_norm import ConvNorm, PixelClassifier


class UPerNet(nn.Module):
    """As mmsegmentation has it, with which Swin and its heirs are trained.

    Attributes:
      num_classes: logits.
      channels: of everything inside.
      pool_scales: sides of the pooled maps.
      dropout: rate before the classifier.
      init_scale: standard deviation of the classifier's initial kernel; 0.01 as in the releases,
        from which classes that look alike at first are slow to part without pretrained features.
      dtype: compute type; parameters, statistics and logits are float32.
    """

    num_classes: int
    channels: int = 512
    pool_scales: tuple[int, ...] = (1, 2, 3, 6)
    dropout: float = 0.1
    init_scale: float = 0.01
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, maps: Mapping[str, Array], train: bool) -> Array:
        """Maps features by name, finest first, to logits at the finest map's size."""

        def conv(x: Array, kernel: int, name: str) -> Array:
            return ConvNorm(self.channels, kernel, dtype=self.dtype, name=name)(x, train)

        *finer, coarsest = maps
        x = maps[coarsest]
        pooled = [x]
        for side in self.pool_scales:
            y = conv(adaptive_average_pool(x, side), 1, f"pool_{side}")
            pooled.append(bilinear(y, *x.shape[1:3]))
        above = conv(jnp.concatenate(pooled, -1), 3, "pool_out")
        outputs = [above]  # the coarsest has no convolution of its own behind the pyramid
        for name in reversed(finer):
            x = conv(maps[name], 1, f"{name}_lateral")
            above = x + bilinear(above, *x.shape[1:3])
            outputs.insert(0, conv(above, 3, f"{name}_output"))
        size = outputs[0].shape[1:3]
        x = jnp.concatenate([bilinear(y, *size) for y in outputs], -1)
        fields = self.num_classes, self.dropout, self.init_scale, self.dtype
        head = PixelClassifier(*fields, name="classifier")
        return head(conv(x, 3, "fusion"), train)
