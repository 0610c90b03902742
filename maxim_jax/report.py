"""The page that an evaluation leaves: one HTML file without links to anything outside."""

from collections.abc import Mapping
from html import escape
from typing import Any

from common.report_page import image, page, table


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
        table(("", "PSNR (dB)", "SSIM"), scores),
        f"<p>{summary['images']:,} images, averaged {escape(summary['averaged'])};"
        " ± is the standard deviation over images. Every image is in per_image.csv.</p>",
    ]
    if "sets" in summary:
        sets = [
            (part, f"{row['images']:,}", f"{row['psnr']:.2f}", f"{row['ssim']:.4f}")
            for part, row in summary["sets"].items()
        ]
        parts += [table(("set", "images", "PSNR (dB)", "SSIM"), sets)]
    if summary["skipped"]:
        rows = [(row["name"], row["reason"]) for row in summary["skipped"]]
        parts += [f"<h2>Pairs left out: {len(rows):,}</h2>", table(("pair", "reason"), rows)]
    for key, data in sheets.items():
        title = key.removesuffix(".png").capitalize()
        parts += [
            f"<h2>{escape(title)} by PSNR</h2>",
            "<p>Each where the restored image is furthest from its target;"
            " numbers are of the whole image.</p>",
            image(data, f"{title} cases: input, restored, target"),
        ]
    parts += ["<h2>Protocol</h2>", table(("", ""), [row for row in protocol.items() if row[1]])]
    return page(name, parts)
