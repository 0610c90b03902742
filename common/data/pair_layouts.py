"""Where the pairs of each public restoration data set lie, as data; and finding them.

Layouts are those of the data sets' own downloads and of the folders that public training code
expects. RealBlur's lists, SIDD's names and RESIDE's sizes were compared with public code that reads
them, the others are from memory; none with the downloads themselves.
"""

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from common.config import require
from common.data.folder_files import FolderFiles, files_in
from common.data.found_files import left_out_line
from common.data.sources import IMAGE_SUFFIXES
from common.errors import UserError, did_you_mean

_SUFFIXES = (*IMAGE_SUFFIXES, ".npy")
_FIELD = re.compile(r"\{(\w+)\}")
_OWN = "{id}_noisy:{id}"
_CROSS_FOLDERS = {"path": ".+", "folder": "(?:.*/)?"}


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a data set arranges its pairs. A pair agrees in all fields that both patterns have.

    Attributes:
      patterns: alternatives of (input, target) paths below the root, without suffix; the first that
        finds both counts. `{split}` is the split's folder, `{path}` any path, every other field
        anything within one folder or file name.
      splits: folders of the splits that aren't called "train" or "test".
      lists: file below the root with a line `target input` per pair, instead of patterns.
      blocks: MATLAB files of inputs and targets below the root: every split but the training one.
      shared_targets: many inputs have one target; targets that nobody uses are no mistake, and one
        larger than its input is cropped at the centre.
    """

    patterns: tuple[tuple[str, str], ...] = ()
    splits: Mapping[str, str] = dataclasses.field(default_factory=dict)
    lists: str = ""
    blocks: tuple[str, str] | None = None
    shared_targets: bool = False


_RESIDE = (
    ("{split}/hazy/{id}_{haze}", "{split}/gt/{id}"),
    ("{split}/hazy/{id}_{haze}", "{split}/clear/{id}"),
)

LAYOUTS = {
    "equal": Layout(
        (
            ("{split}/input/{path}", "{split}/target/{path}"),
            ("input/{path}", "target/{path}"),
        )
    ),
    "crops": Layout((("{split}/input_crops/{path}", "{split}/target_crops/{path}"),)),
    "sidd": Layout(
        (("{split}/{scene}/{id}_NOISY_SRGB_{n}", "{split}/{scene}/{id}_GT_SRGB_{n}"),),
        splits={"train": "Data"},
        blocks=("ValidationNoisyBlocksSrgb.mat", "ValidationGtBlocksSrgb.mat"),
    ),
    "gopro": Layout((("{split}/{scene}/blur/{frame}", "{split}/{scene}/sharp/{frame}"),)),
    "gopro_gamma": Layout(
        (("{split}/{scene}/blur_gamma/{frame}", "{split}/{scene}/sharp/{frame}"),)
    ),
    "reds": Layout(
        (
            ("{split}_blur/{scene}/{frame}", "{split}_sharp/{scene}/{frame}"),
            # As the archives unpack.
            ("{split}/{split}_blur/{scene}/{frame}", "{split}/{split}_sharp/{scene}/{frame}"),
        ),
        splits={"test": "val"},
    ),
    "realblur_r": Layout(lists="RealBlur_R_{split}_list.txt"),
    "realblur_j": Layout(lists="RealBlur_J_{split}_list.txt"),
    "rain13k": Layout(
        (
            ("{split}/input/{path}", "{split}/target/{path}"),
            ("{split}/{set}/input/{path}", "{split}/{set}/target/{path}"),
        )
    ),
    "raindrop": Layout(
        (("{split}/data/{id}_rain", "{split}/gt/{id}_clean"),), splits={"test": "test_a"}
    ),
    "reside_indoor": Layout(
        _RESIDE, splits={"train": "ITS", "test": "SOTS/indoor"}, shared_targets=True
    ),
    "reside_outdoor": Layout(
        _RESIDE, splits={"train": "OTS", "test": "SOTS/outdoor"}, shared_targets=True
    ),
    "lol": Layout(
        (("{split}/low/{path}", "{split}/high/{path}"),),
        splits={"train": "our485", "test": "eval15"},
    ),
    "fivek": Layout(
        (
            ("{split}/input/{path}", "{split}/expertC/{path}"),
            ("input/{path}", "expertC/{path}"),
        )
    ),
}


def layout_of(name: str) -> Layout:
    """Returns a layout by name, or one of patterns.

    Args:
      name: of LAYOUTS; or two patterns as `Layout` has them, with a colon between: of inputs and of
        targets, such as `"{id}_noisy:{id}"` or `"{split}/lq/{path}:{split}/hq/{path}"`.

    Raises:
      UserError: there is no such layout, or the patterns tell no pairs.
    """
    if "{" not in name:
        if name not in LAYOUTS:
            hint = did_you_mean(name, LAYOUTS)
            raise UserError(f"no pair layout {name!r}, nor patterns such as {_OWN}; {hint}")
        return LAYOUTS[name]
    patterns = tuple(name.split(":"))
    fields = [_FIELD.findall(pattern) for pattern in patterns]
    require(len(patterns) == 2, f"pair layout {name!r}: give two patterns, such as {_OWN}")
    for pattern, found in zip(patterns, fields, strict=True):
        strange = set("{}") & set(_FIELD.sub("", pattern))
        once = len(set(found)) == len(found)
        plain = "fields are words in braces, each once"
        require(once and not strange, f"pair layout {name!r}: {plain}, such as {_OWN}")
    common = set(fields[0]) & set(fields[1]) - {"split"}
    require(bool(common), f"pair layout {name!r}: both patterns need a field in common, as {_OWN}")
    return Layout((patterns,))


class FoundPairs(NamedTuple):
    """What a search found.

    Attributes:
      inputs: paths of the degraded images, below their root.
      targets: as many paths of targets, below theirs.
      problems: kind of problem -> paths, such as files without a partner.
      has_splits: whether the split chose the files.
      left_out: what is no mistake, by kind, in words (`common.data.found_files.left_out_line`).
    """

    inputs: list[str]
    targets: list[str]
    problems: dict[str, list[str]]
    has_splits: bool
    left_out: str = ""


def find_pairs(layout: Layout, root: Path, split: str) -> FoundPairs:
    """Finds the pairs of one split of a data set.

    Args:
      layout: how its files are named.
      root: its folder.
      split: "train", "test" or the name of a folder; "" is `root` itself.

    Raises:
      UserError: there are none; the message says what was expected.
    """
    folder = layout.splits.get(split, split)
    if layout.lists:
        return _listed_pairs(root / layout.lists.format(split=folder))
    expected = []
    for alternative in layout.patterns:
        patterns = [pattern.replace("{split}", folder).lstrip("/") for pattern in alternative]
        found = _match(root, patterns[0], root, patterns[1], layout.shared_targets)
        if found.inputs:
            return found._replace(has_splits=bool(folder) and "{split}" in alternative[0])
        expected.append(" with ".join(patterns))
    raise UserError(
        f"no pairs in {root} for split {split!r}; expected images {', or '.join(expected)}"
    )


def find_partners(layout: Layout, input_root: Path, target_root: Path) -> FoundPairs:
    """Pairs the files of two folders: equal folders inside, file names as a layout has them.

    Args:
      layout: gives the file names; those of "equal" agree but for the suffix.
      input_root: folder of the degraded images.
      target_root: folder of the targets.

    Raises:
      UserError: there are no pairs, or the layout has no name rule.
    """
    if not layout.patterns:
        raise UserError("this layout lists its pairs in a file; give root, not two folders")
    names = [pattern.rsplit("/", 1)[-1] for pattern in layout.patterns[0]]
    patterns = ["{folder}" + name for name in names]
    found = _match(input_root, patterns[0], target_root, patterns[1], layout.shared_targets)
    if not found.inputs:
        raise UserError(
            f"no pairs in {input_root} and {target_root}; expected images {' with '.join(names)}"
        )
    return found


def image_paths(root: Path, below: str = "") -> list[str]:
    """Returns all image files in a folder and the folders in it, sorted, hidden ones left out.

    Args:
      root: what paths are relative to.
      below: folder below `root` to search.
    """
    return image_paths_of(root, files_in(root / below))


def image_paths_of(root: Path, found: FolderFiles) -> list[str]:
    """Returns, as `image_paths`, which of the files in a folder are images."""
    return sorted(os.path.relpath(path, root) for path in found.files if _is_image(path))


def left_out_of(walked: Collection[FolderFiles], others: Mapping[str, int] | None = None) -> str:
    """Says, as `common.data.found_files.left_out_line`, what in some folders is no image.

    Args:
      walked: what the folders hold.
      others: kind of what else is left out -> how many.
    """
    files = [path for found in walked for path in found.files]
    counts = sum((found.others for found in walked), Counter(others or {}))
    return left_out_line([*filter(_is_image, files)], files, counts)


def _is_image(path: str) -> bool:
    return path.lower().endswith(_SUFFIXES)


def _match(
    input_root: Path, input_pattern: str, target_root: Path, target_pattern: str, shared: bool
) -> FoundPairs:
    """Pairs the files whose paths agree in the fields that both patterns have."""
    common = sorted(set(_FIELD.findall(input_pattern)) & set(_FIELD.findall(target_pattern)))
    places = input_root / _fixed(input_pattern), target_root / _fixed(target_pattern)
    walked = {place: files_in(place) for place in places}
    paths = [
        image_paths_of(root, walked[place])
        for root, place in zip((input_root, target_root), places, strict=True)
    ]
    inputs, odd_inputs = _keyed(paths[0], input_pattern, common)
    targets, odd_targets = _keyed(paths[1], target_pattern, common)
    candidates: dict[tuple, list[str]] = {}
    for path, key in targets.items():
        candidates.setdefault(key, []).append(path)
    pairs = []
    for path, key in inputs.items():
        if options := candidates.get(key):
            # `a.png` beside `a.jpg`: the one like the input.
            pairs.append((path, min(options, key=lambda o: _suffix(o) != _suffix(path))))
    used = {target for _, target in pairs}
    unpaired_inputs = [path for path, key in inputs.items() if key not in candidates]
    unused = [str(target_root / path) for path in targets if path not in used]
    # Where inputs and targets share a folder, each is odd to the other's pattern.
    odd = {input_root / path for path in odd_inputs} | {target_root / path for path in odd_targets}
    odd -= {input_root / path for path in inputs} | {target_root / path for path in targets}
    problems = {
        "input without target": [str(input_root / path) for path in unpaired_inputs],
        "target without input": [] if shared else unused,
        "file whose name fits no rule": sorted(map(str, odd)),
    }
    found = [list(side) for side in zip(*pairs, strict=True)] or [[], []]
    problems = {kind: files for kind, files in problems.items() if files}
    others = {"targets without input": len(unused)} if shared and unused else {}
    left_out = left_out_of(walked.values(), others)
    return FoundPairs(*found, problems, has_splits=False, left_out=left_out)


def _fixed(pattern: str) -> str:
    """The folder that all files of a pattern are in."""
    return os.path.dirname(pattern.split("{")[0])


def _keyed(
    paths: Sequence[str], pattern: str, fields: list[str]
) -> tuple[dict[str, tuple[str, ...]], set[str]]:
    """Paths that match with the values of their fields, and those odd ones in the same folders."""
    whole = re.compile(_expression(pattern))
    folder = re.compile(_expression(os.path.dirname(pattern)))
    keys, odd = {}, set()
    for path in paths:
        stem = path.removesuffix(_suffix(path))
        if match := whole.fullmatch(stem):
            keys[path] = tuple(match[field] for field in fields)
        elif folder.fullmatch(os.path.dirname(stem)):
            odd.add(path)
    return keys, odd


def _expression(pattern: str) -> str:
    """A pattern as a regular expression with a group per field."""
    text = ""
    for i, part in enumerate(_FIELD.split(pattern)):
        field = _CROSS_FOLDERS.get(part, "[^/]+?")
        text += f"(?P<{part}>{field})" if i % 2 else re.escape(part)
    return text


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1]


def _listed_pairs(file: Path) -> FoundPairs:
    try:
        lines = file.read_text().splitlines()
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}; it lists the pairs of this layout") from error
    rows = [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip()]
    for number, row in rows:
        if len(row) != 2:
            raise UserError(f"{file}, line {number}: expected two paths, target and input")
    if not rows:
        raise UserError(f"{file} is empty; it lists the pairs of this layout")
    return FoundPairs([row[1] for _, row in rows], [row[0] for _, row in rows], {}, True)
