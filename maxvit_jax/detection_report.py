"""Report of a detection evaluation: what was found, how well, why not, and pictures of it."""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from etils import epath
from PIL import Image

from common.coco_tools import decoded_mask
from common.data.class_lists import distinct_colours
from common.detections import Detections
from common.line_plot import curve_plot
from common.metrics.average_precision import AveragePrecision
from common.metrics.detection import DetectionEvaluator
from common.metrics.detection_errors import KINDS, ErrorCounts, find_errors, truths_by_image
from common.pictures import box_overlay, comparison_sheet, encoded
from common.report import write_json
from common.report_page import image, page, table
from common.unfinished import write_bytes
from common.whole_images import Extremes

SHOWN = 4  # images on each of the two sheets
SIDE = 480  # of a picture on them
MOST_CURVES = 12  # classes
MIN_SCORE = 0.3  # of what is drawn, and asked for its errors


def write_detection_report(
    folder: epath.PathLike,
    evaluator: DetectionEvaluator,
    photo: Callable[[int], np.ndarray],
    *,
    min_score: float = MIN_SCORE,
) -> list[str]:
    """Writes a report of everything an evaluator has seen.

    The folder gets `detections.json` (COCO's results), `classes.csv`, `errors.csv`,
    `precision_recall.png`, `worst.png` and `best.png` (by the F1 score of an image's boxes) and
    `report.html`.

    Args:
      folder: an existing directory.
      evaluator: has seen at least one image.
      photo: gives uint8 `[height, width, 3]`, the original image of an id.
      min_score: of the detections that are drawn and counted in `errors.csv`.

    Returns:
      Lines to print.

    Raises:
      UserError: no image was seen.
    """
    folder = epath.Path(folder)
    measured = evaluator.average_precision()
    by_id = {row["id"]: row["name"] for row in evaluator.ground_truth["categories"]}
    names = [by_id[category] for category in evaluator.category_ids]
    counts, extremes = _look(evaluator, names, photo, min_score)
    errors = _error_rows(counts, names)
    classes = _class_rows(measured, names, counts.objects, evaluator.detections.values())
    write_json(folder / "detections.json", evaluator.results())
    _write_table(folder / "classes.csv", classes)
    _write_table(folder / "errors.csv", errors)
    pictures = {"precision_recall": encoded(_curves(measured["box"], names))}
    for name, cases in (("worst", extremes.lowest), ("best", extremes.highest)):
        if cases:
            rows, captions = map(list, zip(*cases, strict=True))
            pictures[name] = encoded(comparison_sheet(rows, captions, side=SIDE))
    for name, content in pictures.items():
        write_bytes(folder / f"{name}.png", content)
    html = _page(evaluator.compute(), classes, errors, pictures, min_score)
    write_bytes(folder / "report.html", html.encode(errors="replace"))
    total = ", ".join(f"{value} {_spoken(key)}" for key, value in list(errors[-1].items())[1:])
    return [f"of detections with a score of at least {min_score:g}: {total}"]


def _look(
    evaluator: DetectionEvaluator,
    names: Sequence[str],
    photo: Callable[[int], np.ndarray],
    min_score: float,
) -> tuple[ErrorCounts, Extremes]:
    """Counts the errors in all images, and draws the best and the worst ones."""
    counts, extremes = ErrorCounts(len(names)), Extremes(SHOWN)
    palette = distinct_colours(len(names))
    seen = evaluator.detections
    truths = truths_by_image(evaluator.ground_truth, evaluator.category_ids, seen)
    for image_id, found in seen.items():
        found = found.above(min_score)
        errors = find_errors(found, truths[image_id])
        counts.add(errors, found, truths[image_id])
        if np.isfinite(errors.f1) and extremes.wants(errors.f1):
            truth = _truth(evaluator, image_id)
            drawn = _drawn(photo(image_id), found, truth, names, palette)
            captions = [f"image {image_id}: found (F1 score {errors.f1:.2f})", "truth"]
            extremes.take(errors.f1, (drawn, captions))
    return counts, extremes


def _truth(evaluator: DetectionEvaluator, image_id: int) -> Detections:
    """The objects of an image, crowds too, as if they had been found."""
    index = {category: k for k, category in enumerate(evaluator.category_ids)}
    rows = [
        row
        for row in evaluator.ground_truth["annotations"]
        if row["image_id"] == image_id and row["category_id"] in index
    ]
    boxes = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    classes = np.array([index[row["category_id"]] for row in rows], np.int64)
    masks = [row["segmentation"] for row in rows] if "mask" in evaluator.kinds else None
    return Detections(boxes, np.ones(len(rows)), classes, masks)


def _drawn(
    photo: np.ndarray,
    found: Detections,
    truth: Detections,
    names: Sequence[str],
    palette: np.ndarray,
) -> list[np.ndarray]:
    """The photo with what was found, and with the truth, at the size at which they are shown."""
    height, width = photo.shape[:2]
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smaller = scale < 1
    resampling = Image.Resampling.LANCZOS if smaller else Image.Resampling.NEAREST
    shown = np.asarray(Image.fromarray(photo).resize(size, resampling))
    pictures = []
    for objects, scores in ((found, found.scores), (truth, None)):
        masks = objects.masks
        if masks is not None:
            whole = (decoded_mask(mask, height, width) for mask in masks)
            masks = (np.asarray(Image.fromarray(mask).resize(size)) > 0 for mask in whole)
        boxes = objects.boxes * np.tile(np.divide(size, (width, height)), 2)
        drawn = box_overlay(
            shown, boxes, objects.classes, names, palette, scores=scores, masks=masks
        )
        pictures.append(drawn)
    return pictures


def _class_rows(
    measured: Mapping[str, AveragePrecision],
    names: Sequence[str],
    objects: np.ndarray,
    found: Iterable[Detections],
) -> list[dict[str, Any]]:
    classes = np.concatenate([each.classes for each in found])
    columns = {"objects": objects, "detections": np.bincount(classes, minlength=len(names))}
    for kind, values in measured.items():
        columns |= {f"{kind}_ap": values.ap, f"{kind}_ap50": values.ap50}
    return [
        {"class": name, **{key: column[k].item() for key, column in columns.items()}}
        for k, name in enumerate(names)
    ]


def _error_rows(counts: ErrorCounts, names: Sequence[str]) -> list[dict[str, Any]]:
    table = np.column_stack([counts.detections, counts.missed])
    keys = (*KINDS, "missed")
    rows = zip((*names, "all"), (*table, table.sum(0)), strict=True)
    return [{"class": name} | dict(zip(keys, row.tolist(), strict=True)) for name, row in rows]


def _write_table(path: epath.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def _curves(measured: AveragePrecision, names: Sequence[str]) -> np.ndarray:
    """Precision over recall: the mean, and all classes or those with the best and worst AP50."""
    known = np.flatnonzero(np.isfinite(measured.ap50))
    ranked = known[np.argsort(-measured.ap50[known], kind="stable")]
    if len(ranked) > MOST_CURVES:
        half = MOST_CURVES // 2
        ranked = np.concatenate([ranked[:half], ranked[-half:]])
    curves = {"mean of classes": np.mean(measured.precision[known], 0)} if len(known) else {}
    curves |= {f"{measured.ap50[k]:.2f} {names[k]}": measured.precision[k] for k in ranked}
    colours = distinct_colours(len(names))[ranked] * 0.8  # the classes' own, but none is white
    palette = np.concatenate([np.zeros((len(curves) - len(ranked), 3)), colours]).astype(np.uint8)
    title = "Boxes at an IoU of .5; AP50 beside the class"
    return curve_plot(curves, palette, title=title, x_label="recall", y_label="precision")


def _page(
    metrics: Mapping[str, float],
    classes: Sequence[Mapping[str, Any]],
    errors: Sequence[Mapping[str, Any]],
    pictures: Mapping[str, bytes],
    min_score: float,
) -> str:
    numbers = [(key, _cell(value)) for key, value in metrics.items() if key != "examples"]
    parts = [
        "<h1>Detection</h1>",
        f"<p>{metrics['examples']:,.0f} images, measured in original pixels as COCO does: AP is the"
        " mean over classes and IoU thresholds .5 to .95, small is up to 32 x 32 pixels, medium up"
        " to 96 x 96; AR is the recall with at most 1, 10 or 100 detections per image. All"
        " detections are in detections.json.</p>",
        table(("", ""), numbers),
    ]
    titles = {
        "worst": f"Worst by F1: found with a score of at least {min_score:g}, and the truth",
        "best": f"Best by F1: found with a score of at least {min_score:g}, and the truth",
        "precision_recall": "Precision and recall",
    }
    for key, title in titles.items():
        if key in pictures:
            parts += [f"<h2>{escape(title)}</h2>", image(pictures[key], title)]
    for title, rows in (("Errors", errors), ("Classes", classes)):
        cells = [[_cell(value) for value in row.values()] for row in rows]
        parts += [f"<h2>{title}</h2>", table(map(_spoken, rows[0]), cells)]
        if title == "Errors":
            parts.append(
                f"<p>Of detections with a score of at least {min_score:g}. Correct: IoU of at least"
                " .5 with an object of the class that no better detection has; duplicate: another"
                " one has it; wrong class: .5 with an object of another class; poor box: .1 to .5"
                " with one of the class; wrong class and box: the same with one of another;"
                " background: less than .1 with all. Missed are objects without a correct"
                " detection.</p>"
            )
    return page("Detection", parts)


def _spoken(key: str) -> str:
    return key.replace("_", " ")


def _cell(value: float | int | str) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if np.isfinite(value) else "-"
    return f"{value:,}" if isinstance(value, int) else value
