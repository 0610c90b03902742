"""Sources of degraded photos with what they should look like, or of clean photos to degrade.

Random access and picklable, as `common.data.sources`; images stay encoded.
"""

import concurrent.futures
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NotRequired, Protocol, TypedDict

import numpy as np

from common.data.crops import image_size, read_crop
from common.data.folder_files import files_in
from common.data.held_out import part_by_name
from common.data.image_files import checked_size, raise_problems, read_content
from common.data.pair_layouts import (
    FoundPairs,
    find_pairs,
    find_partners,
    image_paths_of,
    layout_of,
    left_out_of,
)
from common.data.sidd_blocks import SiddBlocks
from common.errors import UserError, did_you_mean

_UNREADABLE = "unreadable image"
_SIZES = "pair of different sizes"
# Clean photos inside scikit-image's wheel; others would be downloaded. Gray ones train only.
_TRAIN_PHOTOS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "retina.jpg",
)
_HELD_OUT_PHOTOS = ("chelsea.png", "coffee.png", "rocket.jpg")


class Pair(TypedDict):
    """A degraded image and its target, or a clean image alone that is yet to be degraded.

    Attributes:
      input: content of an image file, or pixels as `common.data.images.decode` takes them.
      target: the same, of the same size.
      name: path below the root, or an id: unique, and the same wherever the data lies.
    """

    input: NotRequired[bytes | np.ndarray]
    target: bytes | np.ndarray
    name: str


class PairSource(Protocol):
    """Random access to pairs; `source[i]` raises CorruptImage for an unreadable one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Pair: ...

    def name(self, index: int) -> str:
        """Returns the pair's name without reading its images."""
        ...


def make_pair_source(
    kind: str,
    *,
    layout: str = "equal",
    root: str = "",
    input_root: str = "",
    target_root: str = "",
    split: str = "train",
    train_split: str = "train",
    holdout: float = 0.0,
    max_corrupt: int = 0,
    check: bool = True,
) -> PairSource:
    """Makes a source from the fields of a configuration, and checks its files.

    Data without split folders is the same for every split, or with `holdout` divided by the
    targets' names, so that adding some moves none; inputs with the same target stay together.

    Args:
      kind: "pairs" (uses `root`, or `input_root` and `target_root`), "folder" (clean photos in
        `root`) or "photos" (those of scikit-image).
      layout: one of `LAYOUTS`, or patterns, see `common.data.pair_layouts.layout_of`; with
        `input_root` only its file names count.
      root: folder of the data set.
      input_root: folder of the degraded images, searched with the folders in it.
      target_root: folder of their targets.
      split: "train", "test" or the name of the split's folder; "" is `root` itself.
      train_split: what `split` is called for training.
      holdout: share of the targets that other splits get where there are no split folders, in
        [0, 1).
      max_corrupt: unreadable files that the check lets pass.
      check: look at every file's header before returning.

    Raises:
      UserError: an unknown kind or layout, missing data, or files that fail the check.
    """
    match kind:
        case "photos":
            return photos_source("train" if split == train_split else "test")
        case "folder":
            source = _clean_folder(_folder(root), split, train_split, holdout)
        case "pairs":
            spec, training = layout_of(layout), split == train_split
            if bool(input_root) != bool(target_root) or bool(root) == bool(input_root):
                raise UserError("pairs need either root, or both input_root and target_root")
            if spec.blocks and root and not training:
                return SiddBlocks(*(_folder(root) / name for name in spec.blocks))
            roots = (_folder(input_root or root), _folder(target_root or root))
            found = find_pairs(spec, roots[0], split) if root else find_partners(spec, *roots)
            if holdout and not found.has_splits:
                found = _part_of_pairs(found, holdout, training=training)
            source = ImageFiles(
                found.targets,
                roots[1],
                found.inputs,
                roots[0],
                problems=found.problems,
                left_out=found.left_out,
                crop_targets=spec.shared_targets,
            )
        case _:
            hint = did_you_mean(kind, ("pairs", "folder", "photos"))
            raise UserError(f"unknown data source {kind!r}; {hint}")
    if check:
        source.check(max_corrupt)
    return source


def photos_source(split: str) -> "ImageFiles":
    """Returns clean photos that come with scikit-image; nothing is downloaded.

    Args:
      split: "train": twelve photos, of which six are gray and two show the same scene from two
        places; "test": three colour photos that training never sees.

    Raises:
      UserError: another split, or no scikit-image.
    """
    photos = {"train": _TRAIN_PHOTOS, "test": _HELD_OUT_PHOTOS}
    if split not in photos:
        raise UserError(f"photos have no split {split!r}; {did_you_mean(split, photos)}")
    try:
        import skimage
    except ImportError as error:
        install = "pip install 'multi-axis-jax[photos]'"
        raise UserError(f"these photos need scikit-image: {install}") from error
    folder = Path(skimage.__file__).parent / "data"
    missing = [name for name in photos[split] if not (folder / name).is_file()]
    if missing:
        raise UserError(f"no {missing[0]} in {folder}; reinstall scikit-image from its wheel")
    return ImageFiles(photos[split], folder)


class ImageFiles:
    """Pairs of image files, or clean images alone.

    Args:
      targets: paths of targets or clean images, below their root.
      target_root: their folder.
      inputs: as many paths of degraded images; None: there are none.
      input_root: their folder.
      problems: found on the way here, for `check`: kind of problem -> files; stays as `found`.
      left_out: in words, what else the folders hold.
      crop_targets: cut a target that is larger than its input at the centre.

    Attributes:
      summary: what there is and what was left out, in a line.
    """

    def __init__(
        self,
        targets: Sequence[str],
        target_root: str | os.PathLike[str],
        inputs: Sequence[str] | None = None,
        input_root: str | os.PathLike[str] = "",
        *,
        problems: Mapping[str, list[str]] | None = None,
        left_out: str = "",
        crop_targets: bool = False,
    ):
        # Fixed-width bytes: lists of a million strings would cost each worker much more memory.
        self._targets = np.array([os.fsencode(path) for path in targets])
        self._inputs = None
        if inputs is not None:
            self._inputs = np.array([os.fsencode(path) for path in inputs])
        self._target_root, self._input_root = Path(target_root), Path(input_root)
        self.found, self._crop_targets = dict(problems or {}), crop_targets
        count = f"{len(self):,} {'photos' if inputs is None else 'pairs'}"
        self.summary = "; ".join(filter(None, [count, left_out]))

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, index: int) -> Pair:
        target = read_content(self._target_path(index))
        if self._inputs is None:
            return {"target": target, "name": self.name(index)}
        degraded = read_content(self._input_path(index))
        if self._crop_targets:
            target = _central(target, image_size(degraded))
        return {"input": degraded, "target": target, "name": self.name(index)}

    def name(self, index: int) -> str:
        """Returns the path of the input, or of the clean image, below its root."""
        return os.fsdecode((self._targets if self._inputs is None else self._inputs)[index])

    def problems(self) -> dict[str, list[str]]:
        """Looks at the header and the end of every file.

        Returns:
          Kind of problem -> files: those without a partner, unreadable ones, pairs of different
          sizes. Empty when all is well.
        """
        found = {kind: list(files) for kind, files in self.found.items()}
        found |= {_UNREADABLE: [], _SIZES: []}
        targets = [self._target_path(i) for i in range(len(self))]
        inputs = [] if self._inputs is None else [self._input_path(i) for i in range(len(self))]
        paths = sorted({*inputs, *targets})
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            sizes = dict(zip(paths, pool.map(checked_size, paths), strict=True))
        found[_UNREADABLE] = [f"{p} ({size})" for p, size in sizes.items() if isinstance(size, str)]
        for a, b in zip(inputs, targets[: len(inputs)], strict=True):
            if isinstance(sizes[a], str) or isinstance(sizes[b], str) or sizes[a] == sizes[b]:
                continue
            (height, width), (target_height, target_width) = sizes[a], sizes[b]
            if self._crop_targets and target_height >= height and target_width >= width:
                continue
            text = f"{a} is {width}x{height}, {b} is {target_width}x{target_height}"
            found[_SIZES].append(text)
        return {kind: files for kind, files in found.items() if files}

    def check(self, max_corrupt: int = 0) -> None:
        """Makes sure that nothing is missing, unreadable or of the wrong size.

        Args:
          max_corrupt: unreadable files that are let pass.

        Raises:
          UserError: counts the problems of each kind and names the first files.
        """
        found = self.problems()
        if len(found.get(_UNREADABLE, ())) <= max_corrupt:
            found.pop(_UNREADABLE, None)
        raise_problems("the pairs don't fit", found)

    def _target_path(self, index: int) -> Path:
        return self._target_root / os.fsdecode(self._targets[index])

    def _input_path(self, index: int) -> Path:
        return self._input_root / os.fsdecode(self._inputs[index])


def _folder(path: str) -> Path:
    folder = Path(path).expanduser()
    if not path or not folder.is_dir():
        raise UserError(f"no folder {path!r}; give the one that holds the images")
    return folder


def _clean_folder(root: Path, split: str, train_split: str, holdout: float) -> ImageFiles:
    """The images of a split's folder, or a part of all images below `root`."""
    has_splits = (root / train_split).is_dir()
    if not has_splits and split and (root / split).is_dir():  # training would take its images too
        raise UserError(
            f"{root} has {split!r} but no {train_split!r} folder; add it, or name another as"
            " config.data.train_split"
        )
    folder = root / split if has_splits else root
    found = files_in(folder)
    paths, left_out = image_paths_of(root, found), left_out_of([found])
    if not paths:
        raise UserError("; ".join(filter(None, [f"no images in {folder}", left_out])))
    if holdout and not has_splits:
        paths = [paths[i] for i in _part(paths, holdout, training=split == train_split)]
    return ImageFiles(paths, root, left_out=left_out)


def _part_of_pairs(found: FoundPairs, holdout: float, *, training: bool) -> FoundPairs:
    keep = _part(found.targets, holdout, training=training)
    inputs, targets = ([paths[i] for i in keep] for paths in (found.inputs, found.targets))
    return found._replace(inputs=inputs, targets=targets)


def _part(targets: Sequence[str], holdout: float, *, training: bool) -> np.ndarray:
    """Positions of the training or of the held-out part; equal targets stay together."""
    groups, group_of = np.unique(targets, return_inverse=True)
    if len(groups) == 1:
        raise UserError("a single target can't be held out from itself; add pairs")
    keep = part_by_name(groups, holdout, training=training)
    return np.flatnonzero(np.isin(group_of, keep))


def _central(image: bytes | np.ndarray, size: tuple[int, int]) -> bytes | np.ndarray:
    """The central part of an image, decoded only if it is larger than `size`."""
    height, width = image_size(image)
    if (height, width) == size:
        return image
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return read_crop(image, top, left, *size)
