"""Writes the tables of models and checkpoints from the code; `--check` fails when one is stale.

Run from the root of a clone: the golden errors are measured with the reference data of the tests.
"""

import dataclasses
import functools
import math
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import numpy as jnp

import maxim_jax
import maxvit_jax
from common.registry import BACKBONE_AND_HEAD
from maxim_jax.checkpoints import checkpoint_markdown
from maxvit_jax import checkpoints, detectors, segmenters
from maxvit_jax.models.segmentation import HEADS

ROOT = Path(__file__).parents[2]
COMMAND = "python -m launch.tools.model_table"
MAXIM_SIZE = 256
SEGMENTED_SIZE, DETECTED_SIZE = 512, 640
# Rows of the table of segmentation models: the smaller ones of every family.
SEGMENTERS = (
    *("maxvit_tiny", "maxvit_small", "tiny_moat_0", "moat_0", "aewin_tiny"),
    *("poolformer_s12", "poolformer_s36", "caformer_s18", "convformer_s18"),
)

# Of the table of detectors.
DETECTORS = ("maxvit_tiny", "tiny_moat_0", "moat_0", "aewin_tiny", "poolformer_s12", "caformer_s18")
DETECTOR_HEADS = ("retinanet", "mask_rcnn", "cascade_mask_rcnn")

# README's rows by name pattern: title, and what mixes positions.
FAMILY_ROWS = {
    "maxvit_*": ("MaxViT", "convolution, then window and grid attention"),
    "moat_*": ("MOAT", "convolution, then global or window attention"),
    "tiny_moat_*": ("tiny-MOAT", "the same, for small devices"),
    "aewin_*": ("AEWin", "attention in rows, columns and windows at once"),
    "caformer_*": ("CAFormer", "convolution, in deep stages attention"),
    "convformer_*": ("ConvFormer", "separable convolution"),
    "poolformer_*": ("PoolFormer", "average pooling"),
    "poolformerv2_*": ("PoolFormerV2", "average pooling, newer blocks"),
    "randformer_*": ("RandFormer", "random matrices, in deep stages"),
    "identityformer_*": ("IdentityFormer", "nothing but downsampling"),
}

# Stored outputs of the official code and of timm, per family and model.
GOLDEN_CASES = {
    "maxvit": {
        name: ("tf_tiny_224" if name == "maxvit_tiny" else None, f"timm_{name}_tf_224")
        for name in maxvit_jax.list_models("maxvit_*")
    },
    "moat": {"tiny_moat_0": ("tiny_moat0_224",)},
    "metaformer": {
        "poolformer_s12": ("poolformer_s12_224", "timm_poolformer_s12_224"),
        "caformer_s18": ("caformer_s18_224", "timm_caformer_s18_224"),
        "convformer_s18": ("convformer_s18_224", None),
    },
}


@dataclasses.dataclass(frozen=True)
class GeneratedTable:
    """A Markdown table between two marks of a file.

    Attributes:
      file: relative to the root.
      title: in the marks.
      header: its first two lines.
      facts: per row, the cells that are the same on every machine.
      cases: per row, the golden cases whose errors are the last cell; None for one that is missing.
      error: of a row and a case.
    """

    file: str
    title: str
    header: str
    facts: Mapping[str, str]
    cases: Mapping[str, Sequence[str | None]] = dataclasses.field(default_factory=dict)
    error: Callable[[str, str], float] | None = None

    @property
    def begin(self) -> str:
        """The mark before the table."""
        return f"<!-- {self.title}: {COMMAND} -->"

    @property
    def end(self) -> str:
        """The mark after it."""
        return f"<!-- end of {self.title} -->"

    def write(self) -> None:
        """Replaces the table in its file."""
        lines = [self.header]
        for name, facts in self.facts.items():
            errors = [
                f"{_round_up(self.error(name, case)):.0e}" if case else "-"
                for case in self.cases.get(name, ())
            ]
            lines.append(f"{facts} {' / '.join(errors)} |" if errors else facts)
        path = ROOT / self.file
        before, _, rest = path.read_text().partition(self.begin)
        _, _, after = rest.partition(self.end)
        table = "\n".join(lines)
        path.write_text(f"{before}{self.begin}\n{table}\n{self.end}{after}")

    def stale(self) -> str | None:
        """Returns what is stale, if anything: facts are equal, errors no larger than written."""
        _, _, rest = (ROOT / self.file).read_text().partition(self.begin)
        lines = rest.partition(self.end)[0].strip().splitlines()
        header = self.header.splitlines()
        rows = lines[len(header) :]
        if lines[: len(header)] != header or len(rows) != len(self.facts):
            return f"{self.file}: {self.title} are stale; run {COMMAND}"
        for row, (name, facts) in zip(rows, self.facts.items(), strict=True):
            limits = [float(x) for x in re.findall(r"\de-\d+", row.removeprefix(facts))]
            cases = [case for case in self.cases.get(name, ()) if case]
            if not row.startswith(facts) or len(limits) != len(cases):
                return f"{self.file}: the row of {name} is stale; run {COMMAND}"
            for limit, case in zip(limits, cases, strict=True):
                if (error := self.error(name, case)) > limit:
                    return f"{self.file}: {name} is off by {error:.1e} in {case}, not {limit:.0e}"
        return None


def main() -> None:
    """Writes or checks the tables."""
    for table in tables():
        if sys.argv[1:] == ["--check"]:
            if problem := table.stale():
                sys.exit(problem)
        else:
            table.write()


def tables() -> Iterator[GeneratedTable]:
    """Every generated table."""
    yield families_table()
    yield from map(family_table, maxvit_jax.FAMILIES)
    yield maxim_table()
    yield published_table()
    yield weights_table()
    yield segmentation_table()
    yield detection_table()


def families_table() -> GeneratedTable:
    """One row per kind of classifier."""
    facts = {}
    for pattern, (title, mixing) in FAMILY_ROWS.items():
        names = maxvit_jax.list_models(pattern)
        sizes = sorted(costs(name).parameters for name in names)
        best = [max(row.values()) for name in names if (row := _published(name))]
        facts[title] = (
            f"| {title} | {len(names)} | `{pattern}` | {mixing} |"
            f" {_millions(sizes[0])} to {_millions(sizes[-1])} |"
            f" {min(best):.1f} % to {max(best):.1f} % |"
        )
    return GeneratedTable(
        "README.md",
        "models",
        "| family | models | names | positions are mixed by | parameters | published top-1 |\n"
        "| --- | ---: | --- | --- | ---: | ---: |",
        facts,
    )


def family_table(family: str) -> GeneratedTable:
    """All variants of a family, with errors against reference implementations."""
    names = list(maxvit_jax.FAMILIES[family].variants)
    facts = {}
    for name in names:
        cost = costs(name)
        published = [f"{value} % at {size}" for size, value in _published(name).items()]
        facts[name] = (
            f"| `{name}` | {cost.parameters:,} | {cost.macs / 1e9:.2f} G at {cost.size} |"
            f" {', '.join(published) or '-'} |"
        )
    cases = GOLDEN_CASES.get(family, {})
    width = max(map(len, cases.values()), default=0)
    errors = {1: "official", 2: "official / timm"}.get(width)
    title = maxvit_jax.FAMILIES[family].model.__name__
    return GeneratedTable(
        "docs/models.md",
        f"{title} models",
        "| model | parameters | multiply-adds | published top-1 |"
        + f" largest logit error against {errors} |" * bool(errors)
        + "\n| --- | ---: | ---: | --- |"
        + " --- |" * bool(errors),
        facts,
        cases={name: cases.get(name, (None,) * width) for name in names},
        error=golden_error,
    )


def maxim_table() -> GeneratedTable:
    """MAXIM's variants, with errors against the official code."""
    facts = {}
    for name in maxim_jax.list_models():
        model = maxim_jax.create_model(name)
        side = model.size_multiple
        variables = abstract_variables(model, side)
        one_scale = abstract_variables(model.clone(num_supervision_scales=1), side)
        facts[name] = (
            f"| `{name}` | {count_parameters(variables):,} | {count_parameters(one_scale):,} |"
            f" {count_macs(model, variables, MAXIM_SIZE) / 1e9:.2f} G |"
        )
    cases = {"maxim_s2": "S-2_128x192", "maxim_s3": "S-3_128x128"}
    return GeneratedTable(
        "README.md",
        "MAXIM models",
        "| model | parameters, 3 scales | parameters, 1 scale |"
        f" multiply-adds at {MAXIM_SIZE}, 3 scales |"
        " largest error against official, over the output's deviation |\n"
        "| --- | ---: | ---: | ---: | --- |",
        facts,
        cases={name: (cases.get(name),) for name in facts},
        error=maxim_golden_error,
    )


def published_table() -> GeneratedTable:
    """The published MAXIM checkpoints."""
    header, rule, *rows = checkpoint_markdown().splitlines()
    names = [row.split(" | ")[1] for row in rows]
    facts = dict(zip(names, rows, strict=True))
    return GeneratedTable("docs/maxim_checkpoints.md", "checkpoints", f"{header}\n{rule}", facts)


def weights_table() -> GeneratedTable:
    """The published classifiers by name."""
    header, rule, *rows = checkpoints.checkpoint_markdown().splitlines()
    facts = {row.split(" | ")[0]: row for row in rows}
    return GeneratedTable("docs/weights.md", "weights", f"{header}\n{rule}", facts)


def segmentation_table() -> GeneratedTable:
    """What backbones cost under each head."""
    facts = {}
    for name in SEGMENTERS:
        cells = []
        for head in HEADS:
            model = segmenters.create_model(f"{name}{BACKBONE_AND_HEAD}{head}")
            backbone = model.make_backbone()
            part = model.make_head(backbone)
            inner = _features_cost(name, backbone)
            strides = backbone.feature_strides
            maps = {
                n: jax.ShapeDtypeStruct(
                    (1, *(-(-SEGMENTED_SIZE // strides[n]),) * 2, backbone.feature_widths[n]),
                    jnp.float32,
                )
                for n in strides
                if n.startswith("stage_")
            }
            variables = jax.eval_shape(
                functools.partial(part.init, train=False), jax.random.key(0), maps
            )
            run = functools.partial(part.apply, train=False)
            parameters = inner.parameters + count_parameters(variables)
            macs = inner.macs + _macs(jax.make_jaxpr(run)(variables, maps).jaxpr)
            cells.append(f"{_millions(parameters)}, {macs / 1e9:.0f} G")
        facts[name] = f"| `{name}` | {' | '.join(cells)} |"
    return GeneratedTable(
        "docs/segmentation.md",
        "segmenters",
        f"| backbone | {' | '.join(f'`{head}`' for head in HEADS)} |\n"
        f"| --- |{' ---: |' * len(HEADS)}",
        facts,
    )


def detection_table() -> GeneratedTable:
    """What backbones cost under each detector."""
    facts = {}
    for name in DETECTORS:
        cells = []
        for head in DETECTOR_HEADS:
            model = detectors.create_model(f"{name}{BACKBONE_AND_HEAD}{head}")
            variables = abstract_variables(model, DETECTED_SIZE)
            macs = count_macs(model, variables, DETECTED_SIZE)
            parameters = count_parameters(variables)
            cells.append(f"{_millions(parameters)}, {macs / 1e9:.0f} G")
        facts[name] = f"| `{name}` | {' | '.join(cells)} |"
    return GeneratedTable(
        "docs/detection.md",
        "detectors",
        f"| backbone | {' | '.join(f'`{head}`' for head in DETECTOR_HEADS)} |\n"
        f"| --- |{' ---: |' * len(DETECTOR_HEADS)}",
        facts,
    )


@functools.cache
def _features_cost(name: str, backbone: Any) -> "Costs":
    """Of a backbone without its classifier."""
    images = jax.ShapeDtypeStruct((1, SEGMENTED_SIZE, SEGMENTED_SIZE, 3), jnp.float32)
    init = functools.partial(backbone.init, method="features")
    variables = jax.eval_shape(init, jax.random.key(0), images)
    run = functools.partial(backbone.apply, method="features")
    macs = _macs(jax.make_jaxpr(run)(variables, images).jaxpr)
    return Costs(count_parameters(variables), macs, SEGMENTED_SIZE)


class Costs(NamedTuple):
    """Parameters (frozen ones included), and multiply-adds for one image of some side."""

    parameters: int
    macs: int
    size: int


@functools.cache
def costs(name: str) -> Costs:
    """Returns what a classifier costs at the size that it was first published for."""
    size = maxvit_jax.data_defaults(name).image_size
    model = maxvit_jax.create_model(name)
    variables = abstract_variables(model, size)
    return Costs(count_parameters(variables), count_macs(model, variables, size), size)


def abstract_variables(model: Any, size: int) -> dict[str, Any]:
    """Returns the shapes of the variables of a linen module on `[batch, size, size, 3]`."""
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), images)


def count_parameters(variables: dict[str, Any]) -> int:
    """Counts parameters, those that are never trained included."""
    parts = (variables["params"], variables.get("constants", {}))
    return sum(x.size for x in jax.tree.leaves(parts))


def count_macs(model: Any, variables: dict[str, Any], size: int) -> int:
    """Counts multiply-adds of all products and convolutions for one image.

    Args:
      model: a linen module on `[batch, height, width, 3]`.
      variables: its variables or their shapes.
      size: side of the image in pixels.

    Returns:
      The sum over `dot_general` and `conv_general_dilated`; element-wise work is not counted.
    """
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
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
    """Returns the largest difference of a classifier's logit from a stored reference output."""
    from tests.golden.cases import load_case

    family = next(key for key, f in maxvit_jax.FAMILIES.items() if name in f.variants)
    case = load_case(case_name, family)
    with tempfile.TemporaryDirectory() as folder:
        path = case.write_checkpoint(f"{folder}/{case_name}.npz", "npz")
        model, variables = maxvit_jax.load_pretrained(name, path)
    logits = jax.jit(model.apply)(variables, case.images())
    return case.differences({"logits": logits})["logits"]


def maxim_golden_error(name: str, case_name: str) -> float:
    """Returns the largest difference of a MAXIM from stored reference outputs of all stages and
    scales, in units of each output's standard deviation."""
    from tests.golden.cases import load_maxim_case, named_outputs

    case = load_maxim_case(case_name)
    with tempfile.TemporaryDirectory() as folder:
        path = case.write_checkpoint(f"{folder}/{case_name}.npz", "npz")
        model, variables = maxim_jax.load_pretrained(name, path)
    outputs = named_outputs(jax.jit(model.apply)(variables, case.images()))
    errors = case.differences(outputs)
    return max(error / float(np.std(case.expected[n].value)) for n, error in errors.items())


def _published(name: str) -> Mapping[int, float]:
    for family in maxvit_jax.FAMILIES.values():
        if name in family.published:
            return family.published[name]
    return {}


def _millions(parameters: int) -> str:
    return f"{parameters / 1e6:.1f} M" if parameters < 1e7 else f"{parameters / 1e6:.0f} M"


def _round_up(value: float) -> float:
    """To the next of 1, 2, 5 times a power of ten: errors differ a little between machines."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)


if __name__ == "__main__":
    main()
