"""Losses of semantic segmentation at the labels' resolution; ignored pixels count nowhere."""

from collections.abc import Sequence
from typing import Literal

import jax
from jax import Array
from jax import numpy as jnp

Normaliser = Literal["valid", "all"]


def cross_entropy(
    logits: Array,
    label_map: Array,
    *,
    normaliser: Normaliser = "valid",
    class_weights: Sequence[float] = (),
) -> Array:
    """Softmax cross entropy over pixels.

    Args:
      logits: float32 `[batch, height, width, classes]`.
      label_map: integers `[batch, height, width]`; those from `classes` on are ignored (255).
      normaliser: what the sum is divided by: `"valid"` pixels (their weights, where there are
        any; Model Garden), or `"all"`, ignored ones too (mmsegmentation's default).
      class_weights: one per class.

    Returns:
      A scalar; 0 where all is ignored.
    """
    valid = label_map < logits.shape[-1]
    labels = jnp.where(valid, label_map, 0).astype(jnp.int32)
    log_probabilities = jax.nn.log_softmax(logits)
    own = jnp.take_along_axis(log_probabilities, labels[..., None], -1)[..., 0]
    weights = valid.astype(jnp.float32)
    if class_weights:
        weights *= jnp.asarray(class_weights, jnp.float32)[labels]
    total = -jnp.sum(jnp.where(valid, own, 0) * weights)
    return total / (label_map.size if normaliser == "all" else jnp.maximum(weights.sum(), 1e-6))


def dice(logits: Array, label_map: Array) -> Array:
    """One less the Dice coefficient of probabilities and labels, averaged over labelled classes.

    Sums are over the whole batch (Milletari et al. 2016, without squares).

    Args:
      logits: float32 `[batch, height, width, classes]`.
      label_map: integers `[batch, height, width]`; those from `classes` on are ignored (255).

    Returns:
      A scalar in [0, 1]; 0 where all is ignored.
    """
    valid = (label_map < logits.shape[-1])[..., None]
    probabilities = jnp.where(valid, jax.nn.softmax(logits), 0)
    targets = jax.nn.one_hot(label_map, logits.shape[-1]) * valid
    axes = (0, 1, 2)
    both = (probabilities * targets).sum(axes)
    sizes, labelled = probabilities.sum(axes) + targets.sum(axes), targets.sum(axes) > 0
    per_class = 1 - 2 * both / jnp.maximum(sizes, 1e-6)
    return jnp.where(labelled, per_class, 0).sum() / jnp.maximum(labelled.sum(), 1)
