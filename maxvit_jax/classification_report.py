"""What the evaluation of a classifier adds to its report: tables, mistakes, confusions, a page."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from etils import epath

from common.confusion_picture import confusion_picture
from common.errors import readable
from common.metrics.classification import ClassificationEvaluator, Classified, ClassScores
from common.pictures import encoded, photo_sheet
from common.report import write_rows
from common.report_page import image, page, share, table
from common.unfinished import write_bytes

MISTAKES = 24  # on the sheet
CONFUSED = 12  # pairs of classes that the page lists
SAID = 3  # of these are printed
MOST_PICTURED = 500  # classes; of more the cells would be too small, and the picture too large
_SIDE = 200  # of an image on the sheet
_COLUMNS = 6
_NAMES = {
    "accuracy_top1": "accuracy",
    "accuracy_top5": "accuracy, right class among the best five",
    "precision_macro": "precision, mean over classes",
    "recall_macro": "recall, mean over classes",
    "f1_macro": "F1, mean over classes",
    "loss": "cross entropy (nats)",
    "calibration_error": "expected calibration error",
}


def write_classification_report(
    folder: epath.Path,
    metrics: Mapping[str, float],
    evaluator: ClassificationEvaluator,
    class_names: Sequence[str],
    name: Callable[[int], str],
    photo: Callable[[int, int], np.ndarray],
) -> list[str]:
    """Writes tables, pictures and `report.html`.

    `predictions.csv` has every image, `per_class.csv` every class, `confusions.csv` every pair of
    classes that was confused, the most frequent first; `mistakes.png` shows the errors that the
    model was surest of, and `confusion.png` the matrix, where the classes are few enough.

    Args:
      folder: an existing directory; `images.png` in it becomes a part of the page.
      metrics: of the whole set.
      evaluator: has seen it.
      class_names: by label.
      name: of the image at a position of the source.
      photo: its pixels, uint8 `[height, width, 3]`, if they can be had cheaper at no less than a
        given side; asked for those on the sheet alone.

    Returns:
      What to say about it.
    """
    found, scores = evaluator.classified, evaluator.class_scores()
    confused = _confused(evaluator, class_names)
    _write_predictions(folder / "predictions.csv", found, class_names, name)
    _write_classes(folder / "per_class.csv", class_names, scores)
    write_rows(folder / "confusions.csv", ("label", "prediction", "count", "share"), confused)
    mistakes = _surest_mistakes(found)
    pictures = {}
    if len(mistakes.labels):
        pictures["mistakes"] = encoded(_mistake_sheet(mistakes, class_names, photo))
    if len(class_names) <= MOST_PICTURED:
        matrix = evaluator.confusion.toarray()
        pictures["confusion"] = encoded(confusion_picture(matrix, class_names))
    for key, content in pictures.items():
        write_bytes(folder / f"{key}.png", content)
    rows = [
        (name(p), class_names[label], class_names[predicted], f"{probability:.3f}")
        for p, label, predicted, probability, _ in zip(*mistakes, strict=True)
    ]
    html = _page(folder, metrics, pictures, confused, rows, class_names, scores)
    write_bytes(folder / "report.html", html.encode(errors="replace"))
    lines = [
        readable(
            f"confused most: {label} taken for {predicted}, {count:,} images, {part:.1%} of {label}"
        )
        for label, predicted, count, part in confused[:SAID]
    ]
    if "confusion" not in pictures:
        lines.append(f"no picture of the confusions: more than {MOST_PICTURED} classes")
    return lines


def _confused(
    evaluator: ClassificationEvaluator, names: Sequence[str]
) -> list[tuple[str, str, int, float]]:
    """Label, prediction, images, and their share of the label's; the most frequent first."""
    confusion, examples = evaluator.confusion, evaluator.class_scores().examples
    pairs = [
        (label, predicted, count, count / examples[label])
        for label, predicted, count in zip(*confusion.coords, confusion.data, strict=True)
        if label != predicted
    ]
    pairs.sort(key=lambda pair: (-pair[2], -pair[3]))
    return [(names[i], names[j], int(count), float(part)) for i, j, count, part in pairs]


def _write_predictions(
    path: epath.Path, found: Classified, names: Sequence[str], name: Callable[[int], str]
) -> None:
    head = ("file", "label", "prediction", "probability", "label_probability")
    rows = (
        (name(p), names[label], names[predicted], f"{probability:.6g}", f"{own:.6g}")
        for p, label, predicted, probability, own in zip(*found, strict=True)
    )
    write_rows(path, head, rows)


def _write_classes(path: epath.Path, names: Sequence[str], scores: ClassScores) -> None:
    head = ("class", *ClassScores._fields)
    write_rows(path, head, zip(names, *scores, strict=True))


def _surest_mistakes(found: Classified) -> Classified:
    wrong = np.flatnonzero(found.labels != found.predicted)
    order = wrong[np.argsort(-found.probabilities[wrong], kind="stable")][:MISTAKES]
    return Classified(*(values[order] for values in found))


def _mistake_sheet(
    mistakes: Classified, names: Sequence[str], photo: Callable[[int, int], np.ndarray]
) -> np.ndarray:
    captions = [
        f"!{names[predicted]} {probability:.0%}, is {names[label]}"
        for _, label, predicted, probability, _ in zip(*mistakes, strict=True)
    ]
    photos = (photo(position, _SIDE) for position in mistakes.positions)
    return photo_sheet(photos, captions, columns=_COLUMNS, side=_SIDE)


def _page(
    folder: epath.Path,
    metrics: Mapping[str, float],
    pictures: Mapping[str, bytes],
    confused: Sequence[tuple[str, str, int, float]],
    mistakes: Sequence[tuple[str, ...]],
    class_names: Sequence[str],
    scores: ClassScores,
) -> str:
    # Of few classes there is no accuracy of the best five.
    numbers = [(text, f"{metrics[key]:.4f}") for key, text in _NAMES.items() if key in metrics]
    parts = [
        "<h1>Classification</h1>",
        table(("", ""), numbers),
        f"<p>{metrics['examples']:,.0f} images. Means over classes count every class alike that has"
        " images or predictions, one that was never predicted with a precision of 0. Every image is"
        " in predictions.csv, every pair of confused classes in confusions.csv.</p>",
    ]
    if "confusion" in pictures:
        title = "Confusions: rows the right class, columns the predicted one"
        parts += [f"<h2>{title}</h2>", image(pictures["confusion"], title)]
    if confused:
        head = ("class", "taken for", "images", "share of the class")
        rows = [(a, b, f"{count:,}", f"{part:.1%}") for a, b, count, part in confused[:CONFUSED]]
        parts += ["<h2>Most confused</h2>", table(head, rows)]
        title = "Mistakes that the model was surest of"
        parts += [f"<h2>{title}</h2>", image(pictures["mistakes"], title)]
        parts += [table(("file", "right class", "prediction", "probability"), mistakes)]
    else:
        parts += ["<p>No image was taken for another class.</p>"]
    examples = folder / "images.png"
    if examples.exists():
        title = "Examples from the whole set: prediction, and the right class where it is wrong"
        parts += [f"<h2>{title}</h2>", image(examples.read_bytes(), title)]
    head = ("class", *ClassScores._fields)
    rows = (
        (name, f"{examples:,}", f"{predictions:,}", *(share(value) for value in shares))
        for name, examples, predictions, *shares in zip(class_names, *scores, strict=True)
    )
    parts += ["<h2>Classes</h2>", table(head, rows)]
    return page("Classification", parts)
