"""Checksums of a checkpoint's files: bit flips in stored arrays would restore silently wrong.

The manifest has the format of `sha256sum`: `sha256sum --check SHA256SUMS` inside the folder.
"""

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from etils import epath

MANIFEST = "SHA256SUMS"
# What Orbax writes when all else is there: times, and the mark of completion.
_NOT_COVERED = {MANIFEST, "_CHECKPOINT_METADATA", "commit_success.txt"}
_BLOCK = 1 << 22


def write_manifest(folder: epath.Path) -> None:
    """Writes the checksums of all files of a folder, as the last of them."""
    digests = _digests(folder, _files(folder))
    lines = [f"{digest}  {name}\n" for name, digest in digests.items()]
    temporary = folder / f".{MANIFEST}.tmp"
    temporary.write_text("".join(lines))
    temporary.replace(folder / MANIFEST)


def find_damage(folder: epath.Path) -> str | None:
    """Returns what is wrong with a folder whose manifest was written, None if nothing is."""
    path = folder / MANIFEST
    if not path.exists():
        return f"{MANIFEST} is missing"
    lines = [re.fullmatch(rb"([0-9a-f]{64})  (.+)", x) for x in path.read_bytes().splitlines()]
    if not all(lines):
        return f"{MANIFEST} is damaged"
    expected = {line[2].decode(errors="replace"): line[1].decode() for line in lines}
    found = set(_files(folder))
    for kind, names in (("missing", expected.keys() - found), ("extra", found - expected.keys())):
        if names:
            return f"{min(names)} is {kind}"
    digests = _digests(folder, sorted(found))
    wrong = [name for name in digests if digests[name] != expected[name]]
    return f"{wrong[0]} differs from its checksum" if wrong else None


def _files(folder: epath.Path) -> list[str]:
    """Names of the files that a manifest covers, relative to the folder."""
    return sorted(set(_names(folder)) - _NOT_COVERED)


def _names(folder: epath.Path) -> Iterator[str]:
    for path in folder.iterdir():
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
