"""Which ground truth a box is to become, which boxes a step learns from, which level sees a box."""

from typing import Literal

import jax
from jax import Array, lax
from jax import numpy as jnp

from common.config import require
from common.errors import did_you_mean
from common.ops.boxes import area

POSITIVE, NEGATIVE, IGNORED = 1, 0, -1

# IoUs this close are equal: fused anew, the same expression may differ in its last bit.
_TIE = 1e-6

LevelRule = Literal["detectron2", "mmdetection"]
# At least `level` for a side of `pixels` or more, but for `epsilon` of it.
_LEVEL_RULES = {"detectron2": (4, 224, 1e-8), "mmdetection": (2, 56, 1e-6)}


def match(
    iou: Array,
    real: Array,
    *,
    positive: float,
    negative: float,
    low_quality: float | None = None,
) -> tuple[Array, Array]:
    """Gives every box the ground truth that it overlaps most.

    Args:
      iou: `[objects, boxes]`, from ground truth to anchors or proposals.
      real: boolean `[objects]`; False marks padding, which nothing matches.
      positive: boxes of this IoU or more are positive.
      negative: boxes below this IoU are negative; between both they are ignored.
      low_quality: None, or the IoU from which the boxes that overlap a ground truth most are
        positive too (0 in detectron2, 0.3 in mmdetection's proposals). They keep the ground truth
        that they overlap most themselves. One that nothing overlaps has no such boxes.

    Returns:
      The number of a ground truth, int32 `[boxes]`, of equals the first; 0 if there is none.
      Labels, int32 `[boxes]`: POSITIVE, NEGATIVE or IGNORED.
    """
    iou = jnp.where(real[:, None], iou.astype(jnp.float32), -1)
    most = iou.max(0)
    labels = jnp.where(most < negative, NEGATIVE, IGNORED)
    labels = jnp.where(most >= positive, POSITIVE, labels)
    if low_quality is not None:
        best = iou.max(1, keepdims=True)
        counts = (best > 0) & (best >= low_quality)
        labels = jnp.where(jnp.any(counts & (iou >= best * (1 - _TIE)), 0), POSITIVE, labels)
    return iou.argmax(0).astype(jnp.int32), labels.astype(jnp.int32)


def sample(key: Array, labels: Array, count: int, positive_share: float) -> tuple[Array, Array]:
    """Draws the boxes that a step learns from.

    Args:
      key: of `jax.random`.
      labels: integers `[boxes]`, of `match`.
      count: how many.
      positive_share: at most this share of `count` is positive; negatives fill the rest.

    Returns:
      Indices of boxes, int32 `[count]`, positives first. Weights, float32 `[count]`: 0 where there
      was nothing left to draw, and the index means nothing.
    """
    boxes = labels.shape[0]
    labels = jnp.pad(labels, (0, max(0, count - boxes)), constant_values=IGNORED)
    lot = jax.random.uniform(key, labels.shape)
    _, first = lax.top_k(jnp.where(labels == POSITIVE, lot, -1), int(count * positive_share))
    drawn = jnp.zeros(labels.shape, bool).at[first].set(True) & (labels == POSITIVE)
    _, index = lax.top_k(
        jnp.where(drawn, 2 + lot, jnp.where(labels == NEGATIVE, 1 + lot, 0)), count
    )
    weights = (drawn | (labels == NEGATIVE))[index].astype(jnp.float32)
    return jnp.minimum(index, boxes - 1), weights


def level_of(
    boxes: Array, *, least: int = 2, most: int = 5, rule: LevelRule = "detectron2"
) -> Array:
    """The level of a pyramid that a box is pooled from, by its area (Lin et al. 2017, equation 1).

    Args:
      boxes: `[..., 4]`.
      least: level of the finest map; level l has stride 2^l.
      most: level of the coarsest map.
      rule: how close below a power of two a side counts as it: `"detectron2"` (by 1e-8 of 224
        pixels; Model Garden has the same formula) or `"mmdetection"` (by 1e-6 of 56 pixels).

    Returns:
      int32 `[...]` in [least, most]: 4 for sides from 224 to 448 pixels.

    Raises:
      UserError: there is no such rule.
    """
    require(rule in _LEVEL_RULES, f"level rule {rule!r}: {did_you_mean(rule, _LEVEL_RULES)}")
    level, pixels, epsilon = _LEVEL_RULES[rule]
    # Compared, not computed: the last bit of a logarithm is the platform's.
    powers = jnp.arange(least + 1, most + 1) - level
    bounds = (pixels * (jnp.exp2(powers) - epsilon)) ** 2
    return least + (area(boxes)[..., None] >= bounds).sum(-1)
