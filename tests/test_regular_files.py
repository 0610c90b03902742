import os

import pytest

from common.regular_files import read_file


def test_read_file(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_file(tmp_path / "link") == b"content"


def test_what_may_have_no_end_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(OSError, match="a pipe or device, not a file"):
            read_file(path)
    with pytest.raises(OSError, match="directory"):
        read_file(tmp_path)
