"""Converts weights: `python -m launch.convert --model=maxvit_tiny --input=PATH --output=DIR`.

Reads anything that `maxvit_jax.load_pretrained` reads (TensorFlow checkpoint, .npz, .safetensors,
.pth, our own directory, a run) and writes our own format. `--to=timm` writes a timm state dict
instead (safetensors, or by PyTorch where the output ends in .pth), `--to=official` a TensorFlow
checkpoint under the official names (the output is its prefix).
"""

from typing import Any

import jax
from absl import flags

import maxvit_jax
from launch.main import run_main

_MODEL = flags.DEFINE_string("model", None, "Name of the model, such as maxvit_tiny.")
_INPUT = flags.DEFINE_string("input", None, "Weights to read.")
_OUTPUT = flags.DEFINE_string("output", None, "Directory, file or prefix to write.")
_TO = flags.DEFINE_enum("to", "safetensors", ["safetensors", "timm", "official"], "What to write.")
_NUM_CLASSES = flags.DEFINE_integer(
    "num_classes", None, "Other than the input's: a fresh classifier; 0: no head."
)
_WINDOW_SIZE = flags.DEFINE_integer("window_size", None, "Resizes relative-bias tables.")


def convert(name: str, source: str, output: str, to: str = "safetensors", **overrides: Any) -> str:
    """Reads weights and writes them in another format.

    Args:
      name: of the model.
      source: anything that `load_pretrained` reads.
      output: directory (our format), file (timm) or prefix (official) to make.
      to: `"safetensors"`, `"timm"` or `"official"`.
      **overrides: fields of the model.

    Returns:
      What became of the arrays, in lines to print.

    Raises:
      UserError: the input can't be read or doesn't fit the model, or the output is taken.
    """
    model, variables, report = maxvit_jax.load_with_report(name, source, **overrides)
    if to == "timm" and getattr(model, "bias_window_size", None):
        # timm keeps tables of the window in use; ours may wait for the forward pass.
        overrides["bias_window_size"] = None
        model, variables, report = maxvit_jax.load_with_report(name, source, **overrides)

    if to == "safetensors":
        maxvit_jax.save_pretrained(output, model, variables)
    else:
        from common.weights.writers import write_state_dict, write_tensorflow

        write = write_state_dict if to == "timm" else write_tensorflow
        write(output, maxvit_jax.export_weights(model, variables, to))

    leaves = jax.tree.leaves(variables)
    parameters = sum(a.size for a in jax.tree.leaves(variables["params"]))
    return (
        f"read {report}\n"
        f"{name}: {len(leaves)} arrays, {parameters:,} parameters, {model.num_classes} classes\n"
        f"wrote {output} ({to})"
    )


def main(argv: list[str]) -> None:
    """Converts what the flags say."""
    del argv
    asked = {"num_classes": _NUM_CLASSES.value, "window_size": _WINDOW_SIZE.value}
    overrides = {name: value for name, value in asked.items() if value is not None}
    print(convert(_MODEL.value, _INPUT.value, _OUTPUT.value, _TO.value, **overrides))


if __name__ == "__main__":
    flags.mark_flags_as_required(["model", "input", "output"])
    run_main(main)
