"""Images in a folder and its subfolders, without classes."""

import os
from pathlib import Path

import numpy as np

from common.data.folder_files import files_in
from common.data.found_files import left_out_line
from common.data.held_out import check_part, part_by_name, split_names
from common.data.image_files import read_content
from common.data.sources import IMAGE_SUFFIXES, Example, images_of
from common.errors import UserError


class ImageFolder:
    """`root/split/**/image.jpg`, or without `split`: then a share is held out by names.

    Args:
      root: the folder.
      split: name of a folder in it; of a folder without splits `train_split`, or one of "eval",
        "val", "validation" and "test" for the part that is held out.
      train_split: what the training part is called.
      holdout: share that is held out, in [0, 1); 0: every part is everything.

    Attributes:
      summary: what there is and what was left out, in a line.

    Raises:
      UserError: there is no such folder or part, or it has no images.
    """

    class_names: tuple[str, ...] = ()

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "train",
        *,
        train_split: str = "train",
        holdout: float = 0.0,
    ):
        self._root = Path(root).expanduser()
        if not self._root.is_dir():
            raise UserError(f"no folder {str(self._root)!r}; give the folder that holds the images")
        folders = [self._root / name for name in split_names(split)]
        folder = next((f for f in folders if f.is_dir()), None)
        found = files_in(folder or self._root)
        files = images_of(found.files)
        lost = left_out_line(files, *found)
        if not files:
            none = f"{folder or self._root} has no images ({', '.join(IMAGE_SUFFIXES)})"
            raise UserError("; ".join(filter(None, [none, lost])))
        names = [os.path.relpath(file, self._root) for file in files]
        if folder is None:
            check_part(split, train_split, str(self._root))
            keep = part_by_name(names, holdout, training=split == train_split)
            names = [names[i] for i in keep]
        part = f" of {len(files):,}, as {holdout:.3g} is held out" * (len(names) < len(files))
        self.summary = "; ".join(filter(None, [f"{len(names):,} images{part}", lost]))
        # Fixed-width bytes: a list of a million strings would cost each worker much more memory.
        self._names = np.array([os.fsencode(name) for name in names])

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Example:
        name = self.name(index)
        return {"image": read_content(Path(name)), "name": name}

    def name(self, index: int) -> str:
        """Returns the file's path."""
        return str(self._root / os.fsdecode(self._names[index]))
