"""Checksums of checkpoint files."""

import errno
import os
import subprocess

import pytest
from etils import epath

from common.train import manifest
from common.train.manifest import MANIFEST, find_damage, write_manifest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "state" / "d").mkdir(parents=True)
    (tmp_path / "state" / "d" / "arrays").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "state" / "shapes").write_text("{}")
    write_manifest(epath.Path(tmp_path))
    return tmp_path


def test_intact(folder):
    assert find_damage(epath.Path(folder)) is None
    command = ["sha256sum", "--check", "--strict", "--quiet", MANIFEST]
    shown = subprocess.run(command, cwd=folder, check=True, capture_output=True)
    assert not shown.stdout and not shown.stderr


def test_manifest_from_before_the_header(folder):
    header, _, rest = (folder / MANIFEST).read_text().partition("\n")
    assert header == "# 2 files"
    (folder / MANIFEST).write_text(rest)
    assert find_damage(epath.Path(folder)) is None
    flip(folder / "state/d/arrays")
    assert find_damage(epath.Path(folder)) == "state/d/arrays differs from its checksum"


def test_files_that_came_later_do_no_harm(folder):
    for name in ("commit_success.txt", ".DS_Store", "state/.nfs0001", "state/d/arrays~", "more/x"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("")
    assert find_damage(epath.Path(folder)) is None


def test_hidden_files_are_not_covered(folder):
    """They may be gone as soon as they are seen."""
    (folder / "state" / ".nfs0001").write_text("")
    write_manifest(epath.Path(folder))
    (folder / "state" / ".nfs0001").unlink()
    assert find_damage(epath.Path(folder)) is None


def flip(path):
    data = bytearray(path.read_bytes())
    data[777] ^= 16
    path.write_bytes(data)


def put(path, make):
    """Puts something in a file's place."""
    path.unlink()
    make(path)


def hollow(path):
    with path.open("wb") as file:
        file.truncate(1 << 42)


def link(target):
    return lambda path: os.symlink(target, path)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda f: flip(f / "state/d/arrays"), "state/d/arrays differs from its checksum"),
        (
            lambda f: (f / "state/d/arrays").write_bytes(b"cut"),
            "state/d/arrays differs from its checksum",
        ),
        (lambda f: (f / "state/shapes").unlink(), "state/shapes is missing"),
        (lambda f: put(f / "state/shapes", os.mkdir), "state/shapes is missing"),
        (lambda f: put(f / "state/shapes", os.mkfifo), "state/shapes is missing"),
        (lambda f: put(f / "state/shapes", link("/dev/zero")), "state/shapes is missing"),
        (lambda f: put(f / "state/shapes", link("nowhere")), "state/shapes is missing"),
        (lambda f: put(f / "state/shapes", link("shapes")), "state/shapes is missing"),
        (lambda f: put(f / "state/shapes", link("d/arrays")), "shapes differs from its checksum"),
        (lambda f: put(f / "state/shapes", hollow), "state/shapes is missing"),
        (lambda f: put(f / MANIFEST, os.mkdir), "SHA256SUMS is missing"),
        (lambda f: put(f / MANIFEST, os.mkfifo), "SHA256SUMS is missing"),
        (lambda f: (f / MANIFEST).unlink(), "SHA256SUMS is missing"),
        (lambda f: (f / MANIFEST).write_bytes(b"\xff\xfe"), "SHA256SUMS is damaged"),
        (lambda f: (f / MANIFEST).write_text("abc"), "SHA256SUMS is damaged"),
    ],
)
def test_damage_is_named(folder, damage, problem):
    damage(folder)
    assert problem in find_damage(epath.Path(folder))


def test_every_flipped_bit_and_every_cut_of_the_manifest_is_noticed(folder):
    path = folder / MANIFEST
    whole = path.read_bytes()
    for i in range(8 * len(whole)):
        data = bytearray(whole)
        data[i // 8] ^= 1 << i % 8
        path.write_bytes(data)
        assert find_damage(epath.Path(folder)), bytes(data)
    for length in range(len(whole) - 1):  # but for the end of the last line
        path.write_bytes(whole[:length])
        assert find_damage(epath.Path(folder)), whole[:length]


def test_one_file_alone(folder):
    flip(folder / "state/d/arrays")
    assert find_damage(epath.Path(folder), "state/shapes") is None
    assert "differs" in find_damage(epath.Path(folder), "state/d/arrays")
    assert "is missing" in find_damage(epath.Path(folder), "state/more")


def test_disk_that_goes_bad_is_damage_and_a_mistake_in_rights_is_not(folder, monkeypatch):
    def fail(folder, names):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(manifest, "_digests", fail)
    number = errno.EIO
    assert find_damage(epath.Path(folder)) == "a file can't be read: Input/output error"
    number = errno.EACCES
    with pytest.raises(PermissionError):
        find_damage(epath.Path(folder))
