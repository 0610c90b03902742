"""What the numbers in outputs mean: that of data compared with that of a run or of weights.

Classes are matched by their names: data that has them in another order is numbered anew.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import logging

from common.data.class_folders import class_difference
from common.data.renumbered import is_another_order
from common.errors import UserError

if TYPE_CHECKING:
    from common.task import Task


def match_labels(task: "Task", place: str, stored: Mapping[str, Any]) -> None:
    """Has a task's data mean by its numbers what a run or weights mean; see `match_order`.

    Raises:
      UserError: the data has other classes, with the difference.
    """
    match_order(task, place, stored)
    if "class_names" in stored:
        require_same_labels(place, stored, task.labels())


def match_order(task: "Task", place: str, stored: Mapping[str, Any]) -> None:
    """Numbers a task's classes as a run or weights do, if they are the same, and logs it.

    Args:
      task: whose data is asked.
      place: where the stored labels are from, for messages.
      stored: with `class_names`, if anything is known.

    Raises:
      UserError: the stored ones are damaged.
    """
    names = stored_names(place, stored)
    if names is not None and is_another_order(names, task.labels().get("class_names", ())):
        task.number_classes(names)
        logging.info("classes in another order than in %s: matched by name", place)


def require_same_labels(place: str, stored: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raises UserError unless classes mean what they did.

    Args:
      place: where the stored ones are from, for the message.
      stored: with `class_names`, if anything is known.
      found: what a task's data says, as `Task.labels`.
    """
    old, new = stored_names(place, stored), found.get("class_names")
    if old is not None and new is not None and old != list(new):
        raise UserError(
            f"{place} has other classes than the data: {_difference(old, new)}; use data with the"
            " classes that it was made for"
        )


def require_as_many(place: str, num_classes: int, found: Mapping[str, Any]) -> None:
    """Raises UserError unless data has as many classes as a model.

    Args:
      place: the model's weights, for the message.
      num_classes: of the model.
      found: what a task's data says, as `Task.labels`.
    """
    count = len(found["class_names"])
    if count != num_classes:
        raise UserError(
            f"{place} tells {num_classes} classes apart, the data has {count}: use data with the"
            " classes that it was made for"
        )


def stored_names(place: str, stored: Mapping[str, Any]) -> list[str] | None:
    """Returns the stored names of classes, if there are any.

    Raises:
      UserError: they are damaged: no list of texts.
    """
    names = stored.get("class_names")
    texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if names is None or texts:
        return names
    raise UserError(f"the names of classes stored in {place} are damaged: no list of texts")


def unknown_to_run(place: str, stored: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Returns lines on what a run is too old to keep, so that the data may be read in another way.

    Args:
      place: the run.
      stored: what it keeps (`common.train.run_directory.read_labels`).
      found: what a task's data says, as `Task.labels`.
    """
    lines = []
    if "class_names" in found and "class_names" not in stored:
        lines.append(
            f"note: {place} keeps no names of its classes: numbers get those that the data has now"
        )
    if found.get("held_out") not in (None, stored.get("held_out")):
        lines.append(
            f"note: {place} was trained before images were held out {found['held_out']}: some that"
            " are evaluated now were trained on"
        )
    return lines


def _difference(old: Sequence[str], new: Sequence[str]) -> str:
    """Says where two lists differ first, and which names only one has."""
    pairs = enumerate(zip(old, new, strict=False))
    first = [f"number {i} is {a!r} there and {b!r} here" for i, (a, b) in pairs if a != b][:1]
    counts = [f"{len(old)} there and {len(new)} here"] * (len(old) != len(new))
    return "; ".join([*first, *counts, class_difference(old, new)])
