"""Writes the model table of the README from the code; `--check` fails when it is stale.

Run from the root of a clone: the golden errors are measured with the reference data of the tests.
"""

import math
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from jax import numpy as jnp

import maxvit_jax

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- models: python -m launch.model_table -->", "<!-- end of models -->"
SIZE = 224

# Full-size reference outputs per model: of the official code, of timm.
GOLDEN = {
    "maxvit_tiny": ("tf_tiny_224", "timm_maxvit_tiny_tf_224"),
    "maxvit_small": (None, "timm_maxvit_small_tf_224"),
    "maxvit_base": (None, "timm_maxvit_base_tf_224"),
    "maxvit_large": (None, "timm_maxvit_large_tf_224"),
    "maxvit_xlarge": (None, "timm_maxvit_xlarge_tf_224"),
}


def main() -> None:
    """Writes or checks the table."""
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    if sys.argv[1:] == ["--check"]:
        sys.exit(_stale(old))
    README.write_text(f"{before}{BEGIN}\n{_table()}\n{END}{after}")


def count_macs(model: Any, size: int) -> int:
    """Counts multiply-adds of all products and convolutions for one image.

    Args:
      model: a linen module on `[batch, height, width, 3]`.
      size: side of the image in pixels.

    Returns:
      The sum over `dot_general` and `conv_general_dilated`; element-wise work is not counted.
    """
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    return _macs(jax.make_jaxpr(model.apply)(variables, images).jaxpr)


def _macs(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        out = math.prod(equation.outvars[0].aval.shape)
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += out * math.prod(left[axis] for axis in contracted)
        elif equation.primitive.name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            features = equation.params["dimension_numbers"].rhs_spec[0]
            total += out * math.prod(kernel) // kernel[features]
        else:  # of a choice by platform, the plain formulation, which has the products
            total += max((_macs(inner) for inner in _inner_jaxprs(equation)), default=0)
    return total


def _inner_jaxprs(equation: Any) -> Iterator[Any]:
    for value in equation.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            inner = getattr(item, "jaxpr", item)
            if hasattr(inner, "eqns"):
                yield inner


def golden_error(name: str, case_name: str) -> float:
    """Returns the largest difference of a logit from a stored reference output."""
    from tests.golden.cases import load_case

    case = load_case(case_name)
    with tempfile.TemporaryDirectory() as folder:
        path = case.write_checkpoint(f"{folder}/{case_name}.npz", "npz")
        model, variables = maxvit_jax.load_pretrained(name, path)
    logits = jax.jit(model.apply)(variables, case.images())
    return case.differences({"logits": logits})["logits"]


def _table() -> str:
    lines = [
        f"| model | parameters | multiply-adds at {SIZE} | published top-1 at 224 / 384 / 512 |"
        " largest logit error against official / timm |",
        "| --- | ---: | ---: | --- | --- |",
    ]
    for name in maxvit_jax.list_models():
        errors = [
            f"{_round_up(golden_error(name, case)):.0e}" if case else "-" for case in GOLDEN[name]
        ]
        lines.append(f"{_facts(name)} {' / '.join(errors)} |")
    return "\n".join(lines)


def _facts(name: str) -> str:
    """The part of a row that is the same on every machine."""
    model = maxvit_jax.create_model(name)
    images = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    parameters = sum(x.size for x in jax.tree.leaves(variables["params"]))
    families = maxvit_jax.FAMILIES.values()
    published = next((f.published[name] for f in families if name in f.published), {})
    accuracy = " / ".join(f"{value:.2f} %" for value in published.values()) or "none"
    macs = count_macs(model, SIZE)
    return f"| `{name}` | {parameters:,} | {macs / 1e9:.2f} G | {accuracy} |"


def _stale(table: str) -> str | int:
    """Returns what is stale, 0 if nothing: facts are equal, errors no larger than written."""
    for name in maxvit_jax.list_models():
        row = next((r for r in table.splitlines() if r.startswith(f"| `{name}` |")), "")
        if not row.startswith(_facts(name)):
            return f"README.md: the row of {name} is stale; run python -m launch.model_table"
        written = [float(x) for x in re.findall(r"\de-\d+", row)]
        cases = [case for case in GOLDEN[name] if case]
        for limit, case in zip(written, cases, strict=True):
            if (error := golden_error(name, case)) > limit:
                return f"README.md: {name} is off by {error:.1e} in {case}, {limit:.0e} is written"
    return 0


def _round_up(value: float) -> float:
    """To the next of 1, 2, 5 times a power of ten: errors differ a little between machines."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)


if __name__ == "__main__":
    main()
