"""Why files are refused before their arrays are read, and what is said of those that can't be."""

import os
import stat
from collections.abc import Collection

from etils import epath

from common.config import require
from common.errors import UserError

_MOST_ARRAYS = 50_000  # the largest models have some thousand; optimizers keep three per weight
_LONGEST_NAME = 500
_SHOWN = 80  # characters of a name, in a message
_MOST_UNPACKED = 100  # times the bytes of the file: weights hardly compress
_KINDS = ((stat.S_ISDIR, "folder"), (stat.S_ISFIFO, "pipe"))
_LARGE = 1 << 30  # bytes
_SMALL = 64 << 20  # bytes that are no danger however small the file is


def damaged(path: epath.PathLike, kind: str, error: Exception) -> UserError:
    """Returns what to raise where a library can't read a file, whatever it raised itself."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    reason = lines[0].strip()[:160]
    if not reason.isprintable() or "weights_only" in reason:  # PyTorch's advice would run code
        reason = ""
    return UserError(
        f"{path} is a damaged {kind} file, get it again ({reason or type(error).__name__})"
    )


def require_plain(path: epath.Path) -> None:
    """Checks that a path is a file whose bytes end, and fit this machine's memory.

    Raises:
      UserError: a folder, a pipe or a device, or too large.
    """
    if "://" not in str(path):  # to epath everything that is no folder is a file
        require(path.exists(), f"{path} does not exist")
        info = os.stat(path)
        kind = next((word for test, word in _KINDS if test(info.st_mode)), "device or socket")
        require(stat.S_ISREG(info.st_mode), f"{path} is no file, but a {kind}")
    require_memory(path, path.stat().length)
    if "://" not in str(path):
        hollow = f"{path} has {info.st_size:,} bytes, of which hardly any were written: refused"
        require(not is_hollow(info), hollow)


def is_hollow(info: os.stat_result) -> bool:
    """Whether a file is large and next to nothing of it is stored: reading gives zeros for long."""
    return info.st_size > _LARGE and info.st_blocks * 512 * _MOST_UNPACKED < info.st_size


def require_memory(path: epath.PathLike, size: int, of_file: int | None = None) -> None:
    """Checks that so many bytes may be taken for a file's content.

    Args:
      path: for the message.
      size: bytes that the content says it has.
      of_file: bytes that are stored, where those are others.

    Raises:
      UserError: there isn't so much memory, or it is far more than is stored.
    """
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    require(size <= most, f"{path} would take {size:,} bytes, this machine has {most:,}: refused")
    if of_file is not None:
        plausible = size <= max(_MOST_UNPACKED * of_file, _SMALL)
        said = f"{path} would have {size:,} bytes unpacked and is {of_file:,} bytes large: refused"
        require(plausible, said)


def require_names(path: epath.PathLike, names: Collection[str]) -> None:
    """Checks that names in a file can be those of a model's arrays.

    Raises:
      UserError: there are too many of them, or one is no readable text.
    """
    none = "these are no weights of a model"
    many = f"{path} holds {len(names):,} arrays, more than {_MOST_ARRAYS:,}: {none}"
    require(len(names) <= _MOST_ARRAYS, many)
    for name in names:
        readable = name.isprintable() and len(name) <= _LONGEST_NAME
        more = f"... ({len(name):,} characters)" if len(name) > _SHOWN else ""
        require(readable, f"{path} names an array {name[:_SHOWN]!a}{more}: {none}")
