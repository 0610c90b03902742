"""RetinaNet (Lin et al. 2017, "Focal Loss for Dense Object Detection") on any backbone."""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
from flax import linen as nn
from jax import Array
from jax import numpy as jnp

from common.config import require
from common.ops.anchors import octave_sizes, pyramid_anchors
from common.ops.boxes import clip, decode, encode, iou
from common.ops.match import NEGATIVE, POSITIVE, match
from maxvit_jax.detection_loss import focal, huber, l1
from maxvit_jax.heads.retinanet import RetinaNetHead
from maxvit_jax.heads.select import Objects, best_pairs, select_objects
from maxvit_jax.models.detection import DetectionModel

_CANDIDATES = 1000  # per level
_OCTAVES, _RATIOS = 3, 3


@dataclasses.dataclass(frozen=True)
class _Rules:
    """What the conventions differ in, beside anchors and layers."""

    negative: float  # IoU below which an anchor is background
    low_quality: float | None  # see `match`
    gamma: float  # of the focal loss
    box_weight: float


_RULES = {
    "mm": _Rules(negative=0.4, low_quality=0.0, gamma=2.0, box_weight=1.0),
    "mg": _Rules(negative=0.5, low_quality=0.0, gamma=1.5, box_weight=50.0),
}
_POSITIVE_IOU = 0.5
_HUBER_DELTA = 0.1  # of "mg"; "mm" has an L1 loss


class RetinaNet(DetectionModel, kw_only=True):
    """Classes and boxes of dense anchors in one step.

    Attributes, beside those of `DetectionModel`:
      channels: of pyramid and towers.
      depth: convolutions of each tower.
      finest_stride: of the pyramid's finest map, one of the backbone's.
      extra_levels: maps beyond the backbone's coarsest.
      anchor_size: of the smallest of three sizes per level, in strides.
    """

    channels: int = 256
    depth: int = 4
    finest_stride: int = 8
    extra_levels: int = 2
    anchor_size: float = 4.0

    def setup(self):
        """Names parts `backbone`, `neck` and `head`."""
        self.backbone = self.make_backbone()
        self.neck = self.make_neck("input" if self.convention == "mm" else "output")
        self.head = RetinaNetHead(
            self.num_classes,
            _OCTAVES * _RATIOS,
            self.channels,
            self.depth,
            self.convention,
            dtype=self.dtype,
        )

    def outputs(self, images: Array, train: bool) -> tuple[list[Array], list[Array], list[Array]]:
        """Returns per level anchors `[anchors, 4]`, and logits and deltas for each of them: see
        `RetinaNetHead`."""
        maps = self.pyramid(images, train)
        logits, deltas = self.head(maps, train)
        return self._anchors([x.shape[1:3] for x in maps]), logits, deltas

    def __call__(self, images: Array, train: bool = False, sizes: Array | None = None) -> Objects:
        """Finds objects; see `DetectionModel`."""
        anchors, logits, deltas = self.outputs(images, train)

        def found(size: Array, logits: Sequence[Array], deltas: Sequence[Array]) -> Objects:
            boxes, scores, classes = [], [], []
            for level in zip(anchors, logits, deltas, strict=True):
                level_anchors, level_logits, level_deltas = level
                best, rows, kinds = best_pairs(level_logits, _CANDIDATES)
                moved = decode(level_deltas[rows], level_anchors[rows], clamp=self.rules.clamp)
                boxes.append(clip(moved, size))
                scores.append(jax.nn.sigmoid(best))
                classes.append(kinds)
            return select_objects(*map(jnp.concatenate, (boxes, scores, classes)))

        return jax.vmap(found)(self.valid_sizes(images, sizes), logits, deltas)

    def losses(self, images: Array, targets: Mapping[str, Array], rng: Array) -> dict[str, Array]:
        """Returns what training minimises the sum of; see `DetectionModel`."""
        del rng  # nothing is drawn
        rules, (anchors, logits, deltas) = _RULES[self.convention], self.outputs(images, train=True)
        anchors, logits, deltas = (
            jnp.concatenate(anchors),
            *(jnp.concatenate(levels, 1) for levels in (logits, deltas)),
        )
        labels, boxes = targets["labels"], targets["boxes"]

        def matched(boxes: Array, labels: Array) -> tuple[Array, Array, Array]:
            index, kind = match(
                iou(boxes, anchors),
                labels >= 0,
                positive=_POSITIVE_IOU,
                negative=rules.negative,
                low_quality=rules.low_quality,
            )
            return labels[index], encode(boxes[index], anchors), kind

        classes, wanted, kind = jax.vmap(matched)(boxes, labels)
        positive, counted = kind == POSITIVE, (kind == POSITIVE) | (kind == NEGATIVE)
        right = jax.nn.one_hot(jnp.where(positive, classes, -1), self.num_classes)
        class_losses = focal(logits, right, gamma=rules.gamma) * counted[..., None]
        if self.convention == "mm":
            box_losses = l1(deltas, wanted).sum(-1)
            count = jnp.maximum(positive.sum(), 1)
        else:  # TensorFlow's Huber loss is a mean over coordinates
            box_losses = huber(deltas, wanted, delta=_HUBER_DELTA).mean(-1)
            count = positive.sum() + 1
        return {
            "class_loss": class_losses.sum() / count,
            "box_loss": rules.box_weight * (box_losses * positive).sum() / count,
        }

    @nn.nowrap
    def _anchors(self, map_sizes: Sequence[tuple[int, int]]) -> list[Array]:
        strides = self.strides
        sizes = octave_sizes(strides, self.anchor_size, _OCTAVES)
        return list(pyramid_anchors(map_sizes, strides, sizes, **self.rules.anchors))

    @nn.nowrap
    def check(self) -> None:
        """Raises UserError for fields that make no model; looks at nothing but fields."""
        super().check()
        require(self.depth > 0, f"depth={self.depth}: nearest valid: 1")
