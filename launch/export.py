"""Writes a trained model as a file that other runtimes read.

    python -m launch.export --workdir=runs/digits --to=onnx --output=digits.onnx
    python -m launch.export --model=caformer_s18 --weights=caformer_s18.pth --to=stablehlo \\
        --output=caformer.zip
    python -m launch.export --workdir=runs/seg --to=savedmodel --output=seg --size=512,1024

`--to` is `onnx` (onnxruntime, OpenVINO), `stablehlo` (JAX alone) or `savedmodel` (TensorFlow).
What is written takes any number of images, of any sides that suit the model, unless `--batch` and
`--size` fix them; it normalises them itself. Class names, how photos are prepared, and what inputs
and outputs mean stand in the file. docs/export.md has a reader for each format.
"""

import dataclasses
from pathlib import Path

import jax
from absl import flags

from common.config import require
from common.errors import UserError
from common.export import onnx, saved_model, stablehlo
from common.program import Program
from common.unfinished import scratch_folder
from launch.main import run_main
from launch.tasks import job_of_flags

_FORMATS = {"onnx": onnx, "stablehlo": stablehlo, "savedmodel": saved_model}

_MODEL = flags.DEFINE_string("model", None, "Model name, such as caformer_s18.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Weights: a path, an address or a name.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Run to take the model from, instead of these two.")
_TO = flags.DEFINE_enum("to", None, list(_FORMATS), "Format to write.")
_OUTPUT = flags.DEFINE_string("output", None, "File (or folder: savedmodel) to write.")
_SIZE = flags.DEFINE_list(
    "size", None, "Side of images in pixels, or their height and width: 512,1024."
)
_BATCH = flags.DEFINE_integer("batch", None, "Images at once, always so many.", lower_bound=1)


def main(argv: list[str]) -> None:
    """Exports what the flags say."""
    del argv
    output, writer = Path(_OUTPUT.value), _FORMATS[_TO.value]
    require(not output.exists(), f"--output: {output} exists already: choose another or remove it")
    suffix = f"--to={_TO.value} writes a file like {output.with_suffix(writer.SUFFIX)}"
    require(not writer.SUFFIX or output.suffix == writer.SUFFIX, f"--output={output}: {suffix}")
    program = _program()
    _check_sides(program)
    try:
        with scratch_folder(output) as folder:
            writer.write(folder / output.name, program)
            (folder / output.name).rename(output)
    except (OSError, UserError):
        raise
    except Exception as error:  # whatever a converter says of what it doesn't know
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        others = "other formats may take it" if _TO.value != "stablehlo" else "please report it"
        raise UserError(f"--to={_TO.value} can't write this model ({reason}); {others}") from error
    for name, given in program.inputs.items():
        print(f"input {name}: {given.dtype} [{', '.join(map(str, given.shape))}]")
    for name, meaning in program.outputs.items():
        print(f"output {name}: {meaning}")
    print(f"wrote {output} ({_TO.value})")


def _program() -> Program:
    """What the flags name, of the shapes that they give."""
    name, weights, job = job_of_flags(_WORKDIR.value, _MODEL.value, _WEIGHTS.value)
    program = job.program(name, weights, _size())
    program = dataclasses.replace(program, info={"task": job.kind, "model": name, **program.info})
    return program if _BATCH.value is None else program.of_batch(_BATCH.value)


def _check_sides(program: Program) -> None:
    """Traces the program: sides that it can't work with, or can't leave open, end here."""
    try:
        jax.eval_shape(program, program.abstract_inputs())
    except (jax.errors.JAXTypeError, jax.errors.InconclusiveDimensionOperation) as error:
        sides = [side for given in program.inputs.values() for side in given.shape[1:3]]
        multiples = [int(s.rpartition("*")[0] or 1) for s in sides if isinstance(s, str)]
        if not multiples:
            raise
        size = ",".join(str(side * max(1, 512 // side)) for side in multiples)
        raise UserError(
            f"{program.info['model']} needs to know the sides of images: give --size, such as"
            f" --size={size}"
        ) from error


def _size() -> tuple[int, int] | None:
    """Height and width that the flag gives."""
    if _SIZE.value is None:
        return None
    text = ",".join(_SIZE.value)
    sides = f"--size={text}: a side in pixels, or a height and a width such as 512,1024"
    require(len(_SIZE.value) in (1, 2) and all(map(str.isdecimal, _SIZE.value)), sides)
    height, width = (int(side) for side in (_SIZE.value * 2)[:2])
    require(min(height, width) > 0, sides)
    return height, width


if __name__ == "__main__":
    flags.mark_flags_as_required(["to", "output"])
    run_main(main)
