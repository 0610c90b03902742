"""Locks of files, which end with the process that holds them, however it ends."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from typing import TextIO

from etils import epath

from common.errors import UserError
from common.photo_names import shown
from common.regular_files import in_place

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@contextlib.contextmanager
def locked(place: epath.PathLike, target: epath.PathLike, *, wait: bool = False) -> Iterator[bool]:
    """Holds a file's lock until the block or the process ends.

    Gives whether it does: some file systems, and buckets, have no locks.

    Args:
      place: the file, which is made with its folder; whoever holds it may remove it.
      target: what it stands for, to be named in a message.
      wait: for another process that has it.

    Raises:
      UserError: another process has it, or no file is at its place.
    """
    if "://" in str(place):
        yield False
        return
    while True:
        with _opened(epath.Path(place)) as file:
            held = True
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                message = f"{shown(target)} is being written by another process: wait for it"
                raise UserError(message) from None
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                held = False
            if _is_at(file, place):  # else whoever had it removed it
                yield held
                return


def _opened(place: epath.Path) -> TextIO:
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        return open(place, "a", opener=in_place)
    except FileNotFoundError:  # the folder has been removed since
        place.parent.mkdir(parents=True, exist_ok=True)
        return open(place, "a", opener=in_place)


def _is_at(file: TextIO, place: epath.PathLike) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), os.stat(place))
    return False
