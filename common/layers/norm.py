"""Layer and batch normalisation with the constants spelled out: numerics depend on them."""

from flax import linen as nn
from jax import numpy as jnp
from jax.typing import DTypeLike


def layer_norm(
    *,
    epsilon: float = 1e-5,
    use_bias: bool = True,
    dtype: DTypeLike = jnp.float32,
    name: str | None = None,
) -> nn.LayerNorm:
    """LayerNorm over channels; mean and variance in float32 by the two-pass formula."""
    return nn.LayerNorm(
        epsilon=epsilon, use_bias=use_bias, dtype=dtype, use_fast_variance=False, name=name
    )


def group_norm(
    *,
    epsilon: float = 1e-5,
    use_bias: bool = True,
    dtype: DTypeLike = jnp.float32,
    name: str | None = None,
) -> nn.GroupNorm:
    """GroupNorm of one group: over height, width and channels of each example, two-pass."""
    return nn.GroupNorm(
        num_groups=1,
        epsilon=epsilon,
        use_bias=use_bias,
        dtype=dtype,
        use_fast_variance=False,
        name=name,
    )


def batch_norm(
    *,
    train: bool,
    momentum: float,
    epsilon: float = 1e-3,
    dtype: DTypeLike = jnp.float32,
    name: str,
) -> nn.BatchNorm:
    """BatchNorm over all axes but channels, with statistics of the global batch.

    The moving variance is updated with the biased batch variance; TensorFlow's fused kernel and
    PyTorch update it with the unbiased one, larger by n / (n - 1) for n = batch * height * width.
    The normalisation itself uses the biased variance everywhere.

    Args:
      train: normalise with batch statistics and update the moving ones.
      momentum: of the moving statistics, `new = momentum * old + (1 - momentum) * batch`.
      epsilon: added to the variance.
      dtype: compute type of the result; statistics are float32.
      name: module name.
    """
    return nn.BatchNorm(
        use_running_average=not train, epsilon=epsilon, momentum=momentum, dtype=dtype, name=name
    )
