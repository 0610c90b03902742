"""Of what a head gives for every class, the part of each box's own class."""

from jax import Array
from jax import numpy as jnp


def class_masks(masks: Array, classes: Array) -> Array:
    """The masks of a class each: `[batch, boxes, side, side]` of `[.., classes]`."""
    index = jnp.clip(classes, 0, masks.shape[-1] - 1)[:, :, None, None, None]
    return jnp.take_along_axis(masks, index, -1)[..., 0]


def class_deltas(deltas: Array, classes: Array) -> Array:
    """The deltas of a class each: `[batch, boxes, 4]` of `[batch, boxes, classes, 4]`."""
    index = jnp.clip(classes, 0, deltas.shape[2] - 1)[:, :, None, None]
    return jnp.take_along_axis(deltas, index, 2)[:, :, 0]
