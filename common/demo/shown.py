"""What a page shows of a result, whatever the job: lines, files, comparisons, bars and tables.

Jobs make them and know no page; `page.js` draws each by its `kind`.
"""

import base64
import mimetypes
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Line(NamedTuple):
    """A line of text above all else."""

    text: str

    def to_json(self) -> dict[str, Any]:
        """Returns what the page gets."""
        return {"kind": "line", "text": self.text}


class File(NamedTuple):
    """A file to save; images are shown too.

    Attributes:
      name: with a suffix that says what it is.
      content: of the file.
    """

    name: str
    content: bytes

    def to_json(self) -> dict[str, Any]:
        """See `Line`."""
        return {"kind": "file", "name": self.name, "url": _url(self.name, self.content)}


class Comparison(NamedTuple):
    """Two images of one size, with a slider between them.

    Attributes:
      before: content of a PNG file.
      after: the same.
      name: of the file that `after` is saved as.
    """

    before: bytes
    after: bytes
    name: str

    def to_json(self) -> dict[str, Any]:
        """See `Line`."""
        before, after = (_url(self.name, content) for content in (self.before, self.after))
        return {"kind": "comparison", "name": self.name, "before": before, "after": after}


class Bar(NamedTuple):
    """One of `Bars`.

    Attributes:
      name: beside it.
      share: its length, 0..1.
      color: red, green and blue, 0..255; None: that of the page.
    """

    name: str
    share: float
    color: Sequence[int] | None = None


class Bars(NamedTuple):
    """Shares as bars: probabilities, a legend, a histogram."""

    title: str
    bars: Sequence[Bar]

    def to_json(self) -> dict[str, Any]:
        """See `Line`."""
        bars = [
            {
                "name": bar.name,
                "share": float(bar.share),
                "color": None if bar.color is None else [int(value) for value in bar.color],
            }
            for bar in self.bars
        ]
        return {"kind": "bars", "title": self.title, "bars": bars}


class Table(NamedTuple):
    """Rows by column, as `common.predict.Predictor.rows` has them."""

    rows: Sequence[Mapping[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """See `Line`."""
        columns = list(dict.fromkeys(column for row in self.rows for column in row))
        rows = [[str(row.get(column, "")) for column in columns] for row in self.rows]
        return {"kind": "table", "columns": columns, "rows": rows}


Shown = Line | File | Comparison | Bars | Table


def _url(name: str, content: bytes) -> str:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
