"""What windows attend to: weights of a model's own forward pass, per head and rolled out.

found = attentions(model, variables, images, "stage_3")
found[0].name, found[0].shares((112, 112))  # "stage_3_block_0/window", [batch, heads, 14, 14]
rollout(found)  # [batch, 14, 14]
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax import Array
from jax import numpy as jnp
from jax.typing import ArrayLike

from common.errors import UserError
from common.layers.attention import mix_groups
from maxvit_jax.explain import pixel_within
from maxvit_jax.models.backbone import AttentionLayout, Backbone


class Attention(NamedTuple):
    """The attention of one block, as it was computed.

    Attributes:
      name: `stage_3_block_0/window`.
      weights: float32 `[batch, groups, heads, queries, keys]`; those of a query add up to one.
      kind: of partition, `"block"` or `"grid"`.
      window: positions of a group along height and width.
      map_size: height and width of the map.
      image_size: height and width of the images.
    """

    name: str
    weights: Array
    kind: str
    window: tuple[int, int]
    map_size: tuple[int, int]
    image_size: tuple[int, int]

    def shares(self, pixel: tuple[int, int] | None = None) -> Array:
        """Returns how a query shares its attention out, float32 `[batch, heads, height, width]`.

        Shares of a head add up to one.

        Args:
          pixel: row and column in the images of the query; None: the mean over all queries.

        Raises:
          UserError: the images have no such pixel.
        """
        return jnp.moveaxis(self.passed_on(self.of_queries(pixel)), -1, 1)

    def of_queries(self, pixel: tuple[int, int] | None) -> Array:
        """Returns what each query counts, `[batch, height, width, 1]`: one alone, or all alike."""
        height, width = self.map_size
        shape = (self.weights.shape[0], height, width, 1)
        if pixel is None:
            return jnp.full(shape, 1 / (height * width))
        row, column = pixel_within(pixel, self.image_size)
        row, column = row * height // self.image_size[0], column * width // self.image_size[1]
        return jnp.zeros(shape).at[:, row, column].set(1)

    def passed_on(self, queries: Array) -> Array:
        """Hands what each query counts on to what it attends to.

        Args:
          queries: `[batch, height, width, 1]`.

        Returns:
          Of keys, `[batch, height, width, heads]`.
        """

        def mix(x: Array, real: Array | None) -> Array:
            del real  # padding counts nothing as a query, and is no key
            return jnp.einsum("bghqk,bgqc->bgkh", self.weights, x)

        return mix_groups(mix, queries, self.kind, self.window, pad_inputs=True)


def layouts_of(model: Backbone, stage: str) -> list[AttentionLayout]:
    """Returns the layouts of a stage's attention, see `Backbone.attention_layouts`.

    Raises:
      UserError: no such stage, or one without such attention; the message names those that have it.
    """
    layouts = model.attention_layouts(stage)
    if not layouts:
        stages = [f"stage_{s}" for s in range(1, len(model.depths) + 1)]
        others = ", ".join(name for name in stages if model.attention_layouts(name))
        hint = f"try {others}" if others else "nor has any other stage"
        raise UserError(f"{stage} has no attention within windows or over the whole map; {hint}")
    return layouts


def attentions(
    model: Backbone, variables: Mapping[str, Any], images: ArrayLike, stage: str | None = None
) -> list[Attention]:
    """Runs a model up to the end of a stage, and returns the attention of its blocks in turn.

    Args:
      model: any backbone whose stage has window or global attention.
      variables: of the model.
      images: `[batch, height, width, channels]`, normalised.
      stage: such as `"stage_3"`; the last one unless given.

    Raises:
      UserError: no such stage, one without such attention, or images that don't fit.
    """
    stage = stage or list(model.feature_strides)[-1]
    layouts = layouts_of(model, stage)
    paths = tuple(layout.path for layout in layouts)
    weights, last = _weights(model.clone(remat=False), stage, paths, variables, images)
    map_size, image_size = last.shape[1:3], jnp.shape(images)[1:3]
    return [
        Attention(
            layout.path.removesuffix("/attention"),
            found,
            layout.kind,
            layout.window or map_size,
            map_size,
            image_size,
        )
        for layout, found in zip(layouts, weights, strict=True)
    ]


def rollout(found: Sequence[Attention], pixel: tuple[int, int] | None = None) -> Array:
    """Attention rollout over blocks (Abnar and Zuidema, https://arxiv.org/abs/2005.00928).

    Heads are averaged, and every attention passes half on and keeps half, for its residual branch.
    Convolutions and MLPs between them are left out, as in the paper.

    Args:
      found: of a stage, in the order of computation; see `attentions`.
      pixel: row and column in the images of a position of the stage's map; None: the mean over all,
        which is what a classifier's head pools.

    Returns:
      float32 `[batch, height, width]`: where in the map that enters the stage's first attention it
      comes from; adds up to one.

    Raises:
      UserError: the images have no such pixel.
    """
    counts = found[-1].of_queries(pixel)
    for attention in reversed(found):
        counts = (counts + attention.passed_on(counts).mean(-1, keepdims=True)) / 2
    return counts[..., 0]


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _weights(
    model: Backbone,
    stage: str,
    paths: tuple[str, ...],
    variables: Mapping[str, Any],
    images: Array,
) -> tuple[list[Array], Array]:
    """What the stage's attention weighted by, and the stage's map."""
    maps, state = model.apply(
        variables, images, method="features", until=stage, mutable=["intermediates"]
    )

    def at(path: str) -> Array:
        tree = state["intermediates"]
        for name in path.split("/"):
            tree = tree[name]
        return tree["weights"][0]

    return [at(path) for path in paths], maps[stage]
