"""Our own format: complete or not there, never overwritten by accident, checked when read."""

import json
import sys

import numpy as np
import pytest

from common.errors import UserError
from common.weights import io
from common.weights.writers import write_state_dict, write_tensorflow

ARRAYS = {
    "params/stem/kernel": np.arange(6, dtype=np.float32).reshape(2, 3).T,  # not contiguous
    "params/scale": np.array(2.0, np.float32),
    "batch_stats/stem/mean": np.array([-0.0, 1e-40], np.float32),
}
CONFIG = {"family": "f", "model": "m", "fields": {"widths": [1, 2]}}


def test_what_is_saved_is_loaded(tmp_path):
    io.save(tmp_path / "deep" / "w", ARRAYS, {**CONFIG, "preprocessing": {"mean": [0.5]}})
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["w"]
    assert io.is_own(tmp_path / "deep" / "w") and not io.is_own(tmp_path)
    file, config = io.load(tmp_path / "deep" / "w")
    assert config["fields"] == CONFIG["fields"] and config["preprocessing"] == {"mean": [0.5]}
    assert file.arrays.keys() == {"stem/kernel", "scale", "stem/mean"}
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(file.arrays[name.partition("/")[2]], array, strict=True)
        assert np.signbit(file.arrays["stem/mean"][0])


def test_nothing_is_overwritten_unless_told_and_ours(tmp_path):
    path = tmp_path / "w"
    path.mkdir()
    io.save(path, ARRAYS, CONFIG)  # an empty directory is free
    with pytest.raises(UserError, match="exists already"):
        io.save(path, ARRAYS, CONFIG)
    io.save(path, {"params/a": np.zeros(1, np.float32)}, CONFIG, overwrite=True)
    assert io.load(path)[0].arrays.keys() == {"a"}
    (path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="not overwritten"):
        io.save(path, ARRAYS, CONFIG, overwrite=True)
    assert (path / "thesis.tex").exists()
    with pytest.raises(UserError, match="not overwritten"):
        io.save(path / "thesis.tex", ARRAYS, CONFIG, overwrite=True)


def test_a_failed_save_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        io.save(tmp_path / "w", ARRAYS, {"fields": object()})
    assert list(tmp_path.iterdir()) == []


def test_damage_is_noticed(tmp_path):
    path = tmp_path / "w"
    io.save(path, ARRAYS, CONFIG)
    arrays, config = path / io.ARRAYS, path / io.CONFIG
    good, text = arrays.read_bytes(), config.read_text()

    flipped = bytearray(good)
    flipped[-1] ^= 1
    for bad in (bytes(flipped), good[:-5], b""):
        arrays.write_bytes(bad)
        with pytest.raises(UserError, match="SHA-256"):
            io.load(path)
    arrays.write_bytes(good)
    no_fields = json.dumps({**json.loads(text), "fields": [1]})
    for bad in (text[:-20], "[]", "{}", "", no_fields):
        config.write_text(bad)
        with pytest.raises(UserError, match="is damaged"):
            io.load(path)
    config.write_text(json.dumps({**json.loads(text), "format_version": 99}))
    with pytest.raises(UserError, match="format 99"):
        io.load(path)
    config.unlink()
    with pytest.raises(UserError, match="not a directory with"):
        io.load(path)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_writers_do_not_overwrite(name, tmp_path):
    write_state_dict(tmp_path / "new" / name, ARRAYS)
    assert [p.name for p in (tmp_path / "new").iterdir()] == [name]
    with pytest.raises(UserError, match="exists already"):
        write_state_dict(tmp_path / "new" / name, ARRAYS)


def test_tensorflow_writer_does_not_overwrite(tmp_path):
    write_tensorflow(tmp_path / "new" / "model", ARRAYS)
    with pytest.raises(UserError, match="exists already"):
        write_tensorflow(tmp_path / "new" / "model", ARRAYS)


def test_writers_without_what_they_need(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match=r"needs TensorFlow: pip install 'multi-axis-jax\[tens"):
        write_tensorflow(tmp_path / "model", ARRAYS)
    with pytest.raises(UserError, match=r"needs PyTorch: pip install 'multi-axis-jax\[torch\]'"):
        write_state_dict(tmp_path / "w.pth", ARRAYS)
    assert not list(tmp_path.iterdir())
