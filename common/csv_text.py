"""Tables as CSV, whatever names are in them."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Returns rows as lines of CSV, to be encoded with `errors="surrogateescape"`.

    Names of files keep bytes that are no text and read back to the same file; half a character, as
    JSON's `"\\ud800"` in a name of a class, is written as an escape.
    """
    text = io.StringIO(newline="")
    csv.writer(text).writerows([*map(_writable, row)] for row in rows)
    return text.getvalue()


def _writable(cell: Any) -> Any:
    text = str(cell)
    try:
        text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return text.encode(errors="backslashreplace").decode()
    return cell
