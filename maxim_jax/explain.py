"""What MAXIM's stages do to an image: their results and the supervised attention between them."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from jax import Array
from jax.typing import ArrayLike

from maxim_jax.models.maxim import MAXIM


class StageResults(NamedTuple):
    """What the stages gave at full resolution, the first one first.

    Attributes:
      restored: float32 `[batch, height, width, num_outputs]` of every stage, not clipped.
      attention: of every stage but the last, `[batch, height, width, features]` in 0..1: what its
        features were weighted by on their way to the next (supervised attention, figure 2).
    """

    restored: list[Array]
    attention: list[Array]


@functools.partial(jax.jit, static_argnums=0)
def stage_results(model: MAXIM, variables: Mapping[str, Any], images: ArrayLike) -> StageResults:
    """Restores images, and returns what happens on the way; compiled once per model and size.

    Args:
      model: any MAXIM.
      variables: of the model.
      images: float32 `[batch, height, width, channels]`, values 0..1.

    Raises:
      UserError: images that don't fit, see `MAXIM`.
    """
    outputs, state = model.apply(variables, images, train=False, mutable=["intermediates"])
    stages = state.get("intermediates", {})  # a single stage has none
    attention = [
        stages[f"stage_{stage}"]["supervised_attention_0"]["weights"][0]
        for stage in range(1, model.num_stages)
    ]
    return StageResults([scales[0] for scales in outputs], attention)
