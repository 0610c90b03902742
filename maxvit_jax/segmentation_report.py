"""Evaluation of segmentation on whole images, at the size of their own labels; its report."""

import csv
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np
from etils import epath

from common.confusion_picture import confusion_picture
from common.kept_results import KeptResults
from common.metrics.segmentation import (
    SegmentationEvaluator,
    class_accuracy,
    class_iou,
    scores,
)
from common.pictures import comparison_sheet, encoded, label_overlay
from common.report import write_json
from common.report_page import image, page, share, table
from common.task import Dataset
from common.unfinished import write_bytes
from common.whole_images import Extremes, measure_images
from maxvit_jax.segmentation import Segmenter

SHOWN = 4  # cases on each of the two sheets
SIDE = 320  # of a picture on them
MOST_PICTURED = 500  # classes; of more the cells of the confusion picture would be too small


def evaluate_images(
    segmenter: Segmenter,
    dataset: Dataset,
    class_names: Sequence[str],
    palette: np.ndarray,
    folder: epath.PathLike,
    *,
    kept: KeptResults | None = None,
    progress: Callable[[int], None] = lambda images: None,
) -> dict[str, Any]:
    """Segments and measures whole images, and writes a report.

    The folder gets `per_image.csv` (written row by row under a temporary name), `per_class.csv`,
    `confusion.png`, `metrics.json` (what is returned), `worst.png`, `best.png` and `report.html`.
    An image that can't be read is left out and named.

    Args:
      segmenter: gives label maps.
      dataset: a source of `common.data.label_maps`, and what turns an example into whole images,
        such as `EvalLabelMap(size=None)`.
      class_names: one per class.
      palette: uint8 `[classes, 3]`.
      folder: an existing directory.
      kept: of images that are not segmented again; gets the others.
      progress: called with the number of images done.

    Returns:
      `miou`, `pixel_accuracy`, `mean_accuracy` over all pixels; `examples`; `mean_image_miou`, the
      mean over images, which is another number; `per_class`; `skipped`, names and reasons.

    Raises:
      UserError: nothing could be measured.
    """
    folder, extremes = epath.Path(folder), Extremes(SHOWN)
    evaluator = SegmentationEvaluator(len(class_names))

    def measured(name: str, example: dict[str, Any]) -> dict[str, Any]:
        photo, truth = example["image"], example["label_map"]
        predicted, _ = segmenter(photo)
        confusion = _counted(truth, predicted, len(class_names))
        height, width = truth.shape
        row = {"name": name, "width": width, "height": height, **scores(confusion)}
        pairs = np.flatnonzero(confusion)  # few of all
        found = {"row": row, "pairs": pairs, "counts": confusion.ravel()[pairs]}
        if np.isfinite(row["miou"]) and extremes.wants(row["miou"]):
            pictures = [photo, *(label_overlay(photo, m, palette) for m in (predicted, truth))]
            captions = [name, f"predicted: mIoU {row['miou']:.3f}", "truth"]
            found["case"] = pictures, captions
        return found

    def take(found: dict[str, Any]) -> None:
        confusion = np.zeros_like(evaluator.confusion)
        confusion.ravel()[found["pairs"]] = found["counts"]
        evaluator.add(confusion)
        if "case" in found:
            extremes.take(found["row"]["miou"], found["case"])

    columns = ["name", "width", "height", *SegmentationEvaluator.metrics[:3]]
    place = folder / "per_image.csv"
    rows, skipped = measure_images(
        dataset, measured, place, columns, take=take, kept=kept, progress=progress
    )
    summary = evaluator.compute()
    of_images = [row["miou"] for row in rows if np.isfinite(row["miou"])]
    summary["mean_image_miou"] = float(np.mean(of_images))
    summary["per_class"] = _per_class(evaluator.confusion, class_names)
    summary["skipped"] = skipped
    _write_table(folder, summary["per_class"])
    sheets = {}
    if len(class_names) <= MOST_PICTURED:
        picture = confusion_picture(evaluator.confusion, class_names, unit="pixels")
        sheets["confusion"] = encoded(picture)
    for name, cases in (("worst", extremes.lowest), ("best", extremes.highest)):
        pictures, captions = map(list, zip(*cases, strict=True))
        sheets[name] = encoded(comparison_sheet(pictures, captions, side=SIDE))
    for name, content in sheets.items():
        write_bytes(folder / f"{name}.png", content)
    write_json(folder / "metrics.json", summary)
    write_bytes(folder / "report.html", _page(summary, sheets).encode(errors="replace"))
    return summary


def _counted(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """`count_pairs` on the host: nothing is compiled, whatever the size."""
    counted = truth < classes
    pairs = truth[counted].astype(np.int64) * classes + predicted[counted]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def _per_class(confusion: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    columns = class_iou(confusion), class_accuracy(confusion), confusion.sum(1)
    return [
        {"class": name, "iou": float(iou), "accuracy": float(accuracy), "pixels": int(pixels)}
        for name, iou, accuracy, pixels in zip(names, *columns, strict=True)
    ]


def _write_table(folder: epath.Path, rows: list[dict[str, Any]]) -> None:
    with (folder / "per_class.csv").open("w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def _page(summary: dict[str, Any], sheets: dict[str, bytes]) -> str:
    names = {
        "miou": "mean IoU",
        "pixel_accuracy": "pixel accuracy",
        "mean_accuracy": "mean accuracy of classes",
        "mean_image_miou": "mean over images of their mean IoU",
    }
    parts = [
        "<h1>Segmentation</h1>",
        table(("", ""), [(text, f"{summary[key]:.4f}") for key, text in names.items()]),
        f"<p>{summary['examples']:,.0f} images at the size of their labels. Mean IoU is over the"
        " classes that are labelled or predicted, of all pixels of the set together."
        " Every image is in per_image.csv.</p>",
    ]
    if summary["skipped"]:
        rows = [(row["name"], row["reason"]) for row in summary["skipped"]]
        parts += [f"<h2>Images left out: {len(rows):,}</h2>", table(("image", "reason"), rows)]
    titles = {
        "worst": "Worst by mean IoU: photo, predicted, true",
        "best": "Best by mean IoU: photo, predicted, true",
        "confusion": "Confusions: rows the true class, columns the predicted one",
    }
    for key, title in titles.items():
        if key in sheets:
            parts += [f"<h2>{escape(title)}</h2>", image(sheets[key], title)]
    rows = [
        (row["class"], *(share(row[key]) for key in ("iou", "accuracy")), f"{row['pixels']:,}")
        for row in summary["per_class"]
    ]
    parts += ["<h2>Classes</h2>", table(("class", "IoU", "accuracy", "pixels"), rows)]
    return page("Segmentation", parts)
