"""Foreign weights to ours and back, from one table of names per source.

A table is nested rows `(our name, their name, layout or inner rows)`:

    Table("TensorFlow names", "/", [
        ("stage_{s}_block_{b}", "block_{s-1:02}_{b:02}", [
            ("attention/qkv/kernel", "attention/{q,k,v}/weight", STACKED_HEADS),
            ("attention/out", "attention/o", [("kernel", "weight"), ("bias", "bias")]),
        ]),
    ])

Placeholders: `{s}` a number, `{s-1:02}` the same less one with two digits, `{name*}` any text.
`{q,k,v}` stands for several foreign arrays that are one of ours.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from flax import traverse_util

from common.errors import UserError
from common.layers.relative_bias import resize_table
from common.weights.channels import adapt, other_channels
from common.weights.layouts import BIAS_TABLE, SAME, Layout
from common.weights.readers import WeightFile, require_finite

Row = tuple  # (ours, theirs), (ours, theirs, Layout) or (ours, theirs, [Row, ...])
_PLACEHOLDER = re.compile(r"\{(\w+)([+-]\d+)?(?::0(\d))?(\*)?\}")
_SHOWN = 3  # names listed in a message before the rest is counted


class Template:
    """A name with placeholders, read and written.

    Args:
      text: see the module.
    """

    def __init__(self, text: str):
        self._text = text
        pieces, end = [], 0
        for field in _PLACEHOLDER.finditer(text):
            pieces.append(re.escape(text[end : field.start()]))
            pieces.append(f"(?P<{field[1]}>{'.+' if field[4] else '[0-9]+'})")
            end = field.end()
        self._regex = re.compile("".join([*pieces, re.escape(text[end:])]))

    def read(self, name: str) -> dict[str, int | str] | None:
        """Returns the placeholders' values, None where the name is another."""
        match = self._regex.fullmatch(name)
        if match is None:
            return None
        values = {}
        for key, offset, _, text in _PLACEHOLDER.findall(self._text):
            values[key] = match[key] if text else int(match[key]) - int(offset or 0)
        return values if self.write(values) == name else None

    def write(self, values: Mapping[str, int | str]) -> str:
        """Returns the name for the placeholders' values."""

        def fill(field: re.Match) -> str:
            key, offset, digits, text = field.groups()
            return values[key] if text else f"{values[key] + int(offset or 0):0{digits or 1}}"

        return _PLACEHOLDER.sub(fill, self._text)

    def fits(self, pattern: str) -> bool:
        """Whether a name with small numbers matches a pattern."""
        return any(re.fullmatch(pattern, _PLACEHOLDER.sub(n, self._text)) for n in "01")


@dataclasses.dataclass(frozen=True)
class Rule:
    """One row of a table, unfolded."""

    ours: Template
    theirs: tuple[Template, ...]
    layout: Layout


@dataclasses.dataclass(frozen=True)
class Table:
    """All names of one foreign source.

    Attributes:
      source: whose names, for messages.
      separator: between the parts of their names.
      rows: see the module.
      respell: (pattern, replacement) pairs for names that come in several spellings.
      idle: patterns of names that the source's models hold but never compute with, or that are of
        another part, such as a decoder.
    """

    source: str
    separator: str
    rows: Sequence[Row]
    respell: Sequence[tuple[str, str]] = ()
    idle: Sequence[str] = ()

    @functools.cached_property
    def rules(self) -> list[Rule]:
        """The rows, unfolded."""
        return list(self._unfold(self.rows, "", ""))

    def _unfold(self, rows: Sequence[Row], ours: str, theirs: str) -> Iterable[Rule]:
        for our_part, their_part, *rest in rows:
            our_name = "/".join(filter(None, (ours, our_part)))
            their_name = self.separator.join(filter(None, (theirs, their_part)))
            inner = rest[0] if rest else SAME
            if isinstance(inner, Layout):
                names = [Template(name) for name in _alternatives(their_name)]
                yield Rule(Template(our_name), tuple(names), inner)
            else:
                yield from self._unfold(inner, our_name, their_name)

    def spelling(self, name: str) -> str:
        """Returns a foreign name in the spelling of the rows."""
        for pattern, replacement in self.respell:
            name = re.sub(pattern, replacement, name)
        return name

    def templates_of(self, ours: str) -> list[Template]:
        """Returns the foreign names of our arrays that match a pattern, whatever their numbers."""
        return [template for rule in self.rules if rule.ours.fits(ours) for template in rule.theirs]

    def is_idle(self, name: str) -> bool:
        """Whether a foreign name stands for an array that the model never computes with."""
        return any(re.fullmatch(pattern, name) for pattern in self.idle)

    def theirs(self, our_name: str) -> tuple[tuple[str, ...], Layout]:
        """Returns the foreign names of one of our arrays (without collection), and the layout.

        Raises:
          KeyError: the table has no row for it.
        """
        for rule in self.rules:
            values = rule.ours.read(our_name)
            if values is not None:
                return tuple(name.write(values) for name in rule.theirs), rule.layout
        raise KeyError(f"no row of {self.source} for {our_name}")

    def ours(self, their_name: str) -> str | None:
        """Returns our name (without collection) for a foreign one; None if no row knows it."""
        name = self.spelling(their_name)
        for rule in self.rules:
            for template in rule.theirs:
                values = template.read(name)
                if values is not None:
                    return rule.ours.write(values)
        return None


# Our own files and runs.
OURS = Table(
    "our names",
    "/",
    [
        ("{module*}_bias/table", "{module*}_bias/table", BIAS_TABLE),
        ("{name*}", "{name*}"),
    ],
)


def _alternatives(name: str) -> list[str]:
    """`a/{q,k}/b` -> `a/q/b`, `a/k/b`."""
    braces = re.search(r"\{(\w+(?:,\w+)+)\}", name)
    if braces is None:
        return [name]
    return [name[: braces.start()] + a + name[braces.end() :] for a in braces[1].split(",")]


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of every array of a weight file.

    Attributes:
      file: what was read.
      source: whose names it uses.
      used: foreign arrays that went into the model.
      resized: relative-bias tables of ours that were resized, with both shapes.
      fresh: all arrays of ours that the file does not fill: they have their initial values.
      left: foreign arrays that were not wanted, as asked, or that no model computes with.
      adapted: kernels of ours that were turned into ones for other images, with the channels of the
        file and of the model.
      overruled: fields of the model that were asked for and differ from what the file says, with
        both values.
    """

    file: WeightFile
    source: str
    used: int
    resized: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    fresh: tuple[str, ...]
    left: tuple[str, ...]
    adapted: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    overruled: Mapping[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{self.file.path} ({self.file.format}, {self.source}): {self.used} arrays used"]
        if self.file.ignored:
            lines.append(f"{len(self.file.ignored)} steps, slots and raw weights ignored")
        if self.file.prefix:
            lines.append(f"its names begin with {self.file.prefix}")
        if self.left:
            lines.append(f"left in the file: {_some(self.left)}")
        if self.resized:
            sides = (f"{_sides(old)} to {_sides(new)}" for old, new in self.resized.values())
            sides = ", ".join(dict.fromkeys(sides))
            lines.append(f"{len(self.resized)} relative-bias tables resized from {sides}")
        for name, (old, new) in self.adapted.items():
            lines.append(f"{name} adapted from {old} to {new} input channels")
        if self.fresh:
            lines.append(f"freshly initialised: {_some(self.fresh)}")
        for name, (asked, said) in self.overruled.items():
            lines.append(f"{name}={asked} as asked, the file has {said}")
        return "; ".join(lines)


def detect(file: WeightFile, tables: Iterable[Table]) -> Table | None:
    """Returns the table that knows most of a file's names; None if none knows half of them."""
    known, idle, table = max(
        ((*told(file.arrays, table), table) for table in tables),
        key=lambda told: told[0],
        default=(0, 0, None),
    )
    return table if known and 2 * known >= len(file.arrays) - idle else None


def told(names: Iterable[str], table: Table) -> tuple[int, int]:
    """Returns how many foreign names a table knows, and how many others it knows to be idle."""
    known = {name: table.ours(name) is not None for name in names}
    idle = (not known[name] and table.is_idle(table.spelling(name)) for name in known)
    return sum(known.values()), sum(idle)


def import_arrays(
    file: WeightFile,
    table: Table,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    skip: Sequence[str] = (),
    stem: str = "",
    hint: str = "",
) -> tuple[dict[str, np.ndarray], Report]:
    """Turns foreign arrays into ours; every one is used exactly once.

    Args:
      file: what was read.
      table: the names it uses.
      shapes: shape per array of the model, under flat names such as `params/stem/conv_0/kernel`.
      skip: modules of ours, such as `head/logits`, that take nothing from the file: their arrays
        are missing in the result, and the file's are left.
      stem: pattern of our names of the kernels that see the image; those for 3 channels are adapted
        to the model's number, as timm does.
      hint: ends the message when file and model don't fit.

    Returns:
      Arrays under the flat names, float32, and the report.

    Raises:
      UserError: an array is missing, unexpected, mis-shaped, unused, not finite or of integers; the
        message names the first few of each kind.
    """
    spelled, twice = {}, []
    for name, array in file.arrays.items():
        key = table.spelling(name)
        twice += [name] if key in spelled else []
        spelled[key] = (name, array)

    stored = sum(array.size for array in file.arrays.values())
    result, resized, adapted, fresh = {}, {}, {}, []
    missing, misshaped, integers, used = [], [], [], set()
    for flat, shape in shapes.items():
        ours = flat.partition("/")[2]
        if _within(ours, skip):
            fresh.append(flat)
            continue
        names, layout = table.theirs(ours)
        used.update(names)
        absent = [name for name in names if name not in spelled]
        if absent:
            missing += absent
            continue
        arrays = [spelled[name][1] for name in names]
        integers += [f"{n} {a.dtype}" for n, a in zip(names, arrays, strict=True) if not _floats(a)]
        sees_images = stem and re.fullmatch(stem, ours)
        if sees_images and (kernel := other_channels(arrays, shape, layout)) is not None:
            adapted[flat] = kernel.shape[2], shape[2]
            result[flat] = adapt(kernel, shape[2])
            continue
        if layout.is_bias_table and _resizable(arrays[0].shape, shape):
            window = tuple((side + 1) // 2 for side in shape[1:])
            resized[flat] = arrays[0].shape, tuple(shape)
            result[flat] = np.asarray(resize_table(arrays[0], window))
            continue
        if math.prod(shape) > stored:  # which takes memory to lay out
            misshaped.append(f"{names[0]} {_shape(arrays[0].shape)}, not {_shape(shape)}")
            continue
        wanted = [a.shape for a in layout.to_theirs(np.empty(shape, np.float32))]
        wrong = [
            f"{name} {_shape(array.shape)}, not {_shape(want)}"
            for name, array, want in zip(names, arrays, wanted, strict=True)
            if array.shape != want
        ]
        misshaped += wrong
        if not wrong:
            result[flat] = np.asarray(layout.to_ours(arrays, shape), np.float32, order="C")

    left, unused, unexpected = list(file.left), [], []
    for key in sorted(spelled.keys() - used):
        (name, array), ours = spelled[key], table.ours(key)
        buffer = ours is None and not _floats(array)  # counters and indices that code keeps
        if buffer or table.is_idle(key) or (ours and _within(ours, skip)):
            left.append(name)
        elif ours:
            unused.append(key)
        else:
            unexpected.append(name)
    problems = {
        "missing": missing,
        "mis-shaped": misshaped,
        "not of this model": unused,
        "unexpected": unexpected,
        "there in two spellings": twice,
        "not of floating-point numbers": integers,
    }
    found = [f"{len(v)} {kind} ({_some(v)})" for kind, v in problems.items() if v]
    if found:
        raise UserError(
            f"{file.path} ({table.source}) does not fit the model: {'; '.join(found)}{hint}"
        )
    require_finite({spelled[key][0]: spelled[key][1] for key in used}, file.path)
    report = Report(
        file, table.source, len(used), resized, tuple(fresh), tuple(left), adapted=adapted
    )
    return result, report


def export_arrays(table: Table, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Turns our arrays into foreign ones, the exact inverse of `import_arrays`.

    Args:
      table: whose names to write.
      arrays: under flat names such as `params/stem/conv_0/kernel`.
    """
    result = {}
    for flat, array in arrays.items():
        names, layout = table.theirs(flat.partition("/")[2])
        parts = layout.to_theirs(np.asarray(array))
        result |= {
            name: np.asarray(part, order="C") for name, part in zip(names, parts, strict=True)
        }
    return result


def flatten(variables: Mapping[str, Any]) -> dict[str, Any]:
    """`{"params": {"stem": {...}}}` -> `{"params/stem/...": leaf}`."""
    return traverse_util.flatten_dict(dict(variables), sep="/")


def unflatten(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`."""
    return traverse_util.unflatten_dict(dict(arrays), sep="/")


def _within(name: str, modules: Sequence[str]) -> bool:
    return any(name == m or name.startswith(f"{m}/") for m in modules)


def _resizable(old: tuple[int, ...], new: tuple[int, ...]) -> bool:
    return len(old) == len(new) and old[0] == new[0] and old != tuple(new)


def _floats(array: np.ndarray) -> bool:
    return np.issubdtype(array.dtype, np.floating)


def _some(names: Sequence[str]) -> str:
    more = f", {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _sides(table: Sequence[int]) -> str:
    return "x".join(map(str, table[1:]))


def _shape(shape: Sequence[int]) -> str:
    return f"[{', '.join(map(str, shape))}]"
