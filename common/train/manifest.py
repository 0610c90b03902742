"""Checksums of a checkpoint's files: bit flips in stored arrays would restore silently wrong.

The manifest has the format of `sha256sum`: `sha256sum --check SHA256SUMS` inside the folder. Its
first line, a comment there, counts the others, since nothing else would tell that some are gone.
"""

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from etils import epath

from common.weights.refusals import is_hollow

MANIFEST = "SHA256SUMS"
# What Orbax writes when all else is there: times, and the mark of completion.
_NOT_COVERED = {MANIFEST, "_CHECKPOINT_METADATA", "commit_success.txt"}
_BLOCK = 1 << 22
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
_LINE = re.compile(rb"([0-9a-f]{64})  (.+)")


def write_manifest(folder: epath.Path) -> None:
    """Writes the checksums of all files of a folder, as the last of them."""
    names = sorted(set(_names(folder)) - _NOT_COVERED)
    lines = [f"{digest}  {name}" for name, digest in _digests(folder, names).items()]
    temporary = folder / f".{MANIFEST}.tmp"
    temporary.write_text("\n".join([_header(len(lines)), *lines, ""]))
    temporary.replace(folder / MANIFEST)


def find_damage(folder: epath.Path, only: str | None = None) -> str | None:
    """Returns what is wrong with a folder whose manifest was written, None if nothing is.

    Files that came later don't matter: file systems, desktops and editors leave theirs.

    Args:
      folder: a checkpoint.
      only: read this file alone, of those in the manifest.
    """
    try:
        if not _is_file(folder / MANIFEST):
            return f"{MANIFEST} is missing"
        header, *lines = (folder / MANIFEST).read_bytes().splitlines() or [b""]
        if _LINE.fullmatch(header):  # of a run from before there was one
            lines = [header, *lines]
            header = _header(len(lines)).encode()
        lines = [_LINE.fullmatch(line) for line in lines]
        if header != _header(len(lines)).encode() or not all(lines):
            return f"{MANIFEST} is damaged"
        expected = {line[2].decode(errors="replace"): line[1].decode() for line in lines}
        if only is not None:
            expected = {only: expected.get(only)}
        if missing := [name for name in expected if not _is_file(folder / name)]:
            return f"{min(missing)} is missing"
        digests = _digests(folder, sorted(expected))
    except OSError as error:
        # A disk that goes bad; a file that was removed while it was read.
        if error.errno not in (errno.EIO, errno.ENOENT):
            raise
        return f"a file can't be read: {error.strerror}"
    wrong = [name for name in digests if digests[name] != expected[name]]
    return f"{wrong[0]} differs from its checksum" if wrong else None


def _is_file(path: epath.Path) -> bool:
    """Not a folder, a pipe, a device, a link to nowhere or an empty giant in a file's place."""
    if "://" in str(path):
        return path.is_file()
    try:
        info = os.stat(path)
        return stat.S_ISREG(info.st_mode) and not is_hollow(info)
    except ValueError:  # a name with a zero in it
        return False
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        return False


def _header(count: int) -> str:
    return f"# {count} files"


def _names(folder: epath.Path) -> Iterator[str]:
    """Names of all files but hidden ones, which are not Orbax's, relative to the folder."""
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from (f"{path.name}/{name}" for name in _names(path))
        else:
            yield path.name


def _digests(folder: epath.Path, names: list[str]) -> dict[str, str]:
    def digest(name: str) -> str:
        checksum = hashlib.sha256()
        with (folder / name).open("rb") as file:
            while block := file.read(_BLOCK):
                checksum.update(block)
        return checksum.hexdigest()

    with ThreadPoolExecutor(8) as pool:
        return dict(zip(names, pool.map(digest, names), strict=True))
