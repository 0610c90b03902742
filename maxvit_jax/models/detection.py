"""What detectors share: backbone, pyramid, and the conventions of published ones."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

from flax import linen as nn
from jax import Array
from jax import numpy as jnp

from common.config import require
from common.errors import did_you_mean
from common.ops.boxes import Clamp
from maxvit_jax.heads.fpn import FPN
from maxvit_jax.heads.select import Objects
from maxvit_jax.models.dense import DenseModel, stage_strides

Convention = Literal["mm", "mg"]


@dataclasses.dataclass(frozen=True)
class BoxRules:
    """How boxes and numbers are turned into each other.

    Attributes:
      anchors: arguments of `common.ops.anchors.pyramid_anchors`.
      clamp: of `common.ops.boxes.decode`.
    """

    anchors: Mapping[str, Any]
    clamp: Clamp


_BOX_RULES = {
    "mm": BoxRules({"offset": 0.0, "ratio_of": "height_width", "outer": "ratios"}, "both"),
    "mg": BoxRules({"offset": 0.5, "ratio_of": "width_height", "outer": "sizes"}, "above"),
}


class DetectionModel(DenseModel, abc.ABC, kw_only=True):
    """A backbone, a pyramid, and what finds objects in it.

    A detector has the fields `channels`, `finest_stride` and `extra_levels`, writes `setup`, which
    makes `backbone` and `neck`, and overrides `__call__` and `losses`.

    Attributes, beside those of `DenseModel`:
      num_classes: of objects; the background isn't one.
      convention: of `"mm"` (mmdetection) or `"mg"` (TensorFlow Model Garden): layers, anchors,
        matching and losses are as there, so that weights mean the same.
    """

    num_classes: int = 80
    convention: Convention = "mm"

    @abc.abstractmethod
    def __call__(self, images: Array, train: bool = False, sizes: Array | None = None) -> Objects:
        """Finds objects.

        Args:
          images: `[batch, height, width, in_channels]`, normalised, padded by zeros.
          train: batch statistics and stochastic depth; objects are found as in evaluation.
          sizes: integers `[batch, 2]`: height and width of what is image, at the top left; boxes
            end there. None: all of it.

        Returns:
          The 100 best objects of every image, in pixels of `images`.

        Raises:
          UserError: images that don't fit the backbone.
        """

    @abc.abstractmethod
    def losses(self, images: Array, targets: Mapping[str, Array], rng: Array) -> dict[str, Array]:
        """Returns what training minimises the sum of.

        Args:
          images: as for `__call__`.
          targets: `boxes` float32 `[batch, objects, 4]`, `labels` integers `[batch, objects]`, -1
            for padding; `size` as `sizes` of `__call__`; and `masks`, uint8 `[batch, objects,
            rows, columns]`, 255 inside, of objects within their boxes, where the model has masks.
          rng: what decides which boxes are learned from.

        Returns:
          Scalars by name, finite also without objects.
        """

    def pyramid(self, images: Array, train: bool) -> list[Array]:
        """Returns maps `[batch, height, width, channels]`, finest first."""
        used = self.used_strides
        maps = self.stage_maps(images, train)
        return list(self.neck({name: maps[name] for name in used}, train).values())

    @nn.nowrap
    def make_neck(self, extra_kind: str) -> FPN:
        """Returns the pyramid network."""
        return FPN(
            self.channels,
            self.convention,
            extra=self.extra_levels,
            extra_kind=extra_kind,
            dtype=self.dtype,
        )

    @nn.nowrap
    def valid_sizes(self, images: Array, sizes: Array | None) -> Array:
        """Returns height and width of what is image, `[batch, 2]`."""
        if sizes is not None:
            return sizes
        return jnp.broadcast_to(jnp.array(images.shape[1:3]), (images.shape[0], 2))

    @property
    def rules(self) -> BoxRules:
        """Of the convention."""
        return _BOX_RULES[self.convention]

    @property
    def strides(self) -> list[int]:
        """Pixels per cell of every map of the pyramid."""
        strides = list(self.used_strides.values())
        return strides + [strides[-1] * 2**i for i in range(1, self.extra_levels + 1)]

    @property
    def used_strides(self) -> dict[str, int]:
        """Strides of the backbone's maps that the pyramid starts from, by name."""
        backbone = self.make_backbone() if self.scope is None else self.backbone
        found = stage_strides(backbone)
        return {name: stride for name, stride in found.items() if stride >= self.finest_stride}

    @nn.nowrap
    def check(self) -> None:
        """Raises UserError for fields that make no model; looks at nothing but fields."""
        known = get_args(Convention)
        hint = did_you_mean(self.convention, known)
        require(self.convention in known, f"convention={self.convention!r}: {hint}")
        for name in ("num_classes", "channels"):
            value = getattr(self, name)
            require(value > 0, f"{name}={value}: nearest valid: 1")
        require(self.extra_levels >= 0, f"extra_levels={self.extra_levels}: nearest valid: 0")
        strides = stage_strides(self.make_backbone()).values()
        require(
            self.finest_stride in strides,
            f"finest_stride={self.finest_stride}: {self.backbone_name} has maps at strides"
            f" {', '.join(map(str, strides))}",
        )
