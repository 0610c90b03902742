"""From scored boxes to the objects of an image."""

from typing import NamedTuple

import jax
from jax import Array
from jax import numpy as jnp

from common.kernels.nms import nms

MIN_SCORE = 0.05
MOST = 100
_NMS_IOU = 0.5


class Objects(NamedTuple):
    """The objects of an image, by descending score; or of a batch, which is a leading axis then.

    Attributes:
      boxes: float32 `[100, 4]`, x1, y1, x2, y2 in pixels.
      scores: float32 `[100]`; padding is 0.
      classes: int32 `[100]`; padding is -1.
      masks: float32 `[100, size, size]`, probabilities within the boxes; None: boxes alone.
    """

    boxes: Array
    scores: Array
    classes: Array
    masks: Array | None = None


def best_pairs(scores: Array, count: int) -> tuple[Array, Array, Array]:
    """Returns the best pairs of a box and a class, by descending score.

    Args:
      scores: `[boxes, classes]`.
      count: of pairs, or as many as there are.

    Returns:
      Scores, boxes and classes, `[count]` each.
    """
    boxes, classes = scores.shape
    # No pair of another box can be among them: so many boxes have a better one.
    _, rows = jax.lax.top_k(scores.max(1), min(count, boxes))
    best, pairs = jax.lax.top_k(scores[rows].ravel(), min(count, rows.size * classes))
    return best, rows[pairs // classes], pairs % classes


def select_objects(boxes: Array, scores: Array, classes: Array) -> Objects:
    """Returns the objects among candidates: of each class those that no better one overlaps.

    Args:
      boxes: `[candidates, 4]`; where one is empty, such as in padding, there is no object.
      scores: `[candidates]`; of 0.05 and less there is no object.
      classes: `[candidates]`.
    """
    there = (scores > MIN_SCORE) & (boxes[:, 2:] > boxes[:, :2]).all(-1)
    scores = jnp.where(there, scores, -jnp.inf)
    kept, real = nms(boxes, scores, _NMS_IOU, MOST, classes=classes)
    return Objects(
        jnp.where(real[:, None], boxes[kept], 0),
        jnp.where(real, scores[kept], 0),
        jnp.where(real, classes[kept], -1).astype(jnp.int32),
    )
