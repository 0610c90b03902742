"""What all mains share: flags, and one clear line for a user's mistakes."""

import errno
import itertools
import logging as stdlib_logging
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from common.advice import for_command
from common.errors import UserError, did_you_mean
from common.photo_names import shown
from launch.config_files import last_of_each, with_config_files

_SMALLEST_KEPT = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
_ROOT = Path(__file__).parent.parent
_PACKAGES = ("common", "launch", "maxim_jax", "maxvit_jax")
# Their failures reach us as exceptions.
_TOLD_BETTER = {"asyncio", "huggingface_hub", "orbax", "tensorflow_datasets"}

# What the operating system says when a path is the user's mistake or the disk is full.
_ENVIRONMENT = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EEXIST,
    errno.EFBIG,
    errno.EIO,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.ENOTEMPTY,
    errno.EPERM,
    errno.EROFS,
}

# `--config.init.weights=None`: flags of numbers take no None, and those of texts take it for one.
_NONE = re.compile(r"--(\w+)\.([\w.]+)=None")
_BUG = os.EX_SOFTWARE  # 70


def run_main(main: Callable[[list[str]], None], default_config: str | None = None) -> None:
    """Parses the flags, runs `main`, and exits.

    The status is 0 when all is done, 1 from mains that could not do some of many files, 2 for a
    user's mistake (UserError, a path that can't be used, a flag or config field that doesn't
    exist), which prints one line, 70 for any other exception, which is a bug and shows its
    traceback, and 130 when interrupted.

    Args:
      main: takes the arguments that are no flags.
      default_config: config file to use when the command line names none.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # names of files may be no text
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().setFormatter(_PlainFormatter())
    logging.get_absl_handler().addFilter(_worth_showing)

    for_command()

    def guarded(argv: list[str]) -> None:
        try:
            main(argv)
        except UserError as error:
            fail(str(error))
        except OSError as error:
            if error.errno not in _ENVIRONMENT:
                raise
            fail(f"can't use {shown(error.filename or _written())}: {error.strerror}")
        except KeyboardInterrupt:
            sys.stdout.flush()
            os._exit(130)  # not sys.exit, as in `fail`
        except Exception:
            traceback.print_exc()
            leave(_BUG)

    try:
        argv = last_of_each(with_config_files(sys.argv))
    except UserError as error:
        fail(str(error))
    if default_config and not any(arg.partition("=")[0] == "--config" for arg in argv):
        argv.insert(1, f"--config={default_config}")
    app.run(guarded, argv, flags_parser=_parse_flags)


def fail(message: str) -> None:
    """Prints one line and exits with status 2."""
    logging.flush()
    line = UserError(" ".join(message.split()))  # absl's messages too are cut and escaped
    print(f"error: {line}", file=sys.stderr)
    leave(2)


def leave(status: int) -> None:
    """Ends the process with that exit status, whatever its threads do."""
    # Not sys.exit: threads of the data pipeline and Orbax, and JAX for other processes, may wait.
    sys.stderr.flush()
    sys.stdout.flush()
    os._exit(status)


def _written() -> str:
    """Where the command line has results go, for errors that name no file, as of a full disk."""
    given = flags.FLAGS.flag_values_dict()
    return next((given[name] for name in ("output", "workdir") if given.get(name)), "a file")


def compilation_cache() -> None:
    """Keeps compiled programs across runs, where JAX_COMPILATION_CACHE_DIR says or in ~/.cache.

    Small ones too: a run's initial values come from dozens of them (common/train/fresh.py).
    """
    if _SMALLEST_KEPT not in os.environ:
        jax.config.update(_SMALLEST_KEPT.lower(), 0.0)
    if not jax.config.jax_compilation_cache_dir:
        folder = Path.home() / ".cache" / "multi-axis-jax"
        jax.config.update("jax_compilation_cache_dir", str(folder))


def _worth_showing(record: stdlib_logging.LogRecord) -> bool:
    """Our own messages, and the warnings of others but those that our messages say better."""
    path = Path(record.pathname)
    if path.is_relative_to(_ROOT) and path.relative_to(_ROOT).parts[0] in _PACKAGES:
        return True
    return record.levelno >= stdlib_logging.WARNING and not _TOLD_BETTER & set(path.parts)


class _PlainFormatter(logging.PythonFormatter):
    def format(self, record) -> str:
        prefix = "" if record.levelno <= 20 else f"{record.levelname.lower()}: "
        return prefix + record.getMessage()


def _parse_flags(argv: list[str]) -> list[str]:
    app.define_help_flags()
    if not {"-h", "--help"}.isdisjoint(argv):  # absl knows no -h, and calls help a failure
        app.usage(shorthelp=True, writeto_stdout=True)
        sys.exit()
    try:
        rest = flags.FLAGS([arg for arg in argv if not _NONE.fullmatch(arg)])
    except flags.UnrecognizedFlagError as error:
        fail(str(error).splitlines()[0])
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        fail(_explain(error, argv))
    if len(rest) > 1:
        fail(f"unexpected argument {rest[1]!r}: options start with --")
    return rest


def _explain(error: Exception, argv: list[str]) -> str:
    """One line for what went wrong in a config file or an override of one of its fields."""
    last = str(error).strip().splitlines()[-1]
    if absent := re.search(r"--(\w+) must have a value other than None", last):
        return f"--{absent[1]} is missing"
    if UserError.__name__ in last:  # raised by get_config, with its traceback before it
        return last.rpartition(f"{UserError.__name__}: ")[2]
    for arg in argv:
        if arg.startswith("--config."):
            field = arg.removeprefix("--config.").partition("=")[0]
            if unknown := _unknown_field(_config_of(argv), field):
                return unknown
    return last


def _unknown_field(config: ConfigDict, field: str) -> str:
    """Says which part of a name such as `"data.root"` there isn't; the empty string if all are."""
    node, parent = config, "config"
    for key in field.split("."):
        fields = getattr(node, "keys", list)()
        if key not in fields:
            return f"{parent} has no field {key!r}: {did_you_mean(key, fields)}"
        node, parent = node[key], f"{parent}.{key}"
    return ""


def _config_of(argv: list[str]) -> ConfigDict:
    """The config file of a command line, without the overrides that could not be applied."""
    for arg, following in itertools.pairwise([*argv, ""]):
        flag, equals, value = arg.partition("=")
        if flag == "--config":
            return flags.FLAGS["config"].parser.parse(value if equals else following)
    return ConfigDict()


def load_config(holder: flags.FlagHolder) -> ConfigDict:
    """Returns the value of a config flag, with what the command line sets.

    Raises:
      UserError: the file can't be read, or has no such field.
    """
    try:
        holder.value.keys()
    except OSError as error:  # raised on first use
        name = config_flags.get_config_filename(flags.FLAGS[holder.name])
        raise UserError(f"can't use config file {name}: {error.__cause__}") from error
    for field in _nones(holder):
        if unknown := _unknown_field(holder.value, field):
            raise UserError(unknown)
        holder.value.update_from_flattened_dict({field: None})
    return holder.value


def overrides(holder: flags.FlagHolder) -> dict[str, Any]:
    """Returns the fields of a config that the command line sets, such as `"data.root"`."""
    return config_flags.get_override_values(flags.FLAGS[holder.name]) | _nones(holder)


def _nones(holder: flags.FlagHolder) -> dict[str, None]:
    found = filter(None, map(_NONE.fullmatch, last_of_each(sys.argv)))
    return {match[2]: None for match in found if match[1] == holder.name}
