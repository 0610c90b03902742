"""The photos and videos that `--input` means: one file, or those of a folder."""

from collections.abc import Collection
from pathlib import Path

from common.config import require
from common.data.folder_files import files_in
from common.data.found_files import left_out_line
from common.data.sources import IMAGE_SUFFIXES


def input_files(
    source: Path, output: Path | None, suffixes: Collection[str] = IMAGE_SUFFIXES
) -> list[Path]:
    """Returns a file, or those of a folder and its subfolders, sorted, but hidden ones.

    Prints how many files of other kinds a folder has.

    Args:
      source: the file or folder.
      output: what is written; inside the folder it is no input.
      suffixes: of the files to take, in lower case.

    Raises:
      UserError: there is no such path, or nothing to take in it.
    """
    require(source.exists(), f"--input: there is no {source}")
    if not source.is_dir():
        return [source]
    inside = output is not None and output.resolve().is_relative_to(source.resolve())
    listed, others = files_in(source)
    files = [
        path
        for path in map(Path, listed)
        if not (inside and path.resolve().is_relative_to(output.resolve()))
    ]
    found = sorted(path for path in files if path.suffix.lower() in suffixes)
    lost = left_out_line(found, files, others)
    none = f"--input: no photos in {source} ({', '.join(suffixes)})"
    require(bool(found), "; ".join(filter(None, [none, lost])))
    if lost:
        print(lost)
    return found
