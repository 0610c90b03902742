"""Segmentation metrics from one confusion matrix over a whole evaluation set."""

from collections.abc import Mapping

import jax
import numpy as np
from jax import numpy as jnp

from common.data.class_lists import IGNORED
from common.errors import UserError
from common.metrics.evaluator import Evaluator


class SegmentationEvaluator(Evaluator):
    """Accumulates a confusion matrix; counted on the devices, so that no map of logits leaves them.

    Args:
      num_classes: labels are in [0, num_classes), or 255 where they don't count.
    """

    metrics = ("miou", "pixel_accuracy", "mean_accuracy", "examples")

    def __init__(self, num_classes: int):
        self.confusion = np.zeros((num_classes, num_classes), np.int64)
        self._examples = 0

    def sums(
        self, outputs: Mapping[str, jax.Array], batch: Mapping[str, jax.Array]
    ) -> dict[str, jax.Array]:
        """Counts a batch.

        Args:
          outputs: `label_map`, integers `[batch, height, width]`.
          batch: `label_map`, the same; `mask` `[batch]`, 0 for padding, which is not counted.
        """
        labels = jnp.where(batch["mask"][:, None, None] > 0, batch["label_map"], IGNORED)
        counts = count_pairs(labels, outputs["label_map"], len(self.confusion))
        return {"confusion": counts, "examples": batch["mask"].sum()}

    def update(self, outputs: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray]) -> None:
        """Takes what `sums` returned for a batch."""
        self.add(outputs["confusion"], int(outputs["examples"]))

    def add(self, confusion: np.ndarray, examples: int = 1) -> None:
        """Takes counts `[classes, classes]` of some images."""
        self.confusion += np.asarray(confusion, np.int64)
        self._examples += examples

    def compute(self) -> dict[str, float]:
        """Returns fractions in [0, 1], and the count of images: see `scores`.

        Raises:
          UserError: no pixel was counted.
        """
        if not self.confusion.sum():
            raise UserError(
                "no pixel was evaluated: the data set is empty, unreadable, or all labels are"
                f" {IGNORED}"
            )
        return {**scores(self.confusion), "examples": self._examples}


def count_pairs(labels: jax.Array, predicted: jax.Array, num_classes: int) -> jax.Array:
    """Returns int32 `[classes, classes]`, rows the right class, columns the predicted one.

    Args:
      labels: integers of any shape; those outside [0, num_classes) don't count.
      predicted: integers in [0, num_classes), of the same shape.
      num_classes: of both.
    """
    labels, predicted = labels.astype(jnp.int32), predicted.astype(jnp.int32)
    counted = (labels >= 0) & (labels < num_classes)
    pairs = jnp.where(counted, labels * num_classes + predicted, num_classes**2)
    counts = jnp.zeros(num_classes**2, jnp.int32).at[pairs.ravel()].add(1, mode="drop")
    return counts.reshape(num_classes, num_classes)


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """Returns intersection over union per class, NaN for classes neither labelled nor predicted.

    Args:
      confusion: counts `[classes, classes]`, rows the right class.
    """
    right = np.diagonal(confusion)
    union = confusion.sum(0) + confusion.sum(1) - right
    return np.where(union > 0, right / np.maximum(union, 1), np.nan)


def class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Returns the share of each class's pixels that are right, NaN for classes without any."""
    labelled = confusion.sum(1)
    return np.where(labelled > 0, np.diagonal(confusion) / np.maximum(labelled, 1), np.nan)


def scores(confusion: np.ndarray) -> dict[str, float]:
    """Returns the metrics of some pixels, NaN where there are none.

    `miou` is the mean over the classes that are labelled or predicted anywhere, as mmsegmentation
    and deeplab2 have it; `mean_accuracy` is that over the labelled ones.

    Args:
      confusion: counts `[classes, classes]`, rows the right class.
    """
    total = confusion.sum()
    if not total:
        return dict.fromkeys(SegmentationEvaluator.metrics[:3], np.nan)
    return {
        "miou": float(np.nanmean(class_iou(confusion))),
        "pixel_accuracy": float(np.trace(confusion) / total),
        "mean_accuracy": float(np.nanmean(class_accuracy(confusion))),
    }
