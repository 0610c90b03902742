"""What the evaluation of a classifier adds to its report: a table of classes, their confusions."""

import csv

from etils import epath

from common.metrics.classification import ClassificationEvaluator
from common.pictures import confusion_picture, save_png

MOST_PICTURED = 500  # classes; of more the cells would be too small, and the picture too large


def write_tables(
    folder: epath.Path, class_names: list[str], evaluator: ClassificationEvaluator
) -> list[str]:
    """Writes `per_class.csv`, and `confusion.png` where the classes are few enough.

    Args:
      folder: an existing directory.
      class_names: by label.
      evaluator: has seen the whole evaluation set.

    Returns:
      What to say about it.
    """
    with (folder / "per_class.csv").open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["class", "examples", "accuracy"])
        accuracy = evaluator.per_class_accuracy()
        rows.writerows(zip(class_names, evaluator.support, accuracy, strict=True))
    if len(class_names) > MOST_PICTURED:
        return [f"no picture of the confusions: more than {MOST_PICTURED} classes"]
    picture = confusion_picture(evaluator.confusion.toarray(), class_names)
    save_png(folder / "confusion.png", picture)
    return []
