"""Boxes: overlaps, deltas to anchors, borders.

A box is x1, y1, x2, y2 in pixels, x2 and y2 outside of it. All is float32, whatever comes in: in
bfloat16 a coordinate of 1344 is off by up to 4 pixels.
"""

import math
from typing import Literal, get_args

from jax import Array
from jax import numpy as jnp

from common.config import require
from common.errors import did_you_mean

Weights = tuple[float, float, float, float]
Clamp = Literal["above", "both"]

UNWEIGHTED = (1.0, 1.0, 1.0, 1.0)
LARGEST_LOG = math.log(1000 / 16)  # of a side over its anchor's


def area(boxes: Array) -> Array:
    """Returns areas in square pixels, 0 for sides that end before they start.

    Args:
      boxes: `[..., 4]`.

    Returns:
      float32 `[...]`.
    """
    return jnp.prod(_sides(boxes.astype(jnp.float32)), -1)


def iou(a: Array, b: Array) -> Array:
    """Intersection over union of every box with every other.

    Args:
      a: `[n, 4]`.
      b: `[m, 4]`.

    Returns:
      float32 `[n, m]` in [0, 1]; 0 where both are empty.
    """
    return _share(*_overlap(a[:, None], b[None]))


def giou(a: Array, b: Array) -> Array:
    """Generalised IoU (Rezatofighi et al. 2019) of pairs of boxes.

    Args:
      a: `[..., 4]`.
      b: of the same shape.

    Returns:
      float32 `[...]` in [-1, 1]: the IoU less the share of the smallest box around both that
      neither covers. Of nothing each share is 0 and has no gradient.
    """
    intersection, union = _overlap(a, b)
    a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    first, last = jnp.minimum(a[..., :2], b[..., :2]), jnp.maximum(a[..., 2:], b[..., 2:])
    around = jnp.prod(jnp.maximum(last - first, 0), -1)
    return _share(intersection, union) - _share(around - union, around)


def encode(boxes: Array, anchors: Array, weights: Weights = UNWEIGHTED) -> Array:
    """Boxes as deltas to anchors: what regression learns.

    Args:
      boxes: `[..., 4]`.
      anchors: `[..., 4]`; leading axes broadcast.
      weights: of dx, dy, dw, dh, which are multiplied by them.

    Returns:
      float32 `[..., 4]`: dx, dy (centres, in sides of the anchor), dw, dh (logarithms of sides).
      All 0, without a gradient, where the box or its anchor is empty, such as padding.
    """
    boxes, anchors = boxes.astype(jnp.float32), anchors.astype(jnp.float32)
    sides, anchor_sides = _sides(boxes), _sides(anchors)
    real = jnp.all((sides > 0) & (anchor_sides > 0), -1, keepdims=True)
    # Selected before and after: an infinite derivative times 0 would be NaN.
    sides, anchor_sides = jnp.where(real, sides, 1), jnp.where(real, anchor_sides, 1)
    shifts = (_centres(boxes) - _centres(anchors)) / anchor_sides
    deltas = jnp.concatenate([shifts, jnp.log(sides / anchor_sides)], -1)
    return jnp.where(real, deltas * jnp.asarray(weights, jnp.float32), 0)


def decode(
    deltas: Array, anchors: Array, weights: Weights = UNWEIGHTED, *, clamp: Clamp = "above"
) -> Array:
    """Deltas to anchors as boxes; undoes `encode`.

    Args:
      deltas: `[..., 4]`: dx, dy, dw, dh times their weights.
      anchors: `[..., 4]`; leading axes broadcast.
      weights: what deltas are divided by.
      clamp: a side is at most 1000 / 16 times the anchor's (`"above"`, detectron2), and with
        `"both"` at least 16 / 1000 times (mmdetection).

    Returns:
      float32 `[..., 4]`, not clipped to any image.

    Raises:
      UserError: there is no such clamp.
    """
    require(clamp in get_args(Clamp), f"clamp={clamp!r}: {did_you_mean(clamp, get_args(Clamp))}")
    anchors = anchors.astype(jnp.float32)
    deltas = deltas.astype(jnp.float32) / jnp.asarray(weights, jnp.float32)
    sides = _sides(anchors)
    least = -LARGEST_LOG if clamp == "both" else None
    half = jnp.exp(jnp.clip(deltas[..., 2:], least, LARGEST_LOG)) * sides / 2
    centres = _centres(anchors) + deltas[..., :2] * sides
    return jnp.concatenate([centres - half, centres + half], -1)


def clip(boxes: Array, image_size: Array | tuple[int, int]) -> Array:
    """Cuts boxes at the border of an image.

    Args:
      boxes: `[..., 4]`.
      image_size: height and width in pixels, `[2]`.

    Returns:
      float32 `[..., 4]`; empty on the border where a box lay outside.
    """
    height, width = jnp.asarray(image_size, jnp.float32)
    return jnp.clip(boxes.astype(jnp.float32), 0, jnp.stack([width, height, width, height]))


def _sides(boxes: Array) -> Array:
    return jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0)


def _centres(boxes: Array) -> Array:
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def _overlap(a: Array, b: Array) -> tuple[Array, Array]:
    """Areas of intersection and union; leading axes broadcast."""
    a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    first, last = jnp.maximum(a[..., :2], b[..., :2]), jnp.minimum(a[..., 2:], b[..., 2:])
    intersection = jnp.prod(jnp.maximum(last - first, 0), -1)
    return intersection, area(a) + area(b) - intersection


def _share(part: Array, whole: Array) -> Array:
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1), 0)
