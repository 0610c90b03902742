"""What happens to files: bits, lengths, values of JSON, and something else in their place."""

import io
import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def damage(folder: Path, rng: random.Random, *, instead: bool) -> tuple[str, str]:
    """Damages a file of a folder, or a folder in it; returns its name in there, and how.

    Args:
      folder: changed in place.
      rng: decides on all.
      instead: something else may take the file's place.
    """
    # By size, as Orbax draws some of the names.
    found = (path for path in folder.rglob("*") if path.is_file())
    files = sorted(found, key=lambda path: (path.parent, path.stat().st_size, path.name))
    # Otherwise most cases would be of the arrays' many files alone.
    of_json = [path for path in files if _json_of(path) is not None]
    path = rng.choice(of_json if of_json and rng.random() < 0.5 else files)
    folders = sorted(path for path in folder.rglob("*") if path.is_dir())
    if instead and folders and rng.random() < 0.05:
        path, how = rng.choice(folders), rng.choice(list(_INSTEAD))
        shutil.rmtree(path)
        _INSTEAD[how](path)
        return str(path.relative_to(folder)), how
    name, value = str(path.relative_to(folder)), _json_of(path)
    kind = rng.random()
    if value is not None and kind < 0.7:
        path.write_text(json.dumps(_other_json(value, rng)))
        return name, "json"
    if instead and kind > 0.93:
        how = rng.choice(list(_INSTEAD))
        path.unlink()
        _INSTEAD[how](path)
        return name, how
    data = path.read_bytes()
    if rng.random() < 0.5 and (inside := _inside(data, rng)) is not None:
        path.write_bytes(inside)
        return name, "inside"
    how = rng.choice(list(_BYTES))
    path.write_bytes(_BYTES[how](data, rng))
    return name, how


def _json_of(path: Path) -> Any:
    try:
        return json.loads(path.read_text()) if path.stat().st_size < 1 << 20 else None
    except (ValueError, RecursionError):
        return None


# ---------------------------------------------------------------- bytes


def _flipped(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 30)) if data else 0):
        # The first bytes are headers.
        changed[rng.randrange(rng.choice((len(data), min(len(data), 64))))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _longer(data: bytes, rng: random.Random) -> bytes:
    at, size = rng.randrange(len(data) + 1), rng.choice((1, 100, 10_000))
    return data[:at] + rng.randbytes(size) + data[at:]


def _zeroed(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    block = data[start : start + rng.choice((1, 8, 512))]
    return data[:start] + bytes(len(block)) + data[start + len(block) :]


def _repeated(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start : start + rng.choice((8, 200, 5000))] + data[start:]


def _extreme(data: bytes, rng: random.Random) -> bytes:
    """A number of the file becomes one that is too large for anything."""
    width = rng.choice((2, 4, 8))
    value = rng.choice((2 ** (8 * width) - 1, 2 ** (8 * width - 1) - 1, 2 ** (6 * width), 0))
    at = rng.randrange(max(1, min(len(data), rng.choice((64, 4096, len(data) or 1)))))
    return data[:at] + value.to_bytes(width, rng.choice(("little", "big"))) + data[at + width :]


def _digits(data: bytes, rng: random.Random) -> bytes:
    """A digit becomes many: sizes in the headers of texts."""
    places = [i for i, byte in enumerate(data[:20_000]) if 48 <= byte <= 57]
    at = rng.choice(places) if places else 0
    return data[:at] + rng.choice((b"9" * 9, b"9" * 30, b"-1", b"1e9")) + data[at + 1 :]


_BYTES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "flipped": _flipped,
    "cut": _cut,
    "longer": _longer,
    "zeroed": _zeroed,
    "repeated": _repeated,
    "extreme": _extreme,
    "digits": _digits,
}
CONTENT = frozenset(_BYTES)  # damages that sums tell

# ---------------------------------------------------------------- below the sums


def _inside(data: bytes, rng: random.Random) -> bytes | None:
    """Damages what an archive holds, whose sums are right, or the header of safetensors."""
    if data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        pickles = [name for name in parts if name.endswith(".pkl")]
        name = rng.choice(pickles if pickles and rng.random() < 0.8 else list(parts))
        parts[name] = _BYTES[rng.choice(list(_BYTES))](parts[name], rng)
        whole = io.BytesIO()
        with zipfile.ZipFile(whole, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, content)
        return whole.getvalue()
    if data[8:9] == b"{":
        length = int.from_bytes(data[:8], "little")
        header = json.dumps(_other_json(json.loads(data[8 : 8 + length]), rng)).encode()
        return len(header).to_bytes(8, "little") + header + data[8 + length :]
    return None


# ---------------------------------------------------------------- in a file's place


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 42)


_INSTEAD: dict[str, Callable[[Path], object]] = {
    "gone": lambda path: None,
    "folder": os.mkdir,
    "pipe": os.mkfifo,
    "endless": lambda path: os.symlink("/dev/zero", path),
    "link to nothing": lambda path: os.symlink("nowhere", path),
    "link to itself": lambda path: os.symlink(path.name, path),
    "sparse": _sparse,
    "page": lambda path: path.write_text("<!DOCTYPE html><html>404</html>"),
}

# ---------------------------------------------------------------- JSON


def _other_json(value: Any, rng: random.Random) -> Any:
    """The same value with one part of it another."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        if rng.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        return value | {key: _other_json(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.6:
        at = rng.randrange(len(value))
        return [*value[:at], _other_json(value[at], rng), *value[at + 1 :]]
    return rng.choice(_ODD)(value)


def _deep(value: Any) -> Any:
    for _ in range(500):
        value = [value]
    return value


_ODD: list[Callable[[Any], Any]] = [
    *(lambda _, odd=odd: odd for odd in (None, True, False, 0, 1, -1, 1000, 2**31, 10**9, 10**30)),
    *(lambda _, odd=odd: odd for odd in (0.5, -1e308, float("nan"), float("inf"), 1e-30)),
    *(
        lambda _, odd=odd: odd
        for odd in ("", "x", "os:system", "a\nb\x1b[31m", "é" * 5000, "../..")
    ),
    *(
        lambda _, odd=odd: odd
        for odd in ([], {}, [1], {"a": 1}, [None], [[1e9]], [32 * 10**4], [10**9] * 4)
    ),
    lambda value: [value],
    lambda value: {"": value},
    lambda value: [value] * 100,
    lambda value: str(value),
    _deep,
]
