"""Image files on disk: what they hold, what header and end tell, and lines that name bad ones."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from common.data.crops import image_size, open_array
from common.data.given_array import given_array
from common.data.images import CorruptImage, decode
from common.errors import UserError
from common.regular_files import read_file

# What users give; or what NumPy makes an array of: Pillow's images, JAX's arrays.
Photo = np.ndarray | bytes | str | os.PathLike
IMAGE_WANTED = "give uint8 [height, width, 3], or an image file or its content"
_NAMED = 3  # files of each kind that a message names


def read_content(path: Path) -> bytes | np.ndarray:
    """Returns what a file holds; the pixels of a `.npy` file, memory-mapped.

    Raises:
      CorruptImage: it can't be read.
    """
    if path.suffix.lower() == ".npy":
        return open_array(path)
    try:
        return read_file(path)
    except OSError as error:
        raise CorruptImage(f"{path} can't be read: {error.strerror}") from error


def read_photo(photo: Photo, purpose: str) -> np.ndarray:
    """Returns a photo as uint8 `[height, width, 3]`.

    Args:
      photo: see `Photo`, of any kind and size that `common.data.images.decode` takes.
      purpose: what can't be done with something that is none, such as "segment".

    Raises:
      UserError: it is no image.
    """
    try:
        if isinstance(photo, str | os.PathLike):
            photo = read_file(photo)
        is_whole = isinstance(photo, bytes | Image.Image)
        return decode(photo if is_whole else given_array(photo, IMAGE_WANTED))
    except CorruptImage as error:
        raise UserError(f"can't {purpose} what is no image: {error}") from error


def checked_size(path: Path) -> tuple[int, int] | str:
    """Returns height and width, or why the file can't be read; header and end are looked at."""
    try:
        size = image_size(path)
        if path.suffix.lower() != ".npy" and not _has_end(path):
            decode(read_file(path))
        return size
    except (CorruptImage, OSError) as error:
        return str(error)


def is_turned(path: Path) -> bool:
    """Whether EXIF data exchanges height and width of an image that can be read."""
    if path.suffix.lower() == ".npy":
        return False
    with Image.open(path) as image:
        return image.size != image_size(path)[::-1]


def raise_problems(what: str, found: Mapping[str, Sequence[str]]) -> None:
    """Says in one line what is wrong with which files, if anything is.

    Args:
      what: how the line starts.
      found: kind of problem -> files.

    Raises:
      UserError: counts the problems of each kind and names the first files.
    """
    parts = []
    for kind, files in found.items():
        more = ", ..." if len(files) > _NAMED else ""
        parts.append(f"{len(files)} of kind {kind!r}: {', '.join(files[:_NAMED])}{more}")
    if parts:
        raise UserError(f"{what}; {'; '.join(parts)}; mend or remove these files")


def _has_end(path: Path) -> bool:
    """False if the file may be cut off, which a header doesn't tell; True for other formats."""
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(max(0, path.stat().st_size - 12))
        end = file.read()
    if start.startswith(b"\xff\xd8"):
        return end.endswith(b"\xff\xd9")
    return start != b"\x89PNG" or b"IEND" in end
