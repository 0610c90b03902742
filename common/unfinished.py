"""Files and folders that get their names when they are complete.

Until then a temporary name stands beside, the same for whoever writes the same: what a killed
process left is taken over by the next one.
"""

import contextlib
import os
from collections.abc import Iterator

from etils import epath

from common.errors import UserError
from common.file_locks import locked
from common.photo_names import temporary_name


@contextlib.contextmanager
def unfinished_file(path: epath.PathLike) -> Iterator[epath.Path]:
    """Gives a file's temporary name; the file gets its own when the block ends well.

    Another process that writes the same file is waited for.

    Args:
      path: of the file; one that is there is replaced.

    Raises:
      OSError: such as of a full disk; it names the file.
    """
    path = epath.Path(path)
    temporary = path.parent / temporary_name(path)
    with errors_about(path, temporary), locked(temporary, path, wait=True):
        try:
            yield temporary
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def unfinished_folder(path: epath.PathLike) -> Iterator[epath.Path]:
    """Gives an empty folder, which gets its name when the block ends well.

    Args:
      path: of the folder, which isn't there.

    Raises:
      UserError: it is there when the block ends; or see `scratch_folder`, as of OSError.
    """
    with scratch_folder(path) as folder:
        yield folder
        try:
            folder.rename(path)
        except FileExistsError as error:
            message = f"{path} exists already: choose another path or remove it"
            raise UserError(message) from error


@contextlib.contextmanager
def scratch_folder(path: epath.PathLike, *, wait: bool = False) -> Iterator[epath.Path]:
    """Gives an empty folder beside a path, where what will be there is made.

    Args:
      path: of a file or folder.
      wait: for another process that makes the same.

    Raises:
      UserError: another process makes the same.
      OSError: such as of a full disk; it names the path.
    """
    path = epath.Path(path)
    scratch = path.parent / temporary_name(path)
    with errors_about(path, scratch), locked(scratch / "lock", path, wait=wait):
        try:
            folder = scratch / "new"
            if folder.exists():  # a killed process left it
                folder.rmtree()
            folder.mkdir(parents=True)
            yield folder
        finally:
            scratch.rmtree()


def write_bytes(path: epath.PathLike, content: bytes) -> None:
    """Writes a file that is complete or not there."""
    with unfinished_file(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def errors_about(path: epath.PathLike, temporary: epath.PathLike) -> Iterator[None]:
    """Has errors of the system name what is written; those of a full disk name nothing.

    Args:
      path: to be named.
      temporary: what is called so until it is complete.
    """
    try:
        yield
    except OSError as error:
        name = error.filename
        if error.errno and (name is None or os.fsdecode(name).startswith(str(temporary))):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
