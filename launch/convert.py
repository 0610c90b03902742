"""Converts weights: `python -m launch.convert --model=maxvit_tiny --input=PATH --output=DIR`.

Reads anything that `load_pretrained` reads (TensorFlow checkpoint, .npz, .safetensors, .pth, our
own directory, a run) and writes our own format. With a classifier go how its images are prepared
and the names of its classes, where a run or a directory brings them along; `--image_size=384` says
that the weights were fine-tuned at another size than the model's first.

`--to=official` writes what official code reads instead: of MaxViT and MOAT a TensorFlow checkpoint
(the output is its prefix), of MetaFormer a PyTorch state dict, of MAXIM an .npz. `--to=timm`
(MaxViT, PoolFormer and its V2, ConvFormer, CAFormer) and `--to=torch` (MAXIM) write a PyTorch state
dict too: safetensors, or by PyTorch where the output ends in .pth.
"""

import dataclasses
from types import ModuleType
from typing import Any

import jax
from absl import flags
from flax import linen as nn

import maxim_jax
import maxvit_jax
from common.config import require
from common.errors import UserError, did_you_mean
from launch.benchmark import IN_TIMM
from launch.main import run_main
from maxvit_jax.data_defaults import data_of_weights, published_fields

_MODEL = flags.DEFINE_string("model", None, "Name of the model, such as moat_0 or maxim_s2.")
_INPUT = flags.DEFINE_string("input", None, "Weights to read.")
_OUTPUT = flags.DEFINE_string("output", None, "Directory, file or prefix to write.")
_TARGETS = ["safetensors", "official", "timm", "torch"]
_TO = flags.DEFINE_enum("to", "safetensors", _TARGETS, "What to write.")
_NUM_CLASSES = flags.DEFINE_integer(
    "num_classes", None, "Other than the input's: a fresh classifier; 0: no head."
)
_WINDOW_SIZE = flags.DEFINE_integer("window_size", None, "Resizes relative-bias tables (MaxViT).")
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
    package = _package(name)
    ours = to == "safetensors"
    sources = () if ours else _sources(package, name)
    if not ours and to not in sources:
        has = f"has names by {', '.join(sources)}" if sources else "is published by nobody else"
        raise UserError(f"--to={to} does not apply: {name} {has}")
    classifier = package is maxvit_jax
    require(classifier or image_size is None, f"--image_size does not apply: {name} takes any")
    if classifier:
        overrides = published_fields(name, image_size) | overrides
    model, variables, report = package.load_with_report(name, source, **overrides)
    if to == "timm" and getattr(model, "bias_window_size", None):
        # timm keeps tables of the window in use; ours may wait for the forward pass.
        overrides["bias_window_size"] = None
        model, variables, report = package.load_with_report(name, source, **overrides)

    if ours:
        info = _info(name, source, model, image_size) if classifier else {}
        package.save_pretrained(output, model, variables, **info)
    else:
        from common.weights.writers import write_npz, write_state_dict, write_tensorflow

        arrays = package.export_weights(model, variables, to)
        official = {"maxim": write_npz, "maxvit": write_tensorflow, "moat": write_tensorflow}
        family = next(f for f, entry in package.FAMILIES.items() if name in entry.variants)
        write = official.get(family, write_state_dict) if to == "official" else write_state_dict
        write(output, arrays)

    leaves = jax.tree.leaves(variables)
    weights = {n: v for n, v in variables.items() if n != "batch_stats"}
    parameters = sum(a.size for a in jax.tree.leaves(weights))
    if package is maxim_jax:
        ends = f"{model.num_supervision_scales} supervision scales"
    else:
        ends = f"{model.num_classes} classes"
    return (
        f"read {report}\n"
        f"{name}: {len(leaves)} arrays, {parameters:,} parameters, {ends}\n"
        f"wrote {output} ({to})"
    )


def _info(name: str, source: str, model: nn.Module, image_size: int | None) -> dict[str, Any]:
    """What our format says about a classifier's images and classes; what follows from the model's
    name alone is not stored."""
    data, class_names = data_of_weights(name, source, image_size)
    info = {}
    if data != maxvit_jax.data_defaults(name):
        info["preprocessing"] = dataclasses.asdict(data)
    if class_names and len(class_names) == model.num_classes:
        info["class_names"] = list(class_names)
    return info


def _sources(package: ModuleType, name: str) -> list[str]:
    """Whose names `--to` can give the weights of a model."""
    family = next(entry for entry in package.FAMILIES.values() if name in entry.variants)
    tables = family.weights.tables(package.create_model(name))
    return [s for s in tables if s in _TARGETS and (s != "timm" or name.startswith(IN_TIMM))]


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
    size = _IMAGE_SIZE.value
    print(convert(_MODEL.value, _INPUT.value, _OUTPUT.value, _TO.value, size, **overrides))


if __name__ == "__main__":
    flags.mark_flags_as_required(["model", "input", "output"])
    run_main(main)
