"""Recipes by name: `--config=maxvit_digits` means the file of that name in `configs`."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import configs
from common.errors import UserError, did_you_mean


def config_file(value: str) -> str:
    """Returns the config file that a command line means.

    Args:
      value: path of a file, or else the name of a recipe; `:k=v,k=v` may follow.

    Returns:
      The path, followed by what followed.

    Raises:
      UserError: there is neither a file nor a recipe of that name.
    """
    name, colon, arguments = value.partition(":")
    path, recipes = Path(name), _recipes(Path(configs.__file__).parent)
    if not path.is_file():
        if name not in recipes:
            beside = map(str, _recipes(path.parent).values())
            hint = did_you_mean(name, [*recipes, *beside])
            raise UserError(f"no config file and no recipe {name!r}: {hint}")
        path = recipes[name]
    return f"{path}{colon}{arguments}"


def with_config_files(argv: Sequence[str]) -> list[str]:
    """Returns a command line whose `--config` is a file, and where `~` is what it is to a shell.

    Shells leave it alone behind `=`. Raises as `config_file` does.
    """
    found = [with_home(arg) for arg in argv]
    for at, arg in enumerate(found):
        flag, equals, value = arg.partition("=")
        if flag == "--config" and equals:
            found[at] = f"{flag}={config_file(value)}"
        elif flag == "--config" and at + 1 < len(argv):
            found[at + 1] = config_file(found[at + 1])
    return found


def last_of_each(argv: Sequence[str]) -> list[str]:
    """Returns a command line that sets each field of a config once: to what was said last.

    Flags of tuples would join them.
    """
    names = [arg.partition("=")[0] for arg in argv]
    last = {name: at for at, name in enumerate(names)}
    is_field = re.compile(r"--\w+\.")
    return [
        arg
        for at, (arg, name) in enumerate(zip(argv, names, strict=True))
        if last[name] == at or not is_field.match(arg)
    ]


def with_home(arg: str) -> str:
    """Returns `--flag=~/place` with the home directory for `~`; anything else as it is."""
    flag, _, value = arg.partition("=")
    tilde = flag.startswith("--") and value.startswith("~")
    return f"{flag}={os.path.expanduser(value)}" if tilde else arg


def _recipes(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in folder.glob("*.py") if path.stem != "__init__"}
