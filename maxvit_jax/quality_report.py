"""What the evaluation of a model of quality adds to its report: predictions, agreement, a page."""

import csv
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from etils import epath

from common.data.score_distributions import moments
from common.metrics.quality import Judged, earth_movers_distances
from common.pictures import comparison_sheet, encoded
from common.report_page import image, page, table
from common.scatter_plot import scatter_plot
from common.unfinished import write_bytes

SHOWN = 8  # images on each of the two sheets
SIDE = 240  # of an image on them
_COLUMNS = 4
_NAMES = {
    "plcc": "PLCC of means (Pearson)",
    "srcc": "SRCC of means (Spearman)",
    "plcc_std": "PLCC of standard deviations",
    "srcc_std": "SRCC of standard deviations",
    "emd": "earth mover's distance (r = 1)",
    "accuracy": "accuracy",
}


def write_quality_report(
    folder: epath.Path,
    metrics: Mapping[str, float],
    judged: Judged,
    scores: Sequence[float],
    threshold: float,
    name: Callable[[int], str],
    photo: Callable[[int], np.ndarray],
) -> list[str]:
    """Writes `per_image.csv`, `scatter.png`, `best.png`, `worst.png` and `report.html`.

    Agreement of an image is the earth mover's distance of its two distributions.

    Args:
      folder: an existing directory.
      metrics: of the whole set.
      judged: all images.
      scores: values of the distributions' entries.
      threshold: of `metrics["accuracy"]`.
      name: of the image at a position of the source.
      photo: its pixels, uint8 `[height, width, 3]`; asked for those on the sheets alone.

    Returns:
      What to say about it.
    """
    order = np.argsort(judged.positions)
    positions, predicted, true = (values[order] for values in judged)
    (mean, std), (true_mean, true_std) = (moments(each, scores) for each in (predicted, true))
    distances = earth_movers_distances(predicted, true)
    columns = mean, true_mean, std, true_std, distances
    with (folder / "per_image.csv").open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "mean", "true_mean", "std", "true_std", "emd"])
        for position, *values in zip(positions, *columns, strict=True):
            rows.writerow([name(position), *(f"{value:.6g}" for value in values)])
    pictures = {
        "scatter": scatter_plot(
            true_mean,
            mean,
            (scores[0], scores[-1]),
            title="Mean scores of all images",
            x_label="true",
            y_label="predicted",
        )
    }
    ranked = np.argsort(distances, kind="stable")
    for kind, rows in (("worst", ranked[::-1]), ("best", ranked)):
        cases = [
            (
                photo(positions[i]),
                f"{mean[i]:.2f} (true {true_mean[i]:.2f}) {Path(name(positions[i])).name}",
            )
            for i in rows[:SHOWN]
        ]
        rows = [cases[i : i + _COLUMNS] for i in range(0, len(cases), _COLUMNS)]
        photos, captions = ([[case[k] for case in row] for row in rows] for k in (0, 1))
        pictures[kind] = comparison_sheet(photos, captions, side=SIDE)
    files = {key: encoded(picture) for key, picture in pictures.items()}
    for key, content in files.items():
        write_bytes(folder / f"{key}.png", content)
    write_bytes(folder / "report.html", _page(metrics, threshold, files).encode(errors="replace"))
    constant = [what for what, x in (("predicted", mean), ("true", true_mean)) if not np.ptp(x)]
    return [f"all {what} means are equal: correlations are given as 0" for what in constant]


def _page(metrics: Mapping[str, float], threshold: float, pictures: Mapping[str, bytes]) -> str:
    numbers = [(text, f"{metrics[key]:.4f}") for key, text in _NAMES.items()]
    parts = [
        "<h1>Quality</h1>",
        table(("", ""), numbers),
        f"<p>{metrics['examples']:,.0f} images. Correlations are of the whole set, equal values"
        " share their ranks, and a correlation with something constant is given as 0. Accuracy is"
        f" the share of images whose predicted and true mean are on one side of {threshold:g}."
        " Every image is in per_image.csv.</p>",
    ]
    titles = {
        "scatter": "Predicted over true mean scores",
        "worst": "Worst agreement: largest earth mover's distance",
        "best": "Best agreement: smallest earth mover's distance",
    }
    for key, title in titles.items():
        parts += [f"<h2>{escape(title)}</h2>", image(pictures[key], title)]
    return page("Quality", parts)
