"""Whole images of any size, one at a time: few compiled sizes, every image measured or named."""

import csv
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from etils import epath

from common.config import require
from common.data.images import CorruptImage
from common.errors import TooLarge, UserError
from common.kept_results import KeptResults
from common.task import Dataset


class PaddedSizes:
    """The sizes that images are padded to before a program sees them, which compiles each once.

    Args:
      multiple: of every padded side.
      few: pad further, to sides of 1, 1.25, 1.5 or 1.75 times a power of two multiples, so that
        photos of all sizes share few programs; a side grows by less than a quarter. Otherwise to
        the next multiple.
    """

    def __init__(self, multiple: int, *, few: bool = False):
        self.multiple, self._few = multiple, few

    def __call__(self, height: int, width: int) -> tuple[int, int]:
        """Returns the padded height and width of an image."""
        return self._side(height), self._side(width)

    def _side(self, side: int) -> int:
        count = -(-side // self.multiple)
        if self._few:
            step = max(1 << (count - 1).bit_length() >> 3, 1)  # a quarter of the octave below
            count = -(-count // step) * step
        return count * self.multiple


class Measured(NamedTuple):
    """Rows of the table, and the names and reasons of what was left out."""

    rows: list[dict[str, Any]]
    left_out: list[dict[str, str]]


def measure_images(
    dataset: Dataset,
    measure: Callable[[str, dict[str, Any]], dict[str, Any]],
    table: epath.Path,
    columns: Sequence[str],
    *,
    take: Callable[[dict[str, Any]], None] = lambda found: None,
    kept: KeptResults | None = None,
    progress: Callable[[int], None] = lambda images: None,
) -> Measured:
    """Measures every image of a data set at its own size, and writes a table.

    Args:
      dataset: a source, and what turns its examples into whole images.
      measure: from an example's name and what the transform made of it to what is found: `row`, a
        row of JSON values, and whatever else `take` needs.
      table: CSV file to write, row by row under a temporary name.
      columns: of the table.
      take: gets what is found in every image, in their order.
      kept: of some images, which are not measured again; gets what is found in the others.
      progress: called with the number of images done after every one that was not kept.

    Returns:
      The rows; an example that can't be read is left out and named.

    Raises:
      UserError: nothing could be measured.
    """
    source, rows, left_out = dataset.source, [], []
    if kept is not None and kept.found:
        kept.say_going_on(kept.found, len(source), "images")
    temporary = table.parent / f".{table.name}.tmp"
    with temporary.open("w") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for i in range(len(source)):
            there = found = None if kept is None else kept.get(i)
            try:
                found = found or measure(source.name(i), dataset.transform(source[i]))
            except (CorruptImage, TooLarge) as error:  # not kept: it may be mended
                left_out.append({"name": source.name(i), "reason": str(error)})
            else:
                take(found)
                rows.append(found["row"])
                shown = rows[-1].items()
                writer.writerow({k: f"{v:.6g}" if type(v) is float else v for k, v in shown})
                file.flush()
                if kept is not None and there is None:
                    kept.keep(i, found)
            if there is None:  # a pace is that of the work alone
                progress(i + 1)
    if not rows:
        temporary.unlink()
        reason = "{name}: {reason}".format(**left_out[0]) if left_out else "there are none"
        raise UserError(f"nothing could be measured ({reason})")
    temporary.replace(table)
    return Measured(rows, left_out)


class Extremes:
    """Keeps the cases with the lowest and the highest values, and no others.

    Args:
      count: of each.
    """

    def __init__(self, count: int):
        require(count > 0, f"count={count} must be positive")
        self._count = count
        self._lowest: list[tuple[float, Any]] = []
        self._highest: list[tuple[float, Any]] = []
        self._sides = ((self._lowest, 1), (self._highest, -1))

    def wants(self, value: float) -> bool:
        """Whether the value is among the extremes so far."""
        return any(self._is_extreme(value, cases, sign) for cases, sign in self._sides)

    def take(self, value: float, case: Any) -> None:
        """Keeps a case if its value is among the extremes so far."""
        for cases, sign in self._sides:
            if self._is_extreme(value, cases, sign):
                cases.append((value, case))
                cases.sort(key=lambda other, sign=sign: sign * other[0])
                del cases[self._count :]

    @property
    def lowest(self) -> list[Any]:
        """Cases from the lowest value up."""
        return [case for _, case in self._lowest]

    @property
    def highest(self) -> list[Any]:
        """Cases from the highest value down."""
        return [case for _, case in self._highest]

    def _is_extreme(self, value: float, cases: list[tuple[float, Any]], sign: int) -> bool:
        return len(cases) < self._count or sign * value < sign * cases[-1][0]
