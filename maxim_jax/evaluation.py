"""Evaluation of restoration: on crops while a model trains, on whole images afterwards."""

import csv
import io
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import cv2
import numpy as np
from etils import epath
from PIL import Image

from common.data.images import CorruptImage
from common.errors import UserError
from common.pictures import comparison_sheet
from common.task import Dataset
from maxim_jax.protocols import PROTOCOLS, Protocol, measure, picture
from maxim_jax.report import report_page

METRICS = ("psnr", "ssim", "psnr_input", "ssim_input")
SHOWN = 4  # cases on each of the two sheets
CROP = 256  # their side in pixels, at most


class RestorationEvaluator:
    """Accumulates PSNR and SSIM over an evaluation set: RGB, rounded to 8 bits."""

    def __init__(self):
        self._rows: list[dict[str, float]] = []

    def update(self, outputs: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray]) -> None:
        """Takes a batch.

        Args:
          outputs: `restored`, float32 `[batch, height, width, 3]`.
          batch: `input`, uint8, or float on the 0..1 scale; `target`, uint8; `mask`, 0 for padding,
            which is not counted; `size`, int `[batch, 2]`, height and width of what is no padding
            within an image, or left out where everything is image.

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
      progress: called with the number of pairs done.

    Returns:
      `protocol` in words; `images`, how many were measured; `mean` and `std` (of the population)
      of METRICS; `averaged`, over what; `sets`, means of the protocol's parts, where folders in the
      pairs' names say which; `seconds` spent restoring; `skipped`, names and reasons.

    Raises:
      UserError: nothing could be measured, or restored values are not finite.
    """
    folder, source = epath.Path(folder), dataset.source
    rows, skipped, extremes = [], [], _Extremes()
    path = folder / "per_image.csv"
    temporary = folder / f".{path.name}.tmp"
    with temporary.open("w") as file:
        table = csv.DictWriter(file, ["name", "width", "height", *METRICS, "seconds"])
        table.writeheader()
        for i in range(len(source)):
            try:
                pair = dataset.transform(source[i])
            except CorruptImage as error:
                skipped.append({"name": source.name(i), "reason": str(error)})
            else:
                image, target = pair["input"], pair["target"]
                restored, seconds = _timed(restore, image)
                height, width = target.shape[:2]
                row = {"name": source.name(i), "width": width, "height": height}
                row |= _measure_both(restored, image, target, protocol) | {"seconds": seconds}
                rows.append(row)
                table.writerow({k: f"{v:.6g}" if type(v) is float else v for k, v in row.items()})
                file.flush()
                extremes.take(row, image, restored, target)
            progress(i + 1)
    if not rows:
        temporary.unlink()
        reason = "{name}: {reason}".format(**skipped[0]) if skipped else "there are none"
        raise UserError(f"no pair could be measured ({reason})")
    temporary.replace(path)
    summary = {"protocol": protocol.describe(), **_summary(rows, protocol), "skipped": skipped}
    sheets = {f"{key}.png": _png(sheet) for key, sheet in extremes.sheets().items()}
    files = sheets | {
        "metrics.json": json.dumps(_finite(summary), indent=2).encode() + b"\n",
        "report.html": report_page(summary, sheets).encode(),
    }
    for name, content in files.items():
        temporary = folder / f".{name}.tmp"
        temporary.write_bytes(content)
        temporary.replace(folder / name)
    return summary


class _Extremes:
    """Keeps the panels of the worst and the best cases, and of no others."""

    def __init__(self):
        self._worst, self._best = [], []

    def take(
        self, row: dict[str, Any], image: np.ndarray, restored: np.ndarray, target: np.ndarray
    ) -> None:
        value, case = row["psnr"], None
        for cases, sign in ((self._worst, 1), (self._best, -1)):
            if len(cases) < SHOWN or sign * value < sign * cases[-1][0]["psnr"]:
                case = case or (row, _panels(image, restored, target))
                cases.append(case)
                cases.sort(key=lambda other, sign=sign: sign * other[0]["psnr"])
                del cases[SHOWN:]

    def sheets(self) -> dict[str, np.ndarray]:
        return {
            name: comparison_sheet(
                [panels for _, panels in cases], [_captions(row) for row, _ in cases], side=CROP
            )
            for name, cases in (("worst", self._worst), ("best", self._best))
        }


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
    columns = {key: [row[key] for row in rows if not math.isnan(row[key])] for key in METRICS}
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
        "seconds": sum(row["seconds"] for row in rows),
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


def _png(image: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(image).save(data, "PNG")
    return data.getvalue()


def _finite(value: Any) -> Any:
    """The same with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
