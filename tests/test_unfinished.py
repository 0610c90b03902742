"""What is written appears when it is complete, whoever is killed, fails or writes the same."""

import os
import threading

import pytest

from common.errors import UserError
from common.file_locks import locked
from common.unfinished import unfinished_file, unfinished_folder, write_bytes
from tests.full_disk import largest_file


def names(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_what_a_killed_process_left_is_taken_over(tmp_path):
    (tmp_path / ".a.png.tmp").write_text("what a killed process left, which is longer")
    (tmp_path / ".weights.tmp" / "new" / "half").mkdir(parents=True)
    (tmp_path / ".weights.tmp" / "lock").touch()
    write_bytes(tmp_path / "a.png", b"new")
    with unfinished_folder(tmp_path / "weights") as folder:
        (folder / "arrays").touch()
        assert not (tmp_path / "weights").exists()
    assert names(tmp_path) == {"a.png", "weights", "weights/arrays"}
    assert (tmp_path / "a.png").read_bytes() == b"new"


def test_failures_leave_what_was_there(tmp_path):
    (tmp_path / "a.png").write_text("old")
    with pytest.raises(KeyboardInterrupt), unfinished_file(tmp_path / "a.png") as file:
        file.write_text("half")
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), unfinished_folder(tmp_path / "weights") as folder:
        (folder / "half").touch()
        raise KeyboardInterrupt
    (tmp_path / "taken" / "by").mkdir(parents=True)
    words = "/taken exists already"
    with pytest.raises(UserError, match=words), unfinished_folder(tmp_path / "taken"):
        pass
    assert names(tmp_path) == {"a.png", "taken", "taken/by"}
    assert (tmp_path / "a.png").read_text() == "old"


def test_errors_of_a_full_disk_name_what_is_written(tmp_path):
    with largest_file(10):
        with pytest.raises(OSError, match=r"too large: '.*/a\.png'"):
            write_bytes(tmp_path / "a.png", b"eleven bytes")
        words = r"too large: '.*/weights'"
        with pytest.raises(OSError, match=words), unfinished_folder(tmp_path / "weights") as folder:
            write_bytes(folder / "arrays", b"eleven bytes")
    assert not names(tmp_path)
    with pytest.raises(FileNotFoundError, match="elsewhere"), unfinished_file(tmp_path / "a.png"):
        (tmp_path / "elsewhere").read_bytes()


def test_of_two_that_write_a_file_the_second_waits(tmp_path):
    """Each in its turn, though the first takes away what the second has opened."""
    path = tmp_path / "a.png"
    second = threading.Thread(target=write_bytes, args=[path, b"second"])
    with unfinished_file(path) as file:
        file.write_bytes(b"first")
        second.start()
        second.join(timeout=0.1)
        assert second.is_alive() and file.read_bytes() == b"first"
    second.join(timeout=10)
    assert path.read_bytes() == b"second" and names(tmp_path) == {"a.png"}


def test_of_two_that_write_a_folder_the_second_is_refused(tmp_path):
    path = tmp_path / "weights"
    with unfinished_folder(path) as folder:
        (folder / "arrays").touch()
        words = r"/weights is being written by another process: wait for it"
        with pytest.raises(UserError, match=words), unfinished_folder(path):
            pass
    assert names(tmp_path) == {"weights", "weights/arrays"}


def test_buckets_have_no_locks():
    with locked("gs://bucket/a", "a") as first, locked("gs://bucket/a", "a") as second:
        assert not first and not second


def test_what_others_put_at_the_temporary_name_is_left_alone(tmp_path):
    (tmp_path / "precious").write_text("theirs")
    os.mkfifo(tmp_path / ".pipe.tmp")  # opening it would wait for ever
    (tmp_path / ".folder.tmp").mkdir()
    (tmp_path / ".link.tmp").symlink_to(tmp_path / "precious")
    for name in ("pipe", "folder", "link"):
        with pytest.raises(UserError, match=rf"\.{name}\.tmp is a link, a folder or no regular"):
            write_bytes(tmp_path / name, b"ours")
        assert not (tmp_path / name).exists()
    assert (tmp_path / "precious").read_text() == "theirs"
