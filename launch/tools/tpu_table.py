"""Compiles the published recipes for TPU pods, and writes the table of what they need.

    python -m launch.tools.tpu_table --results=tpu_plans.jsonl
    python -m launch.tools.tpu_table --results=tpu_plans.jsonl --recipes=maxvit_tiny,moat

No TPU is needed, but `pip install 'multi-axis-jax[tpu-plan]'`, and minutes per recipe. Each one
appends a line to the file of results; the same command goes on where it stopped. Then the table in
docs/scaling.md is written from the file. Run from the root of a clone.
"""

import importlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import flags

from common.config import require
from common.errors import did_you_mean
from common.train.collectives import Collectives, in_words
from launch.main import run_main
from launch.planned_step import PlannedStep, planned_step
from launch.tpu_program import DoesNotFit, TpuProgram, as_json, compile_for
from launch.tpu_topology import CHIPS, Topology, topology

_RESULTS = flags.DEFINE_string("results", None, "File with a JSON line per recipe.")
_RECIPES = flags.DEFINE_list("recipes", None, "Files of configs to compile; all.")

_PAGE = Path("docs/scaling.md")
_BEGIN = "<!-- recipes on TPUs: python -m launch.tools.tpu_table -->"
_END = "<!-- end of recipes on TPUs -->"
_HEADER = (
    "| recipe | pod | batch per device | HBM needed / there, GiB | of it temporaries | moved, GB"
    " (at least, ms) | GFLOP (at least, ms) | collectives | compiled in, s |\n"
    "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | ---: |"
)


class Plan(NamedTuple):
    """A recipe and where it is to run.

    Attributes:
      recipe: file of configs, with its argument.
      topology: pod of the paper where it says one, else one whose devices get 8 to 64 examples.
      fields: of the config that are changed.
    """

    recipe: str
    topology: str
    fields: Mapping[str, Any] = {}


# A part of MAXIM: compiling that alone took nine minutes, beside other work.
_CUT_MAXIM = {"model.num_stages": 1, "model.depth": 2, "model.num_supervision_scales": 2}
PLANS = (
    Plan("maxvit_tiny", "v5e:8x8"),
    Plan("maxvit_base", "v5e:8x8"),
    Plan("moat:variant=moat_0", "v5e:8x8"),
    Plan("caformer:variant=caformer_s18", "v5e:8x8"),
    Plan("poolformer:variant=poolformer_s12", "v5e:4x4"),
    Plan("aewin:variant=aewin_tiny", "v5e:4x4"),
    Plan("maxim_s2_lol", "v5e:4x8", _CUT_MAXIM),
    Plan("poolformer_ade20k:variant=poolformer_s12", "v5e:2x2"),
    Plan("poolformer_coco:variant=poolformer_s12", "v5e:2x2"),
    Plan("hit_imagenet128", "v2:4x4"),
)


def main(argv: list[str]) -> None:
    """Compiles what the file of results lacks, and writes the table."""
    del argv
    jax.config.update("jax_platforms", "cpu")
    known = {plan.recipe.partition(":")[0] for plan in PLANS}
    for name in _RECIPES.value or ():
        require(name in known, f"--recipes: no plan for {name!r}, {did_you_mean(name, known)}")
    path = Path(_RESULTS.value)
    for plan in PLANS:
        wanted = not _RECIPES.value or plan.recipe.partition(":")[0] in _RECIPES.value
        if wanted and key(plan) not in {row["key"] for row in read(path)}:
            print(key(plan), flush=True)
            with path.open("a") as file:
                file.write(json.dumps({"key": key(plan), **compiled(plan)}) + "\n")
    write_table(read(path), _PAGE)


def key(plan: Plan) -> str:
    """What a plan is called in the results and the table."""
    fields = " ".join(f"{name}={value}" for name, value in plan.fields.items())
    return f"{plan.recipe} {plan.topology} {fields}".strip()


def read(path: Path) -> list[dict[str, Any]]:
    """The results so far; a last line that was cut off counts for nothing."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


def compiled(plan: Plan) -> dict[str, Any]:
    """Compiles a recipe; one that doesn't fit in as many parts one after the other as it takes.

    Returns:
      The program's fields; `per_device` examples at once, `steps` times; `alone` is what the
      recipe's own setting needs in bytes, None if it fits.
    """
    pod = topology(plan.topology)
    step, alone = _step(plan, pod, {}), None
    while True:
        try:
            program = compile_for(step, pod)
        except DoesNotFit as error:
            alone = alone or error.needed
            more = step.per_device % 2 == 0
            require(more, f"{key(plan)}: {step.per_device} per device do not fit: {error}")
            steps = {"train.accumulate_steps": 2 * step.accumulate_steps}
            print(f"{error}; trying {steps}", flush=True)
            step = _step(plan, pod, steps)
        else:
            sizes = {"per_device": step.per_device, "steps": step.accumulate_steps, "alone": alone}
            return sizes | as_json(program)


def _step(plan: Plan, pod: Topology, fields: Mapping[str, Any]) -> PlannedStep:
    name, _, argument = plan.recipe.partition(":")
    config = importlib.import_module(f"configs.{name}").get_config(argument)
    config.update_from_flattened_dict({**plan.fields, **fields})
    return planned_step(config.to_dict(), pod.devices)


def write_table(results: list[dict[str, Any]], page: Path) -> None:
    """Replaces the table between its marks in a page."""
    before, _, rest = page.read_text().partition(_BEGIN)
    after = rest.partition(_END)[2]
    table = "\n".join([_HEADER, *rows(results)])
    temporary = page.with_suffix(".tmp")
    temporary.write_text(f"{before}{_BEGIN}\n{table}\n{_END}{after}")
    temporary.replace(page)


def rows(results: list[dict[str, Any]]) -> Iterator[str]:
    """The table's rows, in the order of `PLANS`; recipes without a result have none."""
    by_key = {row["key"]: row for row in results}
    for plan in PLANS:
        if key(plan) in by_key:
            yield _row(plan, dict(by_key[key(plan)]))


def _row(plan: Plan, result: dict[str, Any]) -> str:
    del result["key"]
    per_device, steps, alone = (result.pop(name) for name in ("per_device", "steps", "alone"))
    found = {name: Collectives(*pair) for name, pair in result.pop("collectives").items()}
    program = TpuProgram(**result, collectives=found)
    chip = CHIPS[plan.topology.partition(":")[0]]
    by_bytes, by_flops = program.floors(chip)
    changed = "".join(f", `{name}={value}`" for name, value in plan.fields.items())
    parts = "" if steps == 1 else f", {steps} times"
    whole = "" if alone is None else f" (at once {alone / 2**30:.1f})"
    return (
        f"| `{plan.recipe}`{changed} | {plan.topology} | {per_device}{parts} |"
        f" {program.needed / 2**30:.2f} / {chip.usable_gib:.2f}{whole} |"
        f" {program.temporaries / 2**30:.2f} | {program.bytes / 1e9:,.1f} ({by_bytes:.1f}) |"
        f" {program.flops / 1e9:,.0f} ({by_flops:.1f}) | {in_words(found)} |"
        f" {program.seconds:.0f} |"
    )


if __name__ == "__main__":
    flags.mark_flags_as_required(["results"])
    run_main(main)
