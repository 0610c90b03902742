"""Pages that evaluations leave: one HTML file without links to anything outside."""

import base64
import math
from collections.abc import Iterable, Sequence
from html import escape

_STYLE = """
body { font: 15px/1.5 sans-serif; margin: 2em auto; max-width: 60em; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 }
th, td { border-bottom: 1px solid #ddd; padding: .25em .8em; text-align: left }
img { max-width: 100% }
"""


def page(title: str, parts: Sequence[str]) -> str:
    """Returns a complete HTML document.

    Args:
      title: of the window.
      parts: HTML, one under the other.
    """
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style>\n" + "\n".join(parts) + "\n</html>\n"
    )


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Returns a table; a head of empty texts is left out."""
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = [f"<tr>{cells}</tr>"] if cells.replace("<th></th>", "") else []
    for row in rows:
        lines.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
    return "<table>" + "\n".join(lines) + "</table>"


def share(value: float) -> str:
    """Returns a share with four digits, or a dash for NaN: there was nothing to share."""
    return f"{value:.4f}" if math.isfinite(value) else "-"


def image(png: bytes, alt: str) -> str:
    """Returns a PNG file as a picture within the page."""
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return f'<img src="{source}" alt="{escape(alt)}">'
