"""The page that stands with published weights: what they are, and how to use them."""

import json
import os
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import jax
from etils import epath
from flax import linen as nn

from common.task import Task, Variables
from common.train.run_directory import checkpoint_steps, read_config
from common.train.writer import METRICS_FILE

_TRAINING = "train/"  # how its metrics begin
_RECIPE = ("seed", "model", "task", "data", "optimizer", "schedule", "train")
_SHOWN = 20  # names of classes


def model_card(
    job: type[Task],
    name: str,
    model: nn.Module,
    variables: Variables,
    workdir: str,
    info: Mapping[str, Any],
    license: str,
) -> str:
    """Returns a README with the Hub's front matter, in Markdown.

    Args:
      job: that the run was trained for.
      name: of the model.
      model: the model itself.
      variables: of the model.
      workdir: the run directory.
      info: what is stored with the weights, such as `preprocessing` and `class_names`.
      license: of the weights, by the Hub's name for it.
    """
    package, title = job.package.__name__, epath.Path(workdir).name
    weights = {n: v for n, v in variables.items() if n != "batch_stats"}
    parameters = sum(a.size for a in jax.tree.leaves(weights))
    parts = [
        _front_matter(job, license),
        f"# {title}",
        f"`{name}` trained for {job.kind}, {parameters:,} parameters, {job.package.ends(model)}.",
        "## Use",
        f"```python\nimport {package}\n\nmodel, variables = {package}.load_pretrained("
        f'"{name}", "path/to/this/folder")\n'
        "outputs = model.apply(variables, inputs, train=False)\n```",
        'A folder that is on the Hub is given as `"hf-hub:owner/name"`.',
        *_measured(workdir),
        *_meaning(info),
        "## Recipe",
        f"```json\n{json.dumps(_recipe(workdir), indent=2)}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(job: type[Task], license: str) -> str:
    lines = [f"license: {json.dumps(license)}", "library_name: multi-axis-jax"]
    if job.hub_task:
        lines.append(f"pipeline_tag: {job.hub_task}")
    return "\n".join(["---", *lines, "tags:", "- jax", "- flax", f"- {job.kind}", "---"])


def _measured(workdir: str) -> list[str]:
    """The last evaluation up to the checkpoint that is published."""
    path, last = epath.Path(workdir) / METRICS_FILE, checkpoint_steps(workdir)[-1]
    found: dict[str, Any] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            values = json.loads(line)
        except ValueError:  # the last line of a run that was killed
            continue
        step = values.pop("step", None) if isinstance(values, dict) else None
        measured = {} if step is None else _evaluated(values)
        if measured and step <= last:
            found = {"step": step, **measured}
    if not found:
        return []
    rows = [f"| {metric} | {value} |" for metric, value in found.items()]
    return ["## Measured", "\n".join(["| metric | value |", "| --- | ---: |", *rows])]


def _evaluated(values: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: "-" if value is None else f"{value:.4g}"
        for name, value in values.items()
        if not name.startswith(_TRAINING)
    }


def _meaning(info: Mapping[str, Any]) -> list[str]:
    """How images are prepared, and what classes are."""
    parts = []
    if preparation := info.get("preprocessing"):
        rows = [f"| {key} | {value} |" for key, value in preparation.items()]
        table = "\n".join(["| preparation of images | |", "| --- | --- |", *rows])
        parts += ["## Images", "Mean and deviation are on the scale 0..255.", table]
    if names := info.get("class_names"):
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        parts += ["## Classes", ", ".join(map(str, names[:_SHOWN])) + more + "."]
    return parts


def _recipe(workdir: str) -> dict[str, Any]:
    config = read_config(workdir)
    return {name: _portable(config[name]) for name in _RECIPE if name in config}


def _portable(value: Any) -> Any:
    """Without the folders of this machine."""
    if isinstance(value, dict):
        return {key: _portable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_portable(item) for item in value]
    return PurePath(value).name if isinstance(value, str) and os.path.isabs(value) else value
