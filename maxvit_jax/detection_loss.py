"""Losses of detection per element: what is added up and divided by what is the head's business.

All are float32, whatever comes in.
"""

import jax
from jax import Array
from jax import numpy as jnp

from common.ops.boxes import giou


def focal(logits: Array, targets: Array, *, alpha: float = 0.25, gamma: float = 2.0) -> Array:
    """Focal loss of independent classes (Lin et al. 2017).

    Args:
      logits: of any shape, one per class.
      targets: of the same shape, 1 where the class is right, 0 elsewhere.
      alpha: weight of right classes; the others have 1 - alpha.
      gamma: how little easy ones count; 0 is the weighted cross entropy.

    Returns:
      float32 of the same shape.
    """
    right = targets > 0.5
    margin = jnp.where(right, logits, -logits).astype(jnp.float32)
    # The power as an exponential: that of 0 has no derivative for some gamma.
    modulation = jnp.exp(gamma * jax.nn.log_sigmoid(-margin))
    return -jnp.where(right, alpha, 1 - alpha) * modulation * jax.nn.log_sigmoid(margin)


def binary_cross_entropy(logits: Array, targets: Array) -> Array:
    """Cross entropy of independent yes-or-no questions.

    Args:
      logits: of any shape.
      targets: of the same shape, in [0, 1].

    Returns:
      float32 of the same shape.
    """
    logits, targets = logits.astype(jnp.float32), targets.astype(jnp.float32)
    yes, no = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
    return -(targets * yes + (1 - targets) * no)


def l1(predictions: Array, targets: Array) -> Array:
    """Absolute difference, float32.

    Args:
      predictions: of any shape.
      targets: of the same shape.
    """
    return jnp.abs(predictions.astype(jnp.float32) - targets.astype(jnp.float32))


def smooth_l1(predictions: Array, targets: Array, *, beta: float) -> Array:
    """Absolute difference, less beta / 2, and a parabola below beta.

    Args:
      predictions: of any shape.
      targets: of the same shape.
      beta: where the parabola ends; 0 is `l1`.

    Returns:
      float32 of the same shape.
    """
    if beta == 0:
        return l1(predictions, targets)
    return huber(predictions, targets, delta=beta) / beta


def huber(predictions: Array, targets: Array, *, delta: float) -> Array:
    """Half the squared difference, and a line above delta: delta times `smooth_l1` with that beta.

    Args:
      predictions: of any shape.
      targets: of the same shape.
      delta: where the line starts, above 0.

    Returns:
      float32 of the same shape.
    """
    difference = l1(predictions, targets)
    below = jnp.minimum(difference, delta)
    return below * (difference - below / 2)


def giou_loss(predictions: Array, targets: Array) -> Array:
    """One less the generalised IoU of pairs of boxes.

    Args:
      predictions: `[..., 4]`, x1, y1, x2, y2.
      targets: of the same shape.

    Returns:
      float32 `[...]` in [0, 2].
    """
    return 1 - giou(predictions, targets)
