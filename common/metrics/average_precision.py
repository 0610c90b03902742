"""COCO's average precision and recall of boxes and masks, by pycocotools, without its printing."""

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from common.coco_tools import coco_tools

SUMMARY = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)

Kind = Literal["box", "mask"]


class AveragePrecision(NamedTuple):
    """How well objects were found; fractions, NaN where there are none to be found.

    Attributes:
      summary: COCO's twelve numbers, named as in `SUMMARY`: means over classes, and over IoU
        thresholds .5 to .95 unless one is named; areas in original pixels, small to 32 x 32,
        medium to 96 x 96.
      ap: `[classes]`: over all thresholds and areas.
      ap50: `[classes]`: at an IoU of .5.
      precision: `[classes, 101]`: at an IoU of .5, for recalls 0, .01 .. 1.
    """

    summary: dict[str, float]
    ap: np.ndarray
    ap50: np.ndarray
    precision: np.ndarray


def average_precision(
    ground_truth: Mapping[str, Any],
    results: Iterable[Mapping[str, Any]],
    image_ids: Iterable[int],
    category_ids: Sequence[int],
    kind: Kind,
) -> AveragePrecision:
    """Compares detections with the truth.

    Args:
      ground_truth: `images`, `annotations` and `categories` as COCO's files have them; not changed.
      results: as `common.detections.coco_results` gives them. As in pycocotools the area of one
        with a box is the box's, whatever `kind` is.
      image_ids: images that count; annotations of others don't.
      category_ids: one per class.
      kind: what is compared, the boxes or the masks.

    Raises:
      UserError: pycocotools isn't installed.
    """
    tools, seen = coco_tools(), set(image_ids)
    truths = [{"iscrowd": 0, **a} for a in ground_truth["annotations"] if a["image_id"] in seen]
    found = [{**result, "area": _area(result), "iscrowd": 0} for result in results]
    with contextlib.redirect_stdout(io.StringIO()):
        indexed = (_indexed(ground_truth, annotations) for annotations in (truths, found))
        run = tools.cocoeval.COCOeval(*indexed, "bbox" if kind == "box" else "segm")
        run.params.imgIds, run.params.catIds = list(seen), list(category_ids)
        run.evaluate()
        run.accumulate()
        run.summarize()
    # IoU, recall, class by ascending id; all areas, 100 detections.
    precision = run.eval["precision"][:, :, np.argsort(np.argsort(category_ids)), 0, -1]
    precision = np.where(precision < 0, np.nan, precision)
    summary = [float(value) if value >= 0 else np.nan for value in run.stats]
    return AveragePrecision(
        dict(zip(SUMMARY, summary, strict=True)),
        precision.mean((0, 1)),
        precision[0].mean(0),
        precision[0].T,
    )


def _area(result: Mapping[str, Any]) -> float:
    if "bbox" in result:
        return result["bbox"][2] * result["bbox"][3]
    return float(coco_tools().mask.area(result["segmentation"]))


def _indexed(ground_truth: Mapping[str, Any], annotations: Sequence[dict[str, Any]]) -> Any:
    """What pycocotools compares. It takes an id of 0 for none, so they are counted from 1."""
    index = coco_tools().coco.COCO()
    annotations = [annotation | {"id": i} for i, annotation in enumerate(annotations, 1)]
    index.dataset = {**ground_truth, "annotations": annotations}
    index.createIndex()
    return index
