"""Files read and written, but nothing that could make one wait for ever, or that is elsewhere."""

import errno
import os
import stat

from common.errors import UserError
from common.photo_names import shown


def read_file(path: str | os.PathLike) -> bytes:
    """Returns what a file holds.

    Raises:
      OSError: it can't be read; also for a pipe, a socket or a device, which may have no end.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "a pipe or device, not a file", os.fspath(path))
        return file.read()


def in_place(path: str, how: int) -> int:
    """The `opener` of a file to be written under a name that nobody chose.

    What stands there may be of others: a link would have its target overwritten.

    Raises:
      UserError: a link, a pipe, a folder or a device is there.
    """
    try:
        number = os.open(path, how | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise
        raise _in_the_way(path) from error
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise _in_the_way(path)
    return number


def _in_the_way(path: str) -> UserError:
    return UserError(f"{shown(path)} is a link, a folder or no regular file: remove it")


def _without_waiting(path: str, how: int) -> int:
    return os.open(path, how | os.O_NONBLOCK)  # a pipe's `open` waits for who writes to it
