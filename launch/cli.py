"""The console command `multi-axis`: `multi-axis train ...` is `python -m launch.train ...`."""

import runpy
import sys

from common.errors import UserError, did_you_mean
from common.version import __version__
from launch.config_files import with_config_files

# Modules of `launch` with a main, and what they do.
COMMANDS = {
    "train": "trains a model, or goes on with a run",
    "evaluate": "measures a run or a file of weights, and writes a report",
    "predict": "predicts from photos and videos",
    "restore": "restores photos and videos",
    "compare": "measures photos against others: PSNR and SSIM of two folders",
    "generate": "generates images",
    "convert": "reads weights of one format and writes another",
    "export": "writes a model for other runtimes: StableHLO, ONNX, SavedModel",
    "push": "makes a folder for the Hugging Face Hub of a run",
    "explain": "draws what a model does with photos",
    "probe": "linear probe and nearest neighbours on frozen features",
    "demo": "shows runs on a page in the browser",
    "plan": "memory and FLOPs of a run, without its hardware and data",
    "benchmark": "measures inference and training",
}


def main() -> None:
    """Runs what the command line names; without anything, or with `-h`, lists the commands."""
    command, *arguments = sys.argv[1:] or ["--help"]
    if command in ("-h", "--help"):
        print("\n".join(_help()))
    elif command == "--version":
        print(__version__)
    else:
        try:
            if command not in COMMANDS:
                raise UserError(f"no command {command!r}: {did_you_mean(command, COMMANDS)}")
            # Here too, before the seconds that imports take.
            sys.argv[1:] = with_config_files(arguments)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        runpy.run_module(f"launch.{command}", run_name="__main__", alter_sys=True)


def _help() -> list[str]:
    width = max(map(len, COMMANDS))
    return [
        f"multi-axis {__version__}: vision models in JAX, MaxViT and MAXIM among them",
        "",
        *(f"  multi-axis {name:<{width}}  {what}" for name, what in COMMANDS.items()),
        "",
        "`multi-axis COMMAND --help` tells more. For instance:",
        "",
        "  multi-axis train --config=maxvit_digits --workdir=runs/digits",
        "  multi-axis predict --workdir=runs/digits --input=scans --output=predictions.csv",
    ]
