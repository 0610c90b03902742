"""Converts weights: `python -m launch.convert --model=maxvit_tiny --input=PATH --output=DIR`.

Reads anything that `load_pretrained` reads (TensorFlow checkpoint, .npz, .safetensors, .pth, our
own directory, a run, published weights by name) and writes our own format. With a classifier go
how its images are prepared and the names of its classes, where they are known; `--image_size=384`
says that the weights were fine-tuned at another size than the model's first. Of a GAN the generator
alone is written.

`--to=official` writes what official code reads instead: of MaxViT and MOAT a TensorFlow checkpoint
(the output is its prefix), of MetaFormer a PyTorch state dict, of MAXIM and HiT-GAN an .npz.
`--to=timm` (MaxViT, PoolFormer and its V2, ConvFormer, CAFormer) and `--to=torch` (MAXIM) write a
PyTorch state dict too: safetensors, or by PyTorch where the output ends in .pth.
"""

from typing import Any

import jax
from absl import flags

from common.errors import UserError
from common.news import announced
from launch.main import run_main
from launch.tasks import model_and_weights, task_of_model

_MODEL = flags.DEFINE_string("model", None, "Name of the model, such as moat_0 or maxim_s2.")
_INPUT = flags.DEFINE_string("input", None, "Weights to read: a path, an address or a name.")
_OUTPUT = flags.DEFINE_string("output", None, "Directory, file or prefix to write.")
_TARGETS = ["safetensors", "official", "timm", "torch"]
_TO = flags.DEFINE_enum("to", "safetensors", _TARGETS, "What to write.")
_NUM_CLASSES = flags.DEFINE_integer(
    "num_classes", None, "Other than the input's: a fresh classifier; 0: no head."
)
_WINDOW_SIZE = flags.DEFINE_integer("window_size", None, "Resizes relative-bias tables (MaxViT).")
_MIXERS = flags.DEFINE_list("mixers", None, "Of a MetaFormer, where its weights name code.")
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", None, "Side in pixels that a classifier is for.", lower_bound=1
)


def convert(
    name: str,
    source: str,
    output: str,
    to: str = "safetensors",
    image_size: int | None = None,
    **overrides: Any,
) -> str:
    """Reads weights and writes them in another format.

    Args:
      name: of the model.
      source: anything that `load_pretrained` reads.
      output: directory (our format), file or TensorFlow prefix to make.
      to: `"safetensors"` (our format), or whose names: `"official"`, `"timm"` or `"torch"`.
      image_size: side in pixels that a classifier is for, stored in our format.
      **overrides: fields of the model.

    Returns:
      What became of the arrays, in lines to print.

    Raises:
      UserError: the input can't be read or doesn't fit the model, or the output is taken.
    """
    package = task_of_model(name).package
    ours, exports = to == "safetensors", package.exports(name)
    if not ours and to not in exports:
        has = f"has names by {', '.join(exports)}" if exports else "is published by nobody else"
        raise UserError(f"--to={to} does not apply: {name} {has}")
    fields = package.fields_of_weights(name, source, image_size) | overrides
    if not ours:
        fields |= exports[to].fields
    model, variables, report = package.load_with_report(name, source, **fields)
    info = package.stored_info(name, source, model, image_size) if ours else {}
    with announced("writing the weights", "written"):
        if ours:
            package.save_pretrained(output, model, variables, **info)
        else:
            exports[to].write(output, package.export_weights(model, variables, to))

    leaves = jax.tree.leaves(variables)
    weights = {n: v for n, v in variables.items() if n != "batch_stats"}
    parameters = sum(a.size for a in jax.tree.leaves(weights))
    return (
        f"read {report}\n"
        f"{name}: {len(leaves)} arrays, {parameters:,} parameters, {package.ends(model)}\n"
        f"wrote {output} ({to})"
    )


def main(argv: list[str]) -> None:
    """Converts what the flags say."""
    del argv
    asked = {"num_classes": _NUM_CLASSES.value, "window_size": _WINDOW_SIZE.value}
    asked["mixers"] = _MIXERS.value
    overrides = {name: value for name, value in asked.items() if value is not None}
    size = _IMAGE_SIZE.value
    name, source = model_and_weights(_MODEL.value, _INPUT.value)
    print(convert(name, source, _OUTPUT.value, _TO.value, size, **overrides))


if __name__ == "__main__":
    flags.mark_flag_as_required("output")
    run_main(main)
