"""What an evaluation of a classifier leaves: metrics, a table of classes, pictures."""

import csv
import json
from collections.abc import Mapping

import numpy as np
from etils import epath

from common.metrics.classification import ClassificationEvaluator
from common.pictures import confusion_picture, save_png


def write_report(
    folder: epath.Path,
    class_names: list[str],
    metrics: Mapping[str, float],
    evaluator: ClassificationEvaluator,
    pictures: Mapping[str, np.ndarray],
) -> None:
    """Writes `metrics.json`, `per_class.csv`, `confusion.png` and other pictures.

    Args:
      folder: an existing directory.
      class_names: by label.
      metrics: what the evaluation gave, by name.
      evaluator: has seen the whole evaluation set.
      pictures: uint8 `[height, width, 3]` by name.
    """
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    confusion = confusion_picture(evaluator.confusion, class_names)
    for name, picture in {**pictures, "confusion": confusion}.items():
        save_png(folder / f"{name}.png", picture)
    with (folder / "per_class.csv").open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["class", "examples", "accuracy"])
        support = evaluator.confusion.sum(axis=1)
        rows.writerows(zip(class_names, support, evaluator.per_class_accuracy(), strict=True))
