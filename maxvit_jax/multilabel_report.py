"""What the evaluation of any number of labels per image adds to its report: tables and a page."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from etils import epath

from common.metrics.multilabel import Labelled, LabelScores, MultilabelEvaluator
from common.pictures import encoded, photo_sheet
from common.report import write_rows
from common.report_page import image, page, share, table
from common.unfinished import write_bytes

MISTAKES = 24  # images on the sheet
_SIDE = 200  # of an image on it
_COLUMNS = 6
_NAMES = {
    "map": "mean average precision over labels (mAP)",
    "f1_macro": "F1, mean over labels",
    "f1_micro": "F1 of all decisions",
    "precision_micro": "precision of all decisions",
    "recall_micro": "recall of all decisions",
    "loss": "binary cross entropy (nats)",
}


def write_multilabel_report(
    folder: epath.Path,
    metrics: Mapping[str, float],
    evaluator: MultilabelEvaluator,
    class_names: Sequence[str],
    threshold: float,
    name: Callable[[int], str],
    photo: Callable[[int, int], np.ndarray],
) -> list[str]:
    """Writes `predictions.csv`, `per_class.csv`, `mistakes.png` and `report.html`.

    An image's mistake is the decision of it that was furthest on the wrong side of the threshold.

    Args:
      folder: an existing directory; `images.png` in it becomes a part of the page.
      metrics: of the whole set.
      evaluator: has seen it.
      class_names: one per label.
      threshold: of predictions.
      name: of the image at a position of the source.
      photo: its pixels, uint8 `[height, width, 3]`, if they can be had cheaper at no less than a
        given side; asked for those on the sheet alone.

    Returns:
      What to say about it.
    """
    found, scores = evaluator.labelled, evaluator.label_scores()
    predicted = found.probabilities >= threshold

    def names(chosen: np.ndarray) -> str:
        return ";".join(class_names[i] for i in np.flatnonzero(chosen))

    rows = (
        (name(p), names(labels), names(given), *(f"{value:.6g}" for value in probabilities))
        for p, labels, given, probabilities in zip(
            found.positions, found.labels, predicted, found.probabilities, strict=True
        )
    )
    write_rows(folder / "predictions.csv", ("file", "labels", "prediction", *class_names), rows)
    per_class = zip(class_names, *scores, strict=True)
    write_rows(folder / "per_class.csv", ("class", *LabelScores._fields), per_class)
    mistakes = _surest_mistakes(found, predicted)
    parts = [
        "<h1>Labels</h1>",
        table(("", ""), [(text, f"{metrics[key]:.4f}") for key, text in _NAMES.items()]),
        f"<p>{metrics['examples']:,.0f} images. Labels of a probability of {threshold:g} or more"
        " are predicted; average precision is of all thresholds. Every image is in"
        " predictions.csv.</p>",
    ]
    if mistakes:
        captions = [
            f"!{'' if given else 'no '}{class_names[label]} {probability:.0%}"
            for _, label, given, probability in mistakes
        ]
        photos = (photo(position, _SIDE) for position, *_ in mistakes)
        sheet = encoded(photo_sheet(photos, captions, columns=_COLUMNS, side=_SIDE))
        write_bytes(folder / "mistakes.png", sheet)
        title = "Mistakes that the model was surest of: what it said, and the label's probability"
        parts += [f"<h2>{title}</h2>", image(sheet, title)]
        head = ("file", "label", "is there", "probability")
        cells = [
            (name(p), class_names[label], "no" if given else "yes", f"{probability:.3f}")
            for p, label, given, probability in mistakes
        ]
        parts += [table(head, cells)]
    examples = folder / "images.png"
    if examples.exists():
        title = "Examples from the whole set: what was predicted, red where it is not all right"
        parts += [f"<h2>{title}</h2>", image(examples.read_bytes(), title)]
    rows = [
        (label, f"{examples:,}", f"{predictions:,}", *(share(value) for value in shares))
        for label, examples, predictions, *shares in zip(class_names, *scores, strict=True)
    ]
    head = ("class", *(field.replace("_", " ") for field in LabelScores._fields))
    parts += ["<h2>Classes</h2>", table(head, rows)]
    write_bytes(folder / "report.html", page("Labels", parts).encode(errors="replace"))
    return []


def _surest_mistakes(found: Labelled, predicted: np.ndarray) -> list[tuple[int, int, bool, float]]:
    """Position, class, whether it was predicted, and its probability, of the worst images."""
    wrong = predicted != found.labels
    error = np.where(wrong, np.abs(found.probabilities - found.labels), -1)
    worst = error.argmax(1)
    largest = error[np.arange(len(worst)), worst]
    order = np.argsort(-largest, kind="stable")[: min(MISTAKES, int(wrong.any(1).sum()))]
    chosen = order, worst[order]
    columns = found.positions[order], worst[order], predicted[chosen], found.probabilities[chosen]
    return [*zip(*(column.tolist() for column in columns), strict=True)]
