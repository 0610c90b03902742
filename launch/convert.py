"""Converts weights: `python -m launch.convert --model=maxvit_tiny --input=PATH --output=DIR`.

Reads anything that `load_pretrained` reads (TensorFlow checkpoint, .npz, .safetensors, .pth, our
own directory, a run) and writes our own format. `--to=official` writes what official code reads
instead: of MaxViT a TensorFlow checkpoint (the output is its prefix), of MAXIM an .npz.
`--to=timm` (MaxViT) and `--to=torch` (MAXIM) write a PyTorch state dict: safetensors, or by PyTorch
where the output ends in .pth.
"""

from types import ModuleType
from typing import Any

import jax
from absl import flags

import maxim_jax
import maxvit_jax
from common.errors import UserError, did_you_mean
from launch.main import run_main

_MODEL = flags.DEFINE_string("model", None, "Name of the model, such as maxvit_tiny or maxim_s2.")
_INPUT = flags.DEFINE_string("input", None, "Weights to read.")
_OUTPUT = flags.DEFINE_string("output", None, "Directory, file or prefix to write.")
_TO = flags.DEFINE_enum(
    "to", "safetensors", ["safetensors", "official", "timm", "torch"], "What to write."
)
_NUM_CLASSES = flags.DEFINE_integer(
    "num_classes", None, "Other than the input's: a fresh classifier; 0: no head."
)
_WINDOW_SIZE = flags.DEFINE_integer("window_size", None, "Resizes relative-bias tables.")


def convert(name: str, source: str, output: str, to: str = "safetensors", **overrides: Any) -> str:
    """Reads weights and writes them in another format.

    Args:
      name: of the model.
      source: anything that `load_pretrained` reads.
      output: directory (our format), file or TensorFlow prefix to make.
      to: `"safetensors"` (our format), `"official"`, `"timm"` (MaxViT) or `"torch"` (MAXIM).
      **overrides: fields of the model.

    Returns:
      What became of the arrays, in lines to print.

    Raises:
      UserError: the input can't be read or doesn't fit the model, or the output is taken.
    """
    package = _package(name)
    model, variables, report = package.load_with_report(name, source, **overrides)
    if to == "timm" and getattr(model, "bias_window_size", None):
        # timm keeps tables of the window in use; ours may wait for the forward pass.
        overrides["bias_window_size"] = None
        model, variables, report = package.load_with_report(name, source, **overrides)

    if to == "safetensors":
        package.save_pretrained(output, model, variables)
    else:
        from common.weights.writers import write_npz, write_state_dict, write_tensorflow

        arrays = package.export_weights(model, variables, to)
        official = write_npz if package is maxim_jax else write_tensorflow
        write = official if to == "official" else write_state_dict
        write(output, arrays)

    leaves = jax.tree.leaves(variables)
    parameters = sum(a.size for a in jax.tree.leaves(variables["params"]))
    if package is maxim_jax:
        ends = f"{model.num_supervision_scales} supervision scales"
    else:
        ends = f"{model.num_classes} classes"
    return (
        f"read {report}\n"
        f"{name}: {len(leaves)} arrays, {parameters:,} parameters, {ends}\n"
        f"wrote {output} ({to})"
    )


def _package(name: str) -> ModuleType:
    packages = {model: p for p in (maxvit_jax, maxim_jax) for model in p.list_models()}
    if name not in packages:
        raise UserError(f"unknown model {name!r}: {did_you_mean(name, packages)}")
    return packages[name]


def main(argv: list[str]) -> None:
    """Converts what the flags say."""
    del argv
    asked = {"num_classes": _NUM_CLASSES.value, "window_size": _WINDOW_SIZE.value}
    overrides = {name: value for name, value in asked.items() if value is not None}
    print(convert(_MODEL.value, _INPUT.value, _OUTPUT.value, _TO.value, **overrides))


if __name__ == "__main__":
    flags.mark_flags_as_required(["model", "input", "output"])
    run_main(main)
