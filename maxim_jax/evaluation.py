"""Evaluation of restoration: on crops while a model trains, on whole images afterwards."""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

import cv2
import numpy as np
from etils import epath

from common.errors import UserError
from common.kept_results import KeptResults
from common.metrics.evaluator import Evaluator
from common.pictures import comparison_sheet, encoded
from common.report import write_json
from common.task import Dataset
from common.unfinished import write_bytes
from common.whole_images import Extremes, measure_images
from maxim_jax.protocols import PROTOCOLS, Protocol, measure, picture
from maxim_jax.report import report_page

METRICS = ("psnr", "ssim", "psnr_input", "ssim_input")
SHOWN = 4  # cases on each of the two sheets
CROP = 256  # their side in pixels, at most


class RestorationEvaluator(Evaluator):
    """Accumulates PSNR and SSIM over an evaluation set: RGB, rounded to 8 bits."""

    metrics = METRICS
    outputs = ("restored",)
    inputs = ("input", "target", "size")

    def __init__(self):
        self._rows: list[dict[str, float]] = []

    def update(self, outputs: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray]) -> None:
        """Takes a batch.

        Args:
          outputs: `restored`, float32 `[batch, height, width, 3]`.
          batch: `input`, uint8, or float on the 0..1 scale; `target`, uint8; `mask`, 0 for padding,
            which is not counted; `size`, int `[batch, 2]`, height and width of what is no padding
            within an image (all of it where there is none).

        Raises:
          UserError: restored values are not finite.
        """
        for i in np.flatnonzero(batch["mask"]):
            target = batch["target"][i]
            height, width = batch["size"][i] if "size" in batch else target.shape[:2]
            inner = np.s_[:height, :width]
            images = outputs["restored"][i][inner], batch["input"][i][inner]
            self._rows.append(_measure_both(*images, target[inner], PROTOCOLS["rgb"]))

    def compute(self) -> dict[str, float]:
        """Returns means over images of METRICS: dB, and SSIM of images not smaller than 11x11.

        Raises:
          UserError: nothing was counted.
        """
        if not self._rows:
            raise UserError("no image was evaluated: the data set is empty or unreadable")
        return _over_images(self._rows, np.mean)


def evaluate_pairs(
    restore: Callable[[np.ndarray], np.ndarray],
    dataset: Dataset,
    protocol: Protocol,
    folder: epath.PathLike,
    *,
    save_images: bool = False,
    kept: KeptResults | None = None,
    progress: Callable[[int], None] = lambda images: None,
) -> dict[str, Any]:
    """Restores and measures whole images, and writes a report.

    The folder gets `per_image.csv` (written row by row under a temporary name), `metrics.json`
    (what is returned), `worst.png`, `best.png` and `report.html`. A pair that can't be read, or
    whose images differ in size, is left out and named.

    Args:
      restore: float32 `[height, width, 3]` on the 0..1 scale to the same.
      dataset: a source of `common.data.pairs`, and what turns an example into whole images: `input`
        (uint8, or float on the 0..1 scale) and `target` (uint8), such as `EvalPair(size=None)`.
      protocol: how to measure; the inputs are measured in the same way.
      folder: an existing directory.
      save_images: also write every restored image, as `restored/<name>.png` of 8 bits.
      kept: of pairs that are not restored again (whose images are in the folder); gets the others.
      progress: called with the number of pairs done.

    Returns:
      `protocol` in words; `images`, how many were measured; `mean` and `std` (of the population)
      of METRICS; `averaged`, over what; `sets`, means of the protocol's parts, where folders in the
      pairs' names say which; `seconds` spent restoring; `skipped`, names and reasons.

    Raises:
      UserError: nothing could be measured, or restored values are not finite.
    """
    folder, extremes = epath.Path(folder), Extremes(SHOWN)
    saved = protocol.prediction if protocol.prediction == "truncated" else "rounded"

    def measured(name: str, pair: dict[str, Any]) -> dict[str, Any]:
        image, target = pair["input"], pair["target"]
        restored, seconds = _timed(restore, image)
        height, width = target.shape[:2]
        row = {"name": name, "width": width, "height": height}
        row |= _measure_both(restored, image, target, protocol) | {"seconds": seconds}
        if save_images:
            _save(folder / "restored", name, picture(restored, saved))
        if not extremes.wants(row["psnr"]):
            return {"row": row}
        return {"row": row, "case": (_panels(image, restored, target), _captions(row))}

    def take(found: dict[str, Any]) -> None:
        if "case" in found:
            extremes.take(found["row"]["psnr"], found["case"])

    columns = ["name", "width", "height", *METRICS, "seconds"]
    table = folder / "per_image.csv"
    rows, skipped = measure_images(
        dataset, measured, table, columns, take=take, kept=kept, progress=progress
    )
    summary = {"protocol": protocol.describe(), **_summary(rows, protocol), "skipped": skipped}
    summary["seconds"] = sum(row["seconds"] for row in rows)
    sheets = {
        f"{key}.png": encoded(comparison_sheet(*map(list, zip(*cases, strict=True)), side=CROP))
        for key, cases in (("worst", extremes.lowest), ("best", extremes.highest))
    }
    for name, content in sheets.items():
        write_bytes(folder / name, content)
    write_json(folder / "metrics.json", summary)
    write_bytes(folder / "report.html", report_page(summary, sheets).encode(errors="replace"))
    return summary


def compare_pairs(
    dataset: Dataset,
    protocol: Protocol,
    folder: epath.PathLike,
    *,
    progress: Callable[[int], None] = lambda images: None,
) -> dict[str, Any]:
    """Measures whole images against their targets, as they are.

    The folder gets `per_image.csv` and `metrics.json`, which holds what is returned.

    Args:
      dataset: as for `evaluate_pairs`; what is measured are the inputs.
      protocol: how to measure.
      folder: an existing directory.
      progress: called with the number of pairs done.

    Returns:
      As `evaluate_pairs`, of "psnr" and "ssim" alone, without `seconds`.

    Raises:
      UserError: nothing could be measured.
    """
    folder = epath.Path(folder)

    def measured(name: str, pair: dict[str, Any]) -> dict[str, Any]:
        height, width = pair["target"].shape[:2]
        row = {"name": name, "width": width, "height": height}
        return {"row": row | measure(pair["input"], pair["target"], protocol)}

    columns, table = ["name", "width", "height", "psnr", "ssim"], folder / "per_image.csv"
    rows, skipped = measure_images(dataset, measured, table, columns, progress=progress)
    summary = {"protocol": protocol.describe(), **_summary(rows, protocol), "skipped": skipped}
    write_json(folder / "metrics.json", summary)
    return summary


def _save(folder: epath.Path, name: str, image: np.ndarray) -> None:
    """Below the folder, whatever the name says."""
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", "..")]
    place = folder.joinpath(*parts)
    if place.suffix.lower() != ".png":
        place = place.parent / f"{place.name}.png"
    place.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(place, encoded(image))


def _measure_both(
    restored: np.ndarray, image: np.ndarray, target: np.ndarray, protocol: Protocol
) -> dict[str, float]:
    after, before = (measure(x, target, protocol) for x in (restored, image))
    return after | {f"{key}_input": value for key, value in before.items()}


def _timed(restore: Callable, image: np.ndarray) -> tuple[np.ndarray, float]:
    """The restored image, and the seconds it took."""
    image = np.float32(image) / 255 if image.dtype == np.uint8 else np.float32(image)
    start = time.perf_counter()
    return restore(image), time.perf_counter() - start


def _panels(image: np.ndarray, restored: np.ndarray, target: np.ndarray) -> list[np.ndarray]:
    """The same crop of the three: where the restored image is furthest from its target."""
    images = [picture(image), picture(restored), target]
    height, width = (min(CROP, side) for side in target.shape[:2])
    error = np.square(np.float32(images[1]) - target).mean(axis=2)
    # With this anchor the value at a pixel is the mean over the crop that begins there.
    inside = np.s_[: error.shape[0] - height + 1, : error.shape[1] - width + 1]
    means = cv2.blur(error, (width, height), anchor=(0, 0))[inside]
    y, x = np.unravel_index(means.argmax(), means.shape)
    return [panel[y : y + height, x : x + width].copy() for panel in images]


def _captions(row: dict[str, Any]) -> list[str]:
    return [
        f"input: {row['psnr_input']:.2f} dB, {row['ssim_input']:.4f}",
        f"restored: {row['psnr']:.2f} dB, {row['ssim']:.4f}",
        f"target: {row['name']}",
    ]


def _over_images(rows: Iterable[Mapping[str, Any]], statistic: Callable) -> dict[str, float]:
    """Mean or deviation of every metric; SSIM is not defined (NaN) for very small images."""
    rows = list(rows)
    columns = {
        key: [row[key] for row in rows if not math.isnan(row[key])]
        for key in METRICS
        if key in rows[0]
    }
    with np.errstate(invalid="ignore"):  # the deviation of infinite values
        return {
            k: float(statistic(values)) if values else math.nan for k, values in columns.items()
        }


def _summary(rows: list[dict[str, Any]], protocol: Protocol) -> dict[str, Any]:
    summary = {
        "images": len(rows),
        "averaged": "over images",
        "mean": _over_images(rows, np.mean),
        "std": _over_images(rows, np.std),
    }
    sets, folders = {}, [row["name"].split("/")[:-1] for row in rows]
    known = all(set(protocol.sets) & set(folder) for folder in folders)
    for part in protocol.sets if known else ():  # else the means would leave images out
        some = [row for row, folder in zip(rows, folders, strict=True) if part in folder]
        if some:
            sets[part] = {"images": len(some), **_over_images(some, np.mean)}
    if sets:
        summary["mean"] = _over_images(sets.values(), np.mean)
        summary |= {"averaged": f"over the means of {', '.join(sets)}", "sets": sets}
    return summary
