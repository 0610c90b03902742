"""The classes of label maps: names, colours, and what the values in a file stand for.

The lists of ADE20K's 150 classes, Pascal VOC's 21 and Cityscapes' 19, and reading one's own
`classes.txt` or CVAT's `labelmap.txt`. ADE20K's names and colours were compared with the scene
parsing challenge's repository, Cityscapes' with public code that uses them; VOC's are from memory.
"""

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from common.errors import UserError

Colour = tuple[int, int, int]
IGNORED = 255  # in every label map that leaves a source
MAX_CLASSES = 255
_LARGEST_FILE, _LONGEST_LINE = 1 << 20, 300
_IGNORED_NAMES = ("ignore", "ignored", "void")
_LINE = re.compile(
    r"(?P<name>.*?)"
    r"(?:[\s,:]+(?P<red>\d+)[\s,]+(?P<green>\d+)[\s,]+(?P<blue>\d+)|[\s,:]+\#(?P<hex>[\da-f]{6}))?",
    re.IGNORECASE,
)
_LABELMAP_LINE = re.compile(
    r"(?P<name>.+):((?P<red>\d+),(?P<green>\d+),(?P<blue>\d+))?:[^:]*:[^:]*"
)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ClassList:
    """Classes, and how files write them.

    Attributes:
      names: one per class.
      palette: uint8 `[classes, 3]`, RGB: how to draw them.
      of_value: int16 `[256]`: the class that a value in a file stands for, 255 for ignored pixels,
        -1 where it stands for none.
      of_colour: the same for the colours in a file; empty where files hold no colours.
      colours_only: a palette image's colours count, never its indices.
      gray: all colours are gray, and `of_value` is of gray values, not of indices.
      file: where the list was read from, for messages.
    """

    names: Sequence[str]
    palette: np.ndarray
    of_value: np.ndarray
    of_colour: Mapping[Colour, int] = dataclasses.field(default_factory=dict)
    colours_only: bool = False
    gray: bool = False
    file: str = "the data set"


def value_table(classes: Mapping[int, int] | Iterable[int], ignored: Iterable[int] = ()):
    """Returns `ClassList.of_value`.

    Args:
      classes: value -> class; or the values of classes 0, 1, ...
      ignored: values of ignored pixels; 255 always is one, unless it is a class.

    Returns:
      int16 `[256]`.
    """
    table = np.full(256, -1, np.int16)
    table[[IGNORED, *ignored]] = IGNORED
    if not isinstance(classes, Mapping):
        classes = {value: index for index, value in enumerate(classes)}
    for value, index in classes.items():
        table[value] = index
    return table


def distinct_colours(count: int) -> np.ndarray:
    """Returns colours that are easy to tell apart, the first ones most: always the same ones.

    Each is, of a grid of bright and dark colours, the one farthest from all before it and from
    black, in CIE Lab.

    Args:
      count: how many, 0 to 255.

    Returns:
      uint8 `[count, 3]`, RGB, none of them black or twice.
    """
    levels = np.arange(0, 256, 36, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)[1:]
    lab = _lab(grid)
    distance = np.linalg.norm(lab - _lab(np.zeros((1, 3))), axis=-1) * 0.7
    chosen = []
    for _ in range(count):
        best = int(np.argmax(distance))
        chosen.append(best)
        distance = np.minimum(distance, np.linalg.norm(lab - lab[best], axis=-1))
    return grid[chosen].reshape(-1, 3)


def _lab(colours: np.ndarray) -> np.ndarray:
    """sRGB 0..255 `[n, 3]` as CIE Lab, D65."""
    rgb = np.asarray(colours, np.float64) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = linear @ np.transpose(matrix) / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)


def voc_colours(count: int) -> np.ndarray:
    """Returns the palette of Pascal VOC's label maps, uint8 `[count, 3]`.

    Bits 0, 3, 6 of the index make red's highest bits, 1, 4, 7 green's, 2, 5 blue's.
    """
    index = np.arange(count)[:, None] >> np.arange(3)
    bits = [((index >> 3 * i) & 1) << (7 - i) for i in range(3)]
    return np.sum(bits, axis=0).astype(np.uint8).reshape(count, 3)


def class_lists_in(folder: Path) -> list[Path]:
    """Returns the files in a folder that list its classes; the first one counts."""
    places = (folder / name for name in ("classes.txt", "labelmap.txt"))
    return [place for place in places if place.is_file()]


def class_list_of(folder: Path, classes: str = "") -> Path:
    """Returns the file that lists the classes of one's own data.

    Args:
      folder: of the data.
      classes: the file, if it isn't the one in the folder.

    Raises:
      UserError: there is none.
    """
    if classes:
        return Path(classes).expanduser()
    if found := class_lists_in(folder):
        return found[0]
    raise UserError(
        f"no classes.txt in {folder}; write one with a line per class, in the order of the values "
        "in the masks (the first is 0): its name, or 'name r g b' if masks hold colours"
    )


def read_class_list(file: str | os.PathLike[str]) -> ClassList:
    """Reads `classes.txt` or `labelmap.txt`.

    `classes.txt` has a line per class: `name`, `name r g b` or `name #rrggbb`, with colours in all
    lines or in none. A file's index n is the n-th line, from 0; of a list of gray colours alone,
    gray files hold these instead. `labelmap.txt` (CVAT, Pascal VOC tools; any file of that name)
    has `name:r,g,b:parts:actions`, colours left out for objects. A class called `ignore` or `void`
    is ignored: its pixels become 255, and the classes after it move up. Empty lines and lines that
    start with `#` are skipped.

    Raises:
      UserError: a missing, empty or unreadable file, a line that can't be read, names or colours
        that occur twice, colours in some lines only, or more than 255 classes.
    """
    file = Path(file)
    rows = _rows(file)
    coloured = [colour is not None for _, _, colour in rows]
    if any(coloured) and not all(coloured):
        number, name, _ = rows[coloured.index(False)]
        raise UserError(
            f"{file}, line {number}: {name!r} has no colour but other classes have; "
            f"write '{name} r g b', or remove all colours"
        )
    _refuse_twice(file, [(number, name) for number, name, _ in rows], "name")
    _refuse_twice(file, [(number, colour) for number, _, colour in rows if colour], "colour")
    kept = [row for row in rows if row[1].lower() not in _IGNORED_NAMES]
    if not kept:
        raise UserError(f"{file} lists no classes but ignored ones; add a line per class")
    if len(rows) > MAX_CLASSES:
        raise UserError(f"{file} lists {len(rows)} classes; label maps have at most {MAX_CLASSES}")
    position = {row[1]: i for i, row in enumerate(kept)}
    meaning = [position.get(name, IGNORED) for _, name, _ in rows]
    if not any(coloured):
        table = value_table(dict(enumerate(meaning)))
        names = [name for _, name, _ in kept]
        return ClassList(
            names=names, palette=distinct_colours(len(kept)), of_value=table, file=str(file)
        )
    of_colour = {colour: index for (_, _, colour), index in zip(rows, meaning, strict=True)}
    gray = all(len(set(colour)) == 1 for colour in of_colour)
    by_value = {colour[0]: index for colour, index in of_colour.items()}
    return ClassList(
        names=[name for _, name, _ in kept],
        palette=np.array([colour for _, _, colour in kept], np.uint8),
        of_value=value_table(by_value if gray else dict(enumerate(meaning))),
        of_colour=of_colour,
        colours_only=file.name == "labelmap.txt",
        gray=gray,
        file=str(file),
    )


def _rows(file: Path) -> list[tuple[int, str, Colour | None]]:
    """Line number, name and colour of every class."""
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise UserError(f"{file} is far too large for a list of classes; is it another file?")
        lines = file.read_text("utf-8-sig").splitlines()  # Windows' editors put a mark in front
    except OSError as error:
        raise UserError(
            f"{file}: {error.strerror}; write a line per class: its name, or 'name r g b'"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is no UTF-8 text; save it as such") from error
    labelmap = file.name == "labelmap.txt"
    rows = []
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if len(line) > _LONGEST_LINE:
            raise UserError(f"{file}, line {number} has {len(line)} letters, too many for a class")
        found = (_LABELMAP_LINE if labelmap else _LINE).fullmatch(line)
        if not found or not found["name"].strip():
            expected = "name:r,g,b::" if labelmap else "name, name r g b, or name #rrggbb"
            raise UserError(f"{file}, line {number}: {line!r} is no class; expected {expected}")
        colour = None
        if not labelmap and found["hex"]:
            colour = tuple(bytes.fromhex(found["hex"]))
        elif found["red"]:
            colour = tuple(int(found[key]) for key in ("red", "green", "blue"))
            if max(colour) > 255:
                raise UserError(f"{file}, line {number}: colour {colour} is not within 0 to 255")
        rows.append((number, found["name"].strip(), colour))
    if not rows:
        raise UserError(f"{file} lists no classes; write a line per class: name, or 'name r g b'")
    return rows


def _refuse_twice(file: Path, items: Sequence[tuple[int, object]], what: str) -> None:
    seen: dict[object, int] = {}
    for number, item in items:
        if item in seen:
            raise UserError(
                f"{file}, lines {seen[item]} and {number}: two classes of {what} {item!r}; "
                "change or remove one"
            )
        seen[item] = number


_ADE20K_NAMES = """
wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person,
earth, door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea,
mirror, rug, field, armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion,
base, box, column, signboard, chest of drawers, counter, sand, sink, skyscraper, fireplace,
refrigerator, grandstand, path, stairs, runway, case, pool table, pillow, screen door, stairway,
river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, bench, countertop, stove,
palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel, light,
truck, tower, chandelier, awning, streetlight, booth, television receiver, airplane, dirt track,
apparel, pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship,
fountain, conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall,
tent, bag, minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot, animal,
bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase, traffic light, tray,
ashcan, fan, pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass, clock, flag
"""
# Those of the scene parsing challenge.
_ADE20K_COLOURS = """
787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 e005ff ebff07 96053d 787846
08ff33 ff0652 8fff8c ccff04 ff3307 cc4603 0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0 0907e6 dcdcdc
ff095c 7009ff 08ffd6 07ffe0 ffb806 0aff47 ff290a 07ffff e0ff08 6608ff ff3d06 ffc207 ff7a08 00ff14
ff0829 ff0599 0633ff eb0cff a09614 00a3ff 8c8c8c fa0a0f 14ff00 1fff00 ff1f00 ffe000 99ff00 0000ff
ff4700 00ebff 00adff 1f00ff 0bc8c8 ff5200 00fff5 003dff 00ff70 00ff85 ff0000 ffa300 ff6600 c2ff00
008fff 33ff00 0052ff 00ff29 00ffad 0a00ff adff00 00ff99 ff5c00 ff00ff ff00f5 ff0066 ffad00 ff0014
ffb8b8 001fff 00ff3d 0047ff ff00cc 00ffc2 00ff52 000aff 0070ff 3300ff 00c2ff 007aff 00ffa3 ff9900
00ff0a ff7000 8fff00 5200ff a3ff00 ffeb00 08b8aa 8500ff 00ff5c b800ff ff001f 00b8ff 00d6ff ff0070
5cff00 00e0ff 70e0ff 46b8a0 a300ff 9900ff 47ff00 ff00a3 ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff
ff007a fff500 0abed4 d6ff00 00ccff 1400ff ffff00 0099ff 0029ff 00ffcc 2900ff 29ff00 ad00ff 00f5ff
4700ff 7a00ff 00ffb8 005cff b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff
"""
_VOC_NAMES = """
background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, dog,
horse, motorbike, person, pottedplant, sheep, sofa, train, tvmonitor
"""
_VOC_VOID = (224, 224, 192)
# Name, id in files called labelIds, colour; the order is that of the training ids.
_CITYSCAPES = """
road 7 804080, sidewalk 8 f423e8, building 11 464646, wall 12 66669c, fence 13 be9999,
pole 17 999999, traffic light 19 faaa1e, traffic sign 20 dcdc00, vegetation 21 6b8e23,
terrain 22 98fb98, sky 23 4682b4, person 24 dc143c, rider 25 ff0000, car 26 00008e,
truck 27 000046, bus 28 003c64, train 31 005064, motorcycle 32 0000e6, bicycle 33 770b20
"""


def ade20k_classes(names: Sequence[str] = ()) -> ClassList:
    """Returns ADE20K's 150 classes; in files 0 is ignored and 1 the first.

    Args:
      names: as many others, such as the first ones of `objectInfo150.txt`.
    """
    return ClassList(
        names=list(names) or _items(_ADE20K_NAMES),
        palette=_hex_colours(_ADE20K_COLOURS.split()),
        of_value=value_table(range(1, 151), ignored=[0]),
    )


def voc_classes() -> ClassList:
    """Returns Pascal VOC's 20 classes after the background; coloured files are read as well."""
    names = _items(_VOC_NAMES)
    palette = voc_colours(len(names))
    of_colour = {tuple(map(int, colour)): i for i, colour in enumerate(palette)}
    return ClassList(
        names=names,
        palette=palette,
        of_value=value_table(range(len(names))),
        of_colour=of_colour | {_VOC_VOID: IGNORED},
    )


def cityscapes_classes(*, train_ids: bool) -> ClassList:
    """Returns the 19 classes of Cityscapes' evaluation.

    Args:
      train_ids: files hold 0..18; otherwise label ids 0..33, of which fifteen are ignored.
    """
    rows = [item.rsplit(" ", 2) for item in _items(_CITYSCAPES)]
    ids = [int(row[1]) for row in rows]
    return ClassList(
        names=[row[0] for row in rows],
        palette=_hex_colours([row[2] for row in rows]),
        of_value=value_table(range(19)) if train_ids else value_table(ids, ignored=range(34)),
    )


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.replace("\n", " ").split(",")]


def _hex_colours(items: Sequence[str]) -> np.ndarray:
    return np.array([tuple(bytes.fromhex(item)) for item in items], np.uint8)
