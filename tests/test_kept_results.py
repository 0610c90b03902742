"""Results in files come back with the same bits; what is damaged, or has no room, isn't there."""

import errno

import ml_dtypes
import numpy as np
import pytest
from etils import epath

from common import kept_results
from common.kept_results import KeptResults

RESULT = {
    "nothing": {},
    "pairs": [({"logits": np.float32([[1.5, np.nan]])}, {"mask": np.array([True, False])})],
    "half": np.array([1.1, -2], ml_dtypes.bfloat16),
    "turned": np.arange(6, dtype=np.uint8).reshape(2, 3).T,
    "count": np.array(7),
    "row": {"name": "caf\udce9\n.png", "psnr": float("inf"), "ssim": 0.1 + 0.2, "height": 3},
}


def leaves(tree):
    if isinstance(tree, dict | list | tuple):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {(key, *rest): leaf for key, each in items for rest, leaf in leaves(each).items()}
    return {(): (tree.dtype, tree.shape, tree.tobytes()) if hasattr(tree, "dtype") else tree}


def test_results_come_back_with_the_same_bits(tmp_path):
    folder = epath.Path(tmp_path / "kept")
    assert KeptResults(folder).found == 0 and not folder.exists()
    KeptResults(folder).keep(3, RESULT)
    kept = KeptResults(folder)
    assert kept.found == 1 and kept.get(2) is None
    assert leaves(kept.get(3)) == leaves(RESULT) and kept.get(3)["nothing"] == {}
    assert [path.name for path in folder.iterdir()] == ["00000003.safetensors"]


@pytest.mark.parametrize("content", [b"", b"\0" * 20, None])
def test_damaged_results_are_none(tmp_path, content):
    folder = epath.Path(tmp_path)
    KeptResults(folder).keep(0, RESULT)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-5] if content is None else content)
    assert KeptResults(folder).get(0) is None


def test_no_more_is_kept_than_there_is_room_for(tmp_path, monkeypatch, capsys):
    folder = epath.Path(tmp_path)
    monkeypatch.setattr(kept_results, "LIMIT", 3000)
    kept = KeptResults(folder)
    for number in range(5):
        kept.keep(number, {"x": np.zeros(1000, np.uint8)})
    assert sorted(path.name[:8] for path in tmp_path.iterdir()) == ["00000000", "00000001"]
    assert capsys.readouterr().out.count("an interruption costs those that follow") == 1


def test_full_disk_gives_back_its_room(tmp_path, monkeypatch, capsys):
    """What was kept makes room for the report, and the work is not disturbed."""
    kept = KeptResults(epath.Path(tmp_path / "kept"))
    kept.keep(0, RESULT)

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(kept_results, "write_bytes", full)
    kept.keep(1, RESULT)
    kept.keep(2, RESULT)
    assert not (tmp_path / "kept").exists()
    assert capsys.readouterr().out.count("(No space left on device)") == 1
