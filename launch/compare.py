"""Measures images against their targets, PSNR and SSIM, whatever made them: no model is needed.

    python -m launch.compare --restored=results --target=GoPro/test/target --protocol=gopro \\
        --output=reports/results
    python -m launch.compare --restored=results --target=clean --naming={id}_out:{id} \\
        --output=reports/results

The protocols are those of `launch.evaluate`, see docs/restoration_evaluation.md. The folder
`--output` gets a table of all images and the means.

Exit status: 0 all is measured, 1 some images could not be (they are named), 2 a mistake in the
arguments.
"""

import sys

from absl import flags

from common.data.pair_layouts import LAYOUTS
from common.data.pair_transform import EvalPair
from common.data.pairs import make_pair_source
from common.errors import UserError
from common.progress import ProgressReport
from common.report import fresh_folder
from common.task import Dataset
from launch.main import run_main
from maxim_jax.evaluation import compare_pairs
from maxim_jax.protocols import PROTOCOLS, get_protocol

_RESTORED = flags.DEFINE_string("restored", None, "Folder of images.")
_TARGET = flags.DEFINE_string("target", None, "Folder of what they should look like.")
_NAMING = flags.DEFINE_string(
    "naming",
    "equal",
    f"How pairs are named: {', '.join(LAYOUTS)}, or patterns such as {{id}}_out:{{id}}.",
)
_PROTOCOL = flags.DEFINE_string("protocol", "rgb", f"How to measure: {', '.join(PROTOCOLS)}.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write; an existing one is not touched.")


def main(argv: list[str]) -> None:
    """Measures what the flags say."""
    del argv
    protocol = get_protocol(_PROTOCOL.value)
    pairs = make_pair_source(
        "pairs",
        layout=_NAMING.value,
        input_root=_RESTORED.value,
        target_root=_TARGET.value,
        check=False,  # what is wrong with them is said, and no obstacle
    )
    print(f"to compare: {pairs.summary}")
    problems = [f"{kind}: {file}" for kind, files in pairs.found.items() for file in files]
    place = fresh_folder(_OUTPUT.value)
    try:
        with ProgressReport(len(pairs), unit="image") as progress:
            dataset = Dataset(pairs, EvalPair(size=None))
            summary = compare_pairs(dataset, protocol, place, progress=progress.advance)
    except UserError:
        place.rmdir()
        raise
    print("; ".join(f"{key}: {text}" for key, text in protocol.describe().items() if text))
    for key, mean in summary["mean"].items():
        print(f"{key}: {mean:.4f} (standard deviation {summary['std'][key]:.4f})")
    print(f"{summary['images']:,} images, averaged {summary['averaged']}; the report is in {place}")
    problems += [f"{row['name']}: {row['reason']}" for row in summary["skipped"]]
    for line in problems:
        print(f"left out: {line}", file=sys.stderr)
    if problems:
        sys.exit(1)


if __name__ == "__main__":
    flags.mark_flags_as_required(["restored", "target", "output"])
    run_main(main)
