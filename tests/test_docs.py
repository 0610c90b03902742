"""What the documentation's commands and calls name is there."""

import dataclasses
import functools
import importlib
import re
from pathlib import Path

import pytest

from launch.tasks import TASKS

ROOT = Path(__file__).parent.parent
PAGES = {str(p.relative_to(ROOT)): p for p in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]}
DEFINED = re.compile(r"(?:DEFINE_\w+\(\s*\"|add_argument\(\s*\"--)(\w+)\"")
COMMAND = re.compile(r"(?:python -m|mpirun.*) (launch\.[\w.]+)((?:[^\n`|&]|\\\n)*)")
NAME = re.compile(r"\b((?:maxvit_jax|maxim_jax|common)(?:\.\w+)+)")
OF_JOBS = {
    field.name
    for task in TASKS.values()
    for options in (
        task.report_options,
        task.source_options,
        task.predict_options,
        task.explain_options,
    )
    for field in dataclasses.fields(options)
}


@functools.cache
def flags_of(command):
    """Flags that a main's own file, and what it imports of `launch`, defines."""
    folders = (ROOT, ROOT / "launch" / "tools")
    places = [f / (command.replace(".", "/") + ".py") for f in folders]
    places.append(folders[1] / (command.removeprefix("launch.") + ".py"))
    source = next(place for place in places if place.is_file()).read_text()
    names = set(DEFINED.findall(source))
    if "JobFlags" in source:
        names |= OF_JOBS
    return names


@functools.cache
def fields_of(recipe):
    stem, _, argument = recipe.partition(":")
    module = importlib.import_module(f"configs.{Path(stem).stem}")
    config = module.get_config(argument) if argument else module.get_config()
    return {".".join(path) for path in _paths(config)}


def _paths(config, above=()):
    for key, value in config.items():
        yield (*above, key)
        if hasattr(value, "items"):
            yield from _paths(value, (*above, key))


def commands(page):
    text = PAGES[page].read_text().replace("\\\n", " ")
    return [(match[1], match[2]) for match in COMMAND.finditer(text)]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_commands_have_their_flags_recipes_and_fields(page):
    text = PAGES[page].read_text()
    for command, rest in commands(page):
        if " --input --" in rest and command == "launch.benchmark":
            beside = "_peers" if "--compare" in rest else ""
            command = f"launch.benchmark_input{beside}"  # mains of their own behind that flag
        flags = flags_of(command)
        for flag in re.findall(r" --(\w+)", rest):
            name = flag.removeprefix("no")
            assert {flag, name} & {*flags, "config", "input"}, f"{command} --{flag}"
        recipe = re.search(r"--config=(configs/[\w./]+(?::[\w=,]+)?)", rest)
        if not recipe or f"<!-- tests/launch/{Path(recipe[1]).name} -->" in text:
            continue  # none, or one that the page itself writes
        assert (ROOT / recipe[1].partition(":")[0]).is_file(), recipe[1]
        for field in re.findall(r"--config\.([\w.]+)", rest):
            assert field in fields_of(recipe[1]), f"{recipe[1]}: {field}"


@pytest.mark.parametrize("page", PAGES)
def test_links_are_encrypted_addresses_or_files_that_are_there(page):
    text = re.sub(r"```.*?```", "", PAGES[page].read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)]*)\)", text):
        if ":" in target:
            assert re.fullmatch(r"https://[\w.-]+\.[a-z]+(/[!-~]*)?", target), f"{page}: {target}"
        elif path := target.partition("#")[0]:
            places = [PAGES[page].parent / path, PAGES[page].parent.parent / path]  # of the site
            assert any(place.exists() for place in places), f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES)
def test_names_of_python_are_there(page):
    for name in NAME.findall(PAGES[page].read_text()):
        parts = name.split(".")
        for end in range(len(parts), 0, -1):
            try:
                found = importlib.import_module(".".join(parts[:end]))
            except ModuleNotFoundError:
                continue
            functools.reduce(getattr, parts[end:], found)
            break
        else:
            pytest.fail(f"{page}: {name}")
