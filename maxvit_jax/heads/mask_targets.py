"""What the masks of boxes should be."""

import jax
from jax import Array
from jax import numpy as jnp

from common.kernels.roi_align import roi_align


def mask_targets(masks: Array, truth: Array, objects: Array, boxes: Array, size: int) -> Array:
    """What the masks of boxes should be, 0 or 1, `[boxes, size, size]`.

    Args:
      masks: uint8 `[objects, rows, columns]`, 255 inside, of ground truth within its boxes.
      truth: the boxes, `[objects, 4]`.
      objects: which of them each box is about, `[boxes]`.
      boxes: `[boxes, 4]`.
      size: side of the result.
    """
    rows, columns = masks.shape[1:]

    def of_box(index, box):
        mask, around = masks[index].astype(jnp.float32), truth[index]
        side = jnp.maximum(around[2:] - around[:2], 1e-6)  # padding has none
        scale = jnp.array([columns, rows]) / side
        within = (box - jnp.tile(around[:2], 2)) * jnp.tile(scale, 2)
        return roi_align(mask[..., None], within[None], 1, size, chunk=1)[0, ..., 0]

    return (jax.vmap(of_box)(objects, boxes) >= 127.5).astype(jnp.float32)
