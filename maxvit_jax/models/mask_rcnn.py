"""Mask R-CNN (He et al. 2017) and Cascade R-CNN (Cai & Vasconcelos 2018) on any backbone."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
from flax import linen as nn
from jax import Array, lax
from jax import numpy as jnp

from common.config import require
from common.kernels.nms import nms
from common.kernels.roi_align import roi_align_levels
from common.ops.anchors import octave_sizes, pyramid_anchors
from common.ops.boxes import Weights, clip, decode, encode, iou
from common.ops.match import IGNORED, POSITIVE, match, sample
from maxvit_jax.detection_loss import binary_cross_entropy, huber, l1, smooth_l1
from maxvit_jax.heads.box_head import BoxHead
from maxvit_jax.heads.class_specific import class_deltas, class_masks
from maxvit_jax.heads.mask_head import MaskHead
from maxvit_jax.heads.mask_targets import mask_targets
from maxvit_jax.heads.rpn import RPNHead
from maxvit_jax.heads.select import MIN_SCORE, Objects, best_pairs, select_objects
from maxvit_jax.models.detection import DetectionModel

_RPN_POSITIVE, _RPN_NEGATIVE, _RPN_SAMPLES, _RPN_POSITIVE_SHARE = 0.7, 0.3, 256, 0.5
_RPN_NMS_IOU = 0.7
_TRAIN_CANDIDATES, _CANDIDATES = 2000, 1000  # per level
_POSITIVE_SHARE = 0.25
_PAIRS = 2000  # of a box and a class, before the last suppression
_BOX_SIZE, _MASK_SIZE = 7, 14  # of pooled features
_BETA = 1 / 9  # of the smooth L1 loss of proposals, where it is not L1
# Weights of deltas per stage: detectron2's; mmdetection writes the third as 1 / 0.033.
_STAGE_WEIGHTS: tuple[Weights, ...] = ((10, 10, 5, 5), (20, 20, 10, 10), (30, 30, 15, 15))


@dataclasses.dataclass(frozen=True)
class _Rules:
    """What the conventions differ in, beside anchors and layers.

    Attributes:
      octaves: sizes of anchors per level.
      low_quality: of proposals, see `match`.
      first_negative: IoU below which a proposal is background in the first stage of a cascade;
        None: its threshold.
      last_masks: masks are learned on the boxes of the last stage, not of the first.
      mean_logits: a cascade's scores are those of the mean of the stages' logits, not the mean of
        their probabilities.
      sampling_ratio, aligned: of RoIAlign.
    """

    octaves: int
    low_quality: float
    first_negative: float | None
    last_masks: bool
    mean_logits: bool
    sampling_ratio: int
    aligned: bool


_RULES = {
    "mm": _Rules(
        octaves=1,
        low_quality=0.3,
        first_negative=None,
        last_masks=False,
        mean_logits=False,
        sampling_ratio=0,
        aligned=True,
    ),
    "mg": _Rules(
        octaves=3,
        low_quality=0.0,
        first_negative=0.5,
        last_masks=True,
        mean_logits=True,
        sampling_ratio=1,
        aligned=False,
    ),
}


class _Boxes(NamedTuple):
    """Boxes of a batch to be looked at.

    Attributes:
      boxes: `[batch, boxes, 4]`.
      real: boolean `[batch, boxes]`; False is padding.
      objects: which ground truth each is about, int32 `[batch, boxes]`.
      labels: its class where the box is positive, else `num_classes`, the background.
    """

    boxes: Array
    real: Array
    objects: Array
    labels: Array


class MaskRCNN(DetectionModel, kw_only=True):
    """Proposals, then a class, a better box and a mask for each.

    Attributes, beside those of `DetectionModel`:
      iou_thresholds: one per stage: from this IoU on a box is an object; several make a cascade,
        whose stages start from the boxes of the one before.
      masks: there are masks.
      channels: of pyramid, proposals and masks.
      box_channels: of the dense layers.
      finest_stride: of the pyramid's finest map, one of the backbone's.
      extra_levels: maps beyond the backbone's coarsest.
      anchor_size: of the smallest anchor of each level, in strides.
      proposals: boxes per image that are looked at, at most.
      samples: how many of them and of the ground truth training looks at, a quarter of these about
        objects if there are so many.
      class_agnostic: one box per proposal, not one per class.
      stage_weights: of the stages' losses.
      scale_gradient: every stage sends 1 / stages of its gradient to the pyramid (detectron2).
      sampling_ratio: of RoIAlign: samples per side of each cell; None: as the convention has it,
        which for `"mm"` is 0, so many that no cell of a map is left out. 2 is faster.
    """

    iou_thresholds: tuple[float, ...] = (0.5,)
    masks: bool = True
    channels: int = 256
    box_channels: int = 1024
    finest_stride: int = 4
    extra_levels: int = 1
    anchor_size: float = 8.0
    proposals: int = 1000
    samples: int = 512
    class_agnostic: bool = False
    stage_weights: tuple[float, ...] = (1.0,)
    scale_gradient: bool = False
    sampling_ratio: int | None = None

    def setup(self):
        """Names parts `backbone`, `neck`, `rpn`, `box_head_<stage>` and `mask_head`."""
        self.backbone = self.make_backbone()
        self.neck = self.make_neck("pool" if self.convention == "mm" else "output")
        anchors = 3 * _RULES[self.convention].octaves
        shared = {"convention": self.convention, "dtype": self.dtype}
        self.rpn = RPNHead(anchors, self.channels, **shared)
        fields = self.num_classes, self.class_agnostic, self.box_channels
        self.box_head = [BoxHead(*fields, **shared) for _ in self.iou_thresholds]
        if self.masks:
            self.mask_head = MaskHead(self.num_classes, self.channels, **shared)

    # ---------------------------------------------------------------- finding

    def __call__(self, images: Array, train: bool = False, sizes: Array | None = None) -> Objects:
        """Finds objects; see `DetectionModel`."""
        maps, sizes = self.pyramid(images, train), self.valid_sizes(images, sizes)
        anchors, logits, deltas = self._anchors_and_outputs(maps, train)
        boxes, real = self._proposals(anchors, logits, deltas, sizes, _CANDIDATES)
        stages = []
        for stage in range(len(self.iou_thresholds)):
            logits, deltas = self._look(stage, maps, boxes, real, train)
            stages.append(logits)
            boxes = self._moved(stage, boxes, logits, deltas, sizes)
            if stage < len(self.iou_thresholds) - 1:
                boxes = boxes[:, :, 0]
        if _RULES[self.convention].mean_logits:
            scores = jax.nn.softmax(sum(stages) / len(stages))
        else:
            scores = sum(map(jax.nn.softmax, stages)) / len(stages)
        scores = jnp.where(real[..., None], scores[..., :-1], 0)
        found = jax.vmap(_select)(boxes, scores)
        if not self.masks:
            return found
        there = found.classes >= 0
        logits = self._mask_logits(maps, found.boxes, there, train)
        return found._replace(masks=jax.nn.sigmoid(class_masks(logits, found.classes)))

    # ---------------------------------------------------------------- learning

    def losses(self, images: Array, targets: Mapping[str, Array], rng: Array) -> dict[str, Array]:
        """Returns what training minimises the sum of; see `DetectionModel`."""
        rpn_rng, box_rng = jax.random.split(rng)
        maps, sizes = self.pyramid(images, train=True), targets["size"]
        anchors, logits, deltas = self._anchors_and_outputs(maps, train=True)
        losses = self._rpn_losses(anchors, logits, deltas, targets, rpn_rng)
        boxes, real = self._proposals(anchors, logits, deltas, sizes, _TRAIN_CANDIDATES)
        looked = self._sampled(boxes, real, targets, box_rng)
        class_loss = box_loss = 0.0
        for stage, weight in enumerate(self.stage_weights):
            if stage:
                looked = self._relabelled(stage, boxes, looked, targets)
            if self.masks and stage == (len(self.stage_weights) - 1 if self._last_masks else 0):
                losses["mask_loss"] = self._mask_loss(maps, looked, targets)
            logits, deltas = self._look(stage, maps, looked.boxes, looked.real, train=True)
            terms = self._stage_losses(stage, looked, logits, deltas, targets)
            class_loss, box_loss = class_loss + weight * terms[0], box_loss + weight * terms[1]
            if stage < len(self.stage_weights) - 1:
                boxes = self._moved(stage, looked.boxes, logits, deltas, sizes)[:, :, 0]
        return losses | {"class_loss": class_loss, "box_loss": box_loss}

    def _rpn_losses(
        self,
        anchors: Sequence[Array],
        logits: Sequence[Array],
        deltas: Sequence[Array],
        targets: Mapping[str, Array],
        rng: Array,
    ) -> dict[str, Array]:
        low_quality = _RULES[self.convention].low_quality
        counts = [level.shape[0] for level in anchors]
        anchors, logits, deltas = (
            jnp.concatenate(anchors),
            *(jnp.concatenate(levels, 1) for levels in (logits, deltas)),
        )

        def matched(boxes: Array, labels: Array, rng: Array) -> tuple[Array, Array, Array]:
            index, kind = match(
                iou(boxes, anchors),
                labels >= 0,
                positive=_RPN_POSITIVE,
                negative=_RPN_NEGATIVE,
                low_quality=low_quality,
            )
            chosen, weights = sample(rng, kind, _RPN_SAMPLES, _RPN_POSITIVE_SHARE)
            counted = jnp.zeros(len(anchors)).at[chosen].max(weights)
            return encode(boxes[index], anchors), kind == POSITIVE, counted

        rngs = jax.random.split(rng, logits.shape[0])
        wanted, positive, counted = jax.vmap(matched)(targets["boxes"], targets["labels"], rngs)
        objectness = (binary_cross_entropy(logits, positive) * counted).sum()
        positive = positive * counted
        if self.convention == "mm":
            count = jnp.maximum(counted.sum(), 1)
            difference = smooth_l1(deltas, wanted, beta=_BETA if self._cascade else 0)
            box_loss = (difference.sum(-1) * positive).sum() / count
        else:  # Model Garden divides by the boxes that its second stage samples
            count = logits.shape[0] * self.samples
            difference = huber(deltas, wanted, delta=_BETA).mean(-1) * positive
            bounds = [sum(counts[:i]) for i in range(1, len(counts))]
            levels = zip(
                *(jnp.split(x, bounds, axis=1) for x in (difference, positive)), strict=True
            )
            box_loss = sum(d.sum() / jnp.maximum(p.sum(), 1) for d, p in levels)
        return {"rpn_class_loss": objectness / count, "rpn_box_loss": box_loss}

    def _sampled(
        self, boxes: Array, real: Array, targets: Mapping[str, Array], rng: Array
    ) -> _Boxes:
        """Proposals and the ground truth itself, so many of them."""
        boxes = jnp.concatenate([boxes, targets["boxes"]], 1)
        real = jnp.concatenate([real, targets["labels"] >= 0], 1)
        threshold = self.iou_thresholds[0]
        negative = _RULES[self.convention].first_negative if self._cascade else None

        def of_image(boxes, real, truth, labels, rng):
            index, kind = match(
                iou(truth, boxes),
                labels >= 0,
                positive=threshold,
                negative=threshold if negative is None else negative,
            )
            kind = jnp.where(real, kind, IGNORED)
            chosen, weights = sample(rng, kind, self.samples, _POSITIVE_SHARE)
            classes = jnp.where(kind == POSITIVE, labels[index], self.num_classes)
            return boxes[chosen], weights > 0, index[chosen], classes[chosen]

        rngs = jax.random.split(rng, boxes.shape[0])
        arguments = boxes, real, targets["boxes"], targets["labels"], rngs
        return _Boxes(*lax.stop_gradient(jax.vmap(of_image)(*arguments)))

    def _relabelled(
        self, stage: int, boxes: Array, looked: _Boxes, targets: Mapping[str, Array]
    ) -> _Boxes:
        """The boxes that a stage has made of what it looked at, by the next one's threshold."""
        threshold = self.iou_thresholds[stage]

        def of_image(boxes, truth, labels):
            index, kind = match(
                iou(truth, boxes), labels >= 0, positive=threshold, negative=threshold
            )
            return index, jnp.where(kind == POSITIVE, labels[index], self.num_classes)

        index, labels = jax.vmap(of_image)(boxes, targets["boxes"], targets["labels"])
        return _Boxes(boxes, looked.real, index, labels)

    def _stage_losses(
        self, stage: int, looked: _Boxes, logits: Array, deltas: Array, targets: Mapping[str, Array]
    ) -> tuple[Array, Array]:
        """Losses of classes and boxes."""
        counted = looked.real.astype(jnp.float32)
        entropy = -jnp.take_along_axis(jax.nn.log_softmax(logits), looked.labels[..., None], -1)
        class_loss = (entropy[..., 0] * counted).sum() / jnp.maximum(counted.sum(), 1)
        truth = jnp.take_along_axis(targets["boxes"], looked.objects[..., None], 1)
        wanted = encode(truth, looked.boxes, _STAGE_WEIGHTS[stage])
        positive = counted * (looked.labels < self.num_classes)
        found = deltas[:, :, 0] if self.class_agnostic else class_deltas(deltas, looked.labels)
        if self.convention == "mm":
            difference = smooth_l1(found, wanted, beta=1.0) if self._cascade else l1(found, wanted)
            count = jnp.maximum(counted.sum(), 1)
            return class_loss, (difference.sum(-1) * positive).sum() / count
        difference = huber(found, wanted, delta=1.0).mean(-1)
        return class_loss, (difference * positive).sum() / jnp.maximum(positive.sum(), 1)

    def _mask_loss(
        self, maps: Sequence[Array], looked: _Boxes, targets: Mapping[str, Array]
    ) -> Array:
        """Cross entropy of the right class's mask, over the positive boxes."""
        most = int(self.samples * _POSITIVE_SHARE)
        if self._last_masks:  # more of them may be positive than were drawn
            order = jnp.argsort(looked.labels == self.num_classes, axis=1, stable=True)[:, :most]
        else:  # positive ones come first
            order = jnp.broadcast_to(jnp.arange(most), (looked.labels.shape[0], most))
        boxes, real, objects, labels = (
            jnp.take_along_axis(x, order.reshape(*order.shape, *(1,) * (x.ndim - 2)), 1)
            for x in looked
        )
        positive = real & (labels < self.num_classes)
        logits = class_masks(self._mask_logits(maps, boxes, positive, train=True), labels)
        wanted = jax.vmap(mask_targets, (0, 0, 0, 0, None))(
            targets["masks"], targets["boxes"], objects, boxes, 2 * _MASK_SIZE
        )
        entropy = binary_cross_entropy(logits, wanted).mean((-1, -2))
        return (entropy * positive).sum() / jnp.maximum(positive.sum(), 1)

    # ---------------------------------------------------------------- parts

    def _anchors_and_outputs(
        self, maps: Sequence[Array], train: bool
    ) -> tuple[Sequence[Array], list[Array], list[Array]]:
        octaves = _RULES[self.convention].octaves
        sizes = octave_sizes(self.strides, self.anchor_size, octaves)
        shapes = [x.shape[1:3] for x in maps]
        anchors = pyramid_anchors(shapes, self.strides, sizes, **self.rules.anchors)
        return anchors, *self.rpn(maps, train)

    def _proposals(
        self,
        anchors: Sequence[Array],
        logits: Sequence[Array],
        deltas: Sequence[Array],
        sizes: Array,
        candidates: int,
    ) -> tuple[Array, Array]:
        """Boxes `[batch, proposals, 4]` that may be objects, and which of them are no padding."""

        def of_image(size, logits, deltas):
            boxes, scores = [], []
            for level_anchors, level_logits, level_deltas in zip(
                anchors, logits, deltas, strict=True
            ):
                best, rows = lax.top_k(level_logits, min(candidates, level_logits.size))
                moved = decode(level_deltas[rows], level_anchors[rows], clamp=self.rules.clamp)
                boxes.append(clip(moved, size))
                scores.append(best)
            levels = jnp.repeat(
                jnp.arange(len(boxes)),
                jnp.array([len(level) for level in boxes]),
                total_repeat_length=sum(len(level) for level in boxes),
            )
            boxes, scores = jnp.concatenate(boxes), jnp.concatenate(scores)
            empty = (boxes[:, 2:] <= boxes[:, :2]).any(-1)
            scores = jnp.where(empty, -jnp.inf, scores)
            most = min(self.proposals, len(boxes))
            kept, real = nms(boxes, scores, _RPN_NMS_IOU, most, classes=levels)
            return jnp.where(real[:, None], boxes[kept], 0), real

        return jax.vmap(of_image)(sizes, *lax.stop_gradient((logits, deltas)))

    def _look(
        self, stage: int, maps: Sequence[Array], boxes: Array, real: Array, train: bool
    ) -> tuple[Array, Array]:
        """Logits `[batch, boxes, classes + 1]` and deltas `[batch, boxes, classes or 1, 4]`."""
        x = self._pooled(maps, boxes, _BOX_SIZE)
        if self.scale_gradient:
            still = lax.stop_gradient(x)
            x = still + (x - still) / len(self.iou_thresholds)
        flat = x.reshape(-1, *x.shape[2:])
        logits, deltas = self.box_head[stage](flat, real.ravel(), train)
        return tuple(y.reshape(*real.shape, *y.shape[1:]) for y in (logits, deltas))

    def _moved(self, stage: int, boxes: Array, logits: Array, deltas: Array, sizes: Array) -> Array:
        """Better boxes within the image, `[batch, boxes, classes or 1, 4]`, without gradients."""
        moved = decode(deltas, boxes[:, :, None], _STAGE_WEIGHTS[stage], clamp=self.rules.clamp)
        return lax.stop_gradient(jax.vmap(clip)(moved, sizes))

    def _mask_logits(self, maps: Sequence[Array], boxes: Array, real: Array, train: bool) -> Array:
        """`[batch, boxes, 28, 28, classes]`."""
        x = self._pooled(maps, boxes, _MASK_SIZE)
        logits = self.mask_head(x.reshape(-1, *x.shape[2:]), real.ravel(), train)
        return logits.reshape(*real.shape, *logits.shape[1:])

    def _pooled(self, maps: Sequence[Array], boxes: Array, size: int) -> Array:
        """Features of boxes `[batch, boxes, size, size, channels]`, each from its level."""
        rules = _RULES[self.convention]
        # "mm" proposes on a level more than it pools from.
        levels = len(maps) - (self.extra_levels if self.convention == "mm" else 0)
        ratio = rules.sampling_ratio if self.sampling_ratio is None else self.sampling_ratio

        def of_image(maps, boxes):
            return roi_align_levels(
                maps,
                boxes,
                self.strides[:levels],
                size,
                rule="mmdetection" if self.convention == "mm" else "detectron2",
                sampling_ratio=ratio,
                aligned=rules.aligned,
            )

        return jax.vmap(of_image)(maps[:levels], boxes)

    @property
    def _cascade(self) -> bool:
        return len(self.iou_thresholds) > 1

    @property
    def _last_masks(self) -> bool:
        return self._cascade and _RULES[self.convention].last_masks

    @nn.nowrap
    def check(self) -> None:
        """Raises UserError for fields that make no model; looks at nothing but fields."""
        super().check()
        thresholds, weights = self.iou_thresholds, self.stage_weights
        most = len(_STAGE_WEIGHTS)
        inside = 0 < len(thresholds) <= most and all(0 < t < 1 for t in thresholds)
        require(inside, f"iou_thresholds={thresholds}: one to {most} numbers between 0 and 1")
        require(
            len(weights) == len(thresholds),
            f"stage_weights={weights}: one for each of iou_thresholds={thresholds}",
        )
        require(
            self.class_agnostic or not self._cascade,
            "a cascade has one box for all classes: class_agnostic=True",
        )
        for name, least in {"box_channels": 1, "proposals": 1, "samples": 4}.items():
            value = getattr(self, name)
            require(value >= least, f"{name}={value}: nearest valid: {least}")


def _select(boxes: Array, scores: Array) -> Objects:
    """The objects of an image: `[boxes, classes or 1, 4]`, `[boxes, classes]`."""
    best, rows, classes = best_pairs(jnp.where(scores > MIN_SCORE, scores, 0), _PAIRS)
    which = classes if boxes.shape[1] > 1 else 0
    return select_objects(boxes[rows, which], best, classes)
