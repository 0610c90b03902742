"""Non-maximum suppression: one box after the other on CPU, all pairs of boxes at once elsewhere.

On an accelerator the greedy loop is `most` small kernels in a row. All pairs take boxes^2 bytes per
image (25 MB for 5000 boxes) and a few rounds over them: on a CPU no faster than the loop up to
twice as many boxes as `most`, and slower beyond.
"""

from jax import Array, lax
from jax import numpy as jnp

from common.kernels.choose import choose
from common.ops.boxes import iou

FASTEST = {"cpu": "reference", "default": "fixed_point"}


def nms(
    boxes: Array,
    scores: Array,
    iou_threshold: float,
    most: int,
    *,
    classes: Array | None = None,
    implementation: str = "auto",
) -> tuple[Array, Array]:
    """Keeps the best boxes, without those that overlap a better one that is kept.

    Args:
      boxes: `[boxes, 4]`, x1, y1, x2, y2 in pixels.
      scores: `[boxes]`; -inf marks padding, which is never kept and suppresses nothing.
      iou_threshold: boxes whose IoU is larger suppress each other.
      most: how many are kept at most.
      classes: integers `[boxes]`: boxes of different classes do not suppress each other.
      implementation: `"auto"`, `"reference"` (greedy) or `"fixed_point"` (all pairs).

    Returns:
      Indices of boxes, int32 `[most]`, by descending score, of equals the first one first; and
      which of these are boxes, boolean `[most]`: after the last box kept indices are 0. Neither has
      a gradient.

    Raises:
      UserError: there is no such implementation.
    """
    boxes, scores = (lax.stop_gradient(jnp.asarray(x, jnp.float32)) for x in (boxes, scores))
    classes = jnp.zeros(scores.shape, jnp.int32) if classes is None else jnp.asarray(classes)

    def greedy(boxes: Array, scores: Array, classes: Array) -> tuple[Array, Array]:
        def keep_best(i: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
            left, kept, found = state
            best = jnp.argmax(jnp.where(left, scores, -jnp.inf))
            overlaps = iou(boxes[best][None], boxes)[0] > iou_threshold
            suppressed = overlaps & (classes == classes[best])
            kept, found = kept.at[i].set(best), found.at[i].set(left[best])
            return (left & ~suppressed).at[best].set(False), kept, found

        nothing = jnp.zeros(most, jnp.int32), jnp.zeros(most, bool)
        _, kept, found = lax.fori_loop(0, most, keep_best, (scores > -jnp.inf, *nothing))
        return jnp.where(found, kept, 0), found

    def fixed_point(boxes: Array, scores: Array, classes: Array) -> tuple[Array, Array]:
        """A box is kept if no better box that is kept suppresses it: true of one set only.

        From all boxes on, round n settles those at the end of chains of n suppressions.
        """
        order = jnp.argsort(scores, descending=True)  # stable
        boxes, scores, classes = boxes[order], scores[order], classes[order]
        suppresses = (iou(boxes, boxes) > iou_threshold) & (classes[:, None] == classes)
        suppresses = jnp.triu(suppresses, 1)  # better boxes along rows
        real = scores > -jnp.inf

        def again(state: tuple[Array, Array]) -> Array:
            before, kept = state
            return jnp.any(before != kept)

        def round_(state: tuple[Array, Array]) -> tuple[Array, Array]:
            _, kept = state
            return kept, real & ~jnp.any(kept[:, None] & suppresses, 0)

        _, kept = lax.while_loop(again, round_, round_((real, real)))
        places = jnp.nonzero(kept, size=most, fill_value=0)[0]
        found = jnp.arange(most) < kept.sum()
        return jnp.where(found, order[places], 0), found

    formulations = {"reference": greedy, "fixed_point": fixed_point}
    return choose(implementation, formulations, FASTEST, boxes, scores, classes)
