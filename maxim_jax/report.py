"""The page that an evaluation leaves: one HTML file without links to anything outside."""

import base64
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

_STYLE = """
body { font: 15px/1.5 sans-serif; margin: 2em auto; max-width: 60em; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 }
th, td { border-bottom: 1px solid #ddd; padding: .25em .8em; text-align: left }
img { max-width: 100% }
"""


def report_page(summary: Mapping[str, Any], sheets: Mapping[str, bytes]) -> str:
    """Lays out the summary of `maxim_jax.evaluation.evaluate_pairs`.

    Args:
      summary: what it returns.
      sheets: PNG files by name, shown in order.

    Returns:
      A complete HTML document.
    """
    mean, std, protocol = summary["mean"], summary["std"], dict(summary["protocol"])
    name = protocol.pop("protocol")
    scores = [
        (label, f"{mean[key]:.2f} ± {std[key]:.2f}", f"{mean[other]:.4f} ± {std[other]:.4f}")
        for label, key, other in (
            ("restored", "psnr", "ssim"),
            ("input", "psnr_input", "ssim_input"),
        )
    ]
    parts = [
        f"<h1>Restoration, protocol {escape(name)}</h1>",
        _table(("", "PSNR (dB)", "SSIM"), scores),
        f"<p>{summary['images']:,} images, averaged {escape(summary['averaged'])};"
        " ± is the standard deviation over images. Every image is in per_image.csv.</p>",
    ]
    if "sets" in summary:
        sets = [
            (part, f"{row['images']:,}", f"{row['psnr']:.2f}", f"{row['ssim']:.4f}")
            for part, row in summary["sets"].items()
        ]
        parts += [_table(("set", "images", "PSNR (dB)", "SSIM"), sets)]
    if summary["skipped"]:
        rows = [(row["name"], row["reason"]) for row in summary["skipped"]]
        parts += [f"<h2>Pairs left out: {len(rows):,}</h2>", _table(("pair", "reason"), rows)]
    for key, data in sheets.items():
        title = key.removesuffix(".png").capitalize()
        source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
        parts += [
            f"<h2>{escape(title)} by PSNR</h2>",
            "<p>Each where the restored image is furthest from its target;"
            " numbers are of the whole image.</p>",
            f'<img src="{source}" alt="{escape(title)} cases: input, restored, target">',
        ]
    parts += ["<h2>Protocol</h2>", _table(("", ""), [row for row in protocol.items() if row[1]])]
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(name)}</title>'
        f"<style>{_STYLE}</style>\n" + "\n".join(parts) + "\n</html>\n"
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = [f"<tr>{cells}</tr>"] if cells.replace("<th></th>", "") else []
    for row in rows:
        lines.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
    return "<table>" + "\n".join(lines) + "</table>"
