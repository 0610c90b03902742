"""Flags that belong to jobs: made of the dataclasses of options that tasks have."""

import dataclasses
import sys
import types
import typing
from typing import Any

from absl import flags

from common.config import require
from common.task import Task
from launch.tasks import TASKS

_DEFINERS = {str: flags.DEFINE_string, int: flags.DEFINE_integer, float: flags.DEFINE_float}
_DEFINERS[bool] = flags.DEFINE_bool


class JobFlags:
    """The flags of one kind of options, of all jobs there are; define it before flags are parsed.

    Args:
      attribute: of `Task`, such as `report_options`.
    """

    def __init__(self, attribute: str):
        self._attribute = attribute
        self._flags: dict[str, flags.FlagHolder] = {}
        self._jobs: dict[str, list[str]] = {}
        self._types: dict[str, type] = {}
        for kind, task in TASKS.items():
            options = getattr(task, attribute)
            hints = typing.get_type_hints(options)
            for field in dataclasses.fields(options):
                self._jobs.setdefault(field.name, []).append(kind)
                wanted = _plain(hints[field.name])
                if self._types.setdefault(field.name, wanted) is not wanted:
                    jobs = " and ".join(self._jobs[field.name])
                    raise TypeError(f"--{field.name} has one type for {jobs}: rename one's")
                if field.name not in self._flags:
                    default = "" if field.default is None else f" Default: {field.default}."
                    define = _DEFINERS[wanted]
                    text = field.metadata["help"] + default
                    main = sys.argv[0]  # where absl's --help lists them
                    self._flags[field.name] = define(field.name, None, text, module_name=main)

    def options(self, task: type[Task]) -> Any:
        """Returns what the command line says, for a job.

        Raises:
          UserError: a flag that is for other jobs, or a value out of range.
        """
        given = {name: holder.value for name, holder in self._flags.items()}
        given = {name: value for name, value in given.items() if value is not None}
        for name in given:
            jobs = self._jobs[name]
            why = f"it is for {' and '.join(jobs)} models"
            require(task.kind in jobs, f"--{name} does not apply: {why}")
        return getattr(task, self._attribute)(**given)

    def require_unset(self, why: str) -> None:
        """Raises UserError if the command line has any of these flags."""
        for name, holder in self._flags.items():
            require(holder.value is None, f"--{name} does not apply: {why}")


def _plain(hint: Any) -> type:
    """`int` of `int | None`."""
    if isinstance(hint, types.UnionType):
        return next(option for option in typing.get_args(hint) if option is not type(None))
    return hint
