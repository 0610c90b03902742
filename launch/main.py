"""What all mains share: flags, and one clear line for a user's mistakes."""

import errno
import itertools
import logging as stdlib_logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from common.errors import UserError, did_you_mean
from launch.config_files import with_config_files

_SMALLEST_KEPT = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
_ROOT = Path(__file__).parent.parent
_PACKAGES = ("common", "launch", "maxim_jax", "maxvit_jax")
# Their failures reach us as exceptions.
_TOLD_BETTER = {"asyncio", "huggingface_hub", "orbax", "tensorflow_datasets"}

# What the operating system says when a path is the user's mistake or the disk is full.
_ENVIRONMENT = {
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOENT,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}


def run_main(main: Callable[[list[str]], None], default_config: str | None = None) -> None:
    """Parses the flags, runs `main`, and exits: 0 done, 2 a user's mistake, 130 interrupted.

    A user's mistake (UserError, a path that can't be used, a flag or config field that doesn't
    exist) prints one line; any other exception is a bug and shows its traceback.

    Args:
      main: takes the arguments that are no flags.
      default_config: config file to use when the command line names none.
    """
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().setFormatter(_PlainFormatter())
    logging.get_absl_handler().addFilter(_worth_showing)

    def guarded(argv: list[str]) -> None:
        try:
            main(argv)
        except UserError as error:
            fail(str(error))
        except OSError as error:
            if error.errno not in _ENVIRONMENT:
                raise
            fail(f"can't use {error.filename}: {error.strerror}" if error.filename else str(error))
        except KeyboardInterrupt:
            sys.stdout.flush()
            os._exit(130)  # not sys.exit, as in `fail`

    try:
        argv = with_config_files(sys.argv)
    except UserError as error:
        fail(str(error))
    if default_config and not any(arg.partition("=")[0] == "--config" for arg in argv):
        argv.insert(1, f"--config={default_config}")
    app.run(guarded, argv, flags_parser=_parse_flags)


def fail(message: str) -> None:
    """Prints one line and exits with status 2."""
    logging.flush()
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.stderr.flush()
    # Not sys.exit: threads of the data pipeline and Orbax, and JAX for other processes, may wait.
    sys.stdout.flush()
    os._exit(2)


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
        rest = flags.FLAGS(argv)
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
    if UserError.__name__ in last:  # raised by get_config, whose traceback came as text
        return last.partition(": ")[2]
    for arg in argv:
        if arg.startswith("--config."):
            node, parent = _config_of(argv), "config"
            for key in arg.removeprefix("--config.").partition("=")[0].split("."):
                if key not in getattr(node, "keys", list)():
                    fields = getattr(node, "keys", list)()
                    return f"{parent} has no field {key!r}: {did_you_mean(key, fields)}"
                node, parent = node[key], f"{parent}.{key}"
    return last


def _config_of(argv: list[str]) -> ConfigDict:
    """The config file of a command line, without the overrides that could not be applied."""
    for arg, following in itertools.pairwise([*argv, ""]):
        flag, equals, value = arg.partition("=")
        if flag == "--config":
            return flags.FLAGS["config"].parser.parse(value if equals else following)
    return ConfigDict()


def load_config(holder: flags.FlagHolder) -> ConfigDict:
    """Returns the value of a config flag.

    Raises:
      UserError: the file can't be read.
    """
    try:
        holder.value.keys()
    except OSError as error:  # raised on first use
        name = config_flags.get_config_filename(flags.FLAGS[holder.name])
        raise UserError(f"can't use config file {name}: {error.__cause__}") from error
    return holder.value
