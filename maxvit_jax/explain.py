"""What a classifier looks at: Grad-CAM and receptive fields, by gradients.

model, variables = maxvit_jax.load_pretrained("caformer_s18", "caformer_s18.pth")
heat = grad_cam(model, variables, images)  # [batch, height / 32, width / 32]

Images are normalised, as the model wants them. Both are compiled once per model, stage and size.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import ArrayLike

from common.config import require
from maxvit_jax.models.backbone import Backbone


def grad_cam(
    model: Backbone,
    variables: Mapping[str, Any],
    images: ArrayLike,
    classes: ArrayLike | None = None,
    stage: str | None = None,
) -> Array:
    """Where a stage's map speaks for a class (Grad-CAM, https://arxiv.org/abs/1610.02391).

    Channels are weighted by the mean gradient of the class's logit, summed up, and what speaks
    against the class is cut off (equations 1 and 2).

    Args:
      model: with a classifier.
      variables: of the model.
      images: `[batch, height, width, channels]`, normalised.
      classes: int `[batch]`, by default the predicted ones.
      stage: whose map, such as `"stage_3"`; the last one's unless given.

    Returns:
      float32 `[batch, height, width]` of the stage's map, 0 or more; neither resized nor scaled.

    Raises:
      UserError: no classifier, no such class or stage, or images that don't fit.
    """
    require(model.num_classes > 0, "the model has no classifier to explain: num_classes=0")
    if classes is not None:
        if not isinstance(classes, jax.core.Tracer):  # in a program of the user's they are unknown
            classes = np.asarray(classes)
            known = bool(((classes >= 0) & (classes < model.num_classes)).all())
            require(known, f"classes={classes}: there are 0 to {model.num_classes - 1}")
        one_each = f"classes of shape {list(classes.shape)}: one for each of {len(images)} images"
        require(classes.shape == (len(images),), one_each)
    stage = stage or list(model.feature_strides)[-1]
    block = model.block_names(stage)[-1]
    return _grad_cam(model.clone(remat=False), block, variables, images, classes)


def receptive_field(
    model: Backbone,
    variables: Mapping[str, Any],
    images: ArrayLike,
    pixel: tuple[int, int] | None = None,
    stage: str | None = None,
) -> Array:
    """Which pixels a position of a stage's map sees (Luo et al., https://arxiv.org/abs/1701.04128).

    That is the effective receptive field: how much the position's channels, summed up, change with
    every pixel.

    Args:
      model: any backbone.
      variables: of the model.
      images: `[batch, height, width, channels]`, normalised.
      pixel: row and column in the images of what the position is nearest to, by default the centre.
      stage: whose map, such as `"stage_3"`; the last one's unless given.

    Returns:
      float32 `[batch, height, width]`: the gradient's absolute value, summed over image channels.

    Raises:
      UserError: no such stage or pixel, or images that don't fit.
    """
    stage = stage or list(model.feature_strides)[-1]
    model.block_names(stage)
    pixel = pixel_within(pixel, jnp.shape(images)[1:3])
    return _receptive_field(model.clone(remat=False), stage, variables, images, pixel)


def pixel_within(pixel: tuple[int, int] | None, size: tuple[int, int]) -> tuple[int, int]:
    """Returns row and column of a pixel; raises UserError unless images of a size have it.

    Args:
      pixel: None is the centre.
      size: height and width of the images.
    """
    if pixel is None:
        return size[0] // 2, size[1] // 2
    inside = all(0 <= place < side for place, side in zip(pixel, size, strict=True))
    require(inside, f"pixel={pixel}: rows are 0 to {size[0] - 1}, columns 0 to {size[1] - 1}")
    return pixel


@functools.partial(jax.jit, static_argnums=(0, 1))
def _grad_cam(
    model: Backbone,
    block: str,
    variables: Mapping[str, Any],
    images: Array,
    classes: Array | None,
) -> Array:
    def logits_of(change: Array | float) -> tuple[Array, Array]:
        """Logits when a block's output changes, and that output."""
        outputs = []

        def changed(method: Any, args: Any, kwargs: Any, context: Any) -> Any:
            result = method(*args, **kwargs)
            if context.module.path == (block,) and context.method_name == "__call__":
                result += change
                outputs.append(result)
            return result

        with nn.intercept_methods(changed):
            logits = model.apply(variables, images, train=False)
        return logits, outputs[0]

    def of_classes(change: Array) -> tuple[Array, Array]:
        logits, output = logits_of(change)
        chosen = logits.argmax(-1) if classes is None else classes
        return jnp.take_along_axis(logits, chosen[:, None], axis=1).sum(), output

    shape = jax.eval_shape(logits_of, 0.0)[1]
    gradient, output = jax.grad(of_classes, has_aux=True)(jnp.zeros(shape.shape, shape.dtype))
    weights = gradient.mean((1, 2), keepdims=True, dtype=jnp.float32)
    return nn.relu((weights * output.astype(jnp.float32)).sum(-1))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _receptive_field(
    model: Backbone,
    stage: str,
    variables: Mapping[str, Any],
    images: Array,
    pixel: tuple[int, int],
) -> Array:
    def response(images: Array) -> Array:
        found = model.apply(variables, images, method="features", until=stage)[stage]
        row, column = (
            place * side // whole
            for place, side, whole in zip(pixel, found.shape[1:3], images.shape[1:3], strict=True)
        )
        return found[:, row, column].astype(jnp.float32).sum()

    return jnp.abs(jax.grad(response)(jnp.asarray(images, jnp.float32))).sum(-1)
