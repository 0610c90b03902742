"""The files in folders, each once however many links lead to it; what is no file is counted."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from common.data.class_folders import TOOLS_FOLDERS

_NOWHERE = "links that lead nowhere"
_TWICE = "links to what is here already"
_UPWARDS = "links to a folder around them"
_SPECIAL = "no regular files"
_CLOSED = "folders that can't be listed"


class FolderFiles(NamedTuple):
    """What a folder and its subfolders hold.

    Attributes:
      files: paths of the regular files but hidden ones, in no order.
      others: kind of what was left out -> how many, such as links that lead nowhere.
    """

    files: list[str]
    others: Counter[str]


def files_in(folder: Path) -> FolderFiles:
    """Returns what a folder holds, as `files_of` does, even if it is a link itself."""
    walk = _Walk(1)
    walk.take_folder(0, str(folder))
    walk.follow_links()
    return walk.found[0]


def files_of(folders: Sequence[Path]) -> list[FolderFiles]:
    """Returns what each of some folders holds, no file twice.

    Links are followed, each file and each folder counts once: where there is no link in its path,
    or else for the first link to it. Hidden files and folders are left out without a word.
    """
    walk = _Walk(len(folders))
    for index, folder in enumerate(folders):
        if os.path.islink(folder):
            walk.linked_folders.append((index, str(folder)))
        else:
            walk.take_folder(index, str(folder))
    walk.follow_links()
    return walk.found


class _Walk:
    """Through so many folders, whose links wait until all that is there without them is known."""

    def __init__(self, count: int):
        self.found = [FolderFiles([], Counter()) for _ in range(count)]
        self.linked_folders: list[tuple[int, str]] = []
        self._linked_files: list[tuple[int, str]] = []
        self._folders: set[tuple[int, int]] = set()
        self._targets: set[str] = set()

    def take_folder(self, index: int, top: str) -> None:
        """Takes files without links in their paths below `top`, and notes the links."""
        files, others = self.found[index]
        below = [top]
        while below:
            folder = below.pop()
            try:
                if (identity := _identity(folder)) in self._folders:
                    others[_TWICE] += 1
                    continue
                self._folders.add(identity)
                with os.scandir(folder) as entries:
                    listed = [entry for entry in entries if not entry.name.startswith(".")]
            except OSError:
                others[_CLOSED] += 1
                continue
            for entry in listed:
                if entry.is_symlink():
                    is_folder = os.path.isdir(entry.path)
                    links = self.linked_folders if is_folder else self._linked_files
                    links.append((index, entry.path))
                elif entry.is_file(follow_symlinks=False):
                    files.append(entry.path)
                elif not entry.is_dir(follow_symlinks=False):
                    others[_SPECIAL] += 1
                elif entry.name in TOOLS_FOLDERS:
                    others[f"folders {entry.name}"] += 1
                else:
                    below.append(entry.path)

    def follow_links(self) -> None:
        """Takes what links lead to and isn't there already: folders, then files."""
        while self.linked_folders:
            links, self.linked_folders = sorted(self.linked_folders), []
            for index, path in links:
                real = os.path.realpath(path)
                around = os.path.realpath(os.path.dirname(path)) + os.sep
                if around.startswith(real.rstrip(os.sep) + os.sep):
                    self.found[index].others[_UPWARDS] += 1
                else:
                    self.take_folder(index, path)
        for index, path in sorted(self._linked_files):
            files, others = self.found[index]
            real = os.path.realpath(path)
            if not os.path.exists(path):
                others[_NOWHERE] += 1
            elif not os.path.isfile(path):
                others[_SPECIAL] += 1
            elif real in self._targets or self._is_taken(real):
                others[_TWICE] += 1
            else:
                self._targets.add(real)
                files.append(path)

    def _is_taken(self, real: str) -> bool:
        folder, name = os.path.split(real)
        return not name.startswith(".") and _identity(folder) in self._folders


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
