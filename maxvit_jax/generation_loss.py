"""What generator and discriminator minimise, and what keeps the discriminator smooth."""

from collections.abc import Callable
from typing import Literal

import jax
from jax import Array
from jax import numpy as jnp

Loss = Literal["non_saturating", "hinge"]


def generator_loss(fake: Array, *, loss: Loss) -> Array:
    """Returns the generator's loss, a scalar.

    Args:
      fake: the discriminator's logits of made images, `[batch]`.
      loss: `"non_saturating"` (arXiv:1406.2661) or `"hinge"` (arXiv:1705.02894).
    """
    if loss == "hinge":
        return -fake.mean()
    return jax.nn.softplus(-fake).mean()


def discriminator_loss(real: Array, fake: Array, *, loss: Loss) -> Array:
    """Returns the discriminator's loss, a scalar.

    Args:
      real: its logits of real images, `[batch]`.
      fake: of made ones.
      loss: as for `generator_loss`.
    """
    if loss == "hinge":
        return jax.nn.relu(1 - real).mean() + jax.nn.relu(1 + fake).mean()
    return jax.nn.softplus(-real).mean() + jax.nn.softplus(fake).mean()


def squared_gradients(judge: Callable[[Array], Array], images: Array) -> tuple[Array, Array]:
    """The R1 penalty of real images without its weight (arXiv:1801.04406, equation 9, without 1/2).

    Args:
      judge: from images to logits `[batch]`.
      images: `[batch, height, width, channels]`.

    Returns:
      The mean over images of the squared norm of a logit's gradient by its image; and these
      gradients. The penalty can be differentiated by what `judge` depends on.
    """
    gradient = jax.grad(lambda x: judge(x).sum())(images)
    return jnp.square(gradient).sum((1, 2, 3)).mean(), gradient
