"""Checksums of checkpoint files."""

import subprocess

import pytest
from etils import epath

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
    subprocess.run(["sha256sum", "--check", "--quiet", MANIFEST], cwd=folder, check=True)
    (folder / "commit_success.txt").write_text("written after the manifest")
    assert find_damage(epath.Path(folder)) is None


def flip(path):
    data = bytearray(path.read_bytes())
    data[777] ^= 16
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda f: flip(f / "state/d/arrays"), "state/d/arrays differs from its checksum"),
        (
            lambda f: (f / "state/d/arrays").write_bytes(b"cut"),
            "state/d/arrays differs from its checksum",
        ),
        (lambda f: (f / "state/shapes").unlink(), "state/shapes is missing"),
        (lambda f: (f / "state/more").write_text(""), "state/more is extra"),
        (lambda f: (f / MANIFEST).unlink(), "SHA256SUMS is missing"),
        (lambda f: (f / MANIFEST).write_bytes(b"\xff\xfe"), "SHA256SUMS is damaged"),
        (lambda f: (f / MANIFEST).write_text("abc"), "SHA256SUMS is damaged"),
    ],
)
def test_damage_is_named(folder, damage, problem):
    damage(folder)
    assert problem in find_damage(epath.Path(folder))
