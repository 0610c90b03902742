"""Every format is read whatever its name; the damaged and unsafe is refused in one line."""

import argparse
import collections
import os
import pickle
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from common.errors import UserError
from common.weights.readers import published_names, read_arrays, require_finite
from tests.golden.cases import write_arrays

ARRAYS = {
    "a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a/bias": np.array([1.5, -0.0], np.float32),
    "scalar": np.array(3.0, np.float32),
}
FORMATS = {"tf": "TensorFlow", "npz": "npz", "safetensors": "safetensors", "pth": "PyTorch"}


def assert_same(got, want):
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_array_equal(got[name], want[name], strict=True)


def refusal(path) -> str:
    """Returns the one line that reading a path fails with."""
    with pytest.raises(UserError) as info:
        read_arrays(path)
    message = str(info.value)
    assert "\n" not in message and str(path) in message
    assert "weights_only" not in message  # PyTorch advises to turn it off
    return message


class Payload:
    """Unpickling this makes a directory: proof of executed code."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("fmt", FORMATS)
def test_reads_every_format_by_content(fmt, tmp_path):
    path = write_arrays(tmp_path / "weights.bin", ARRAYS, fmt)
    file = read_arrays(path)
    assert file.format == FORMATS[fmt]
    assert file.ignored == ()
    assert_same(file.arrays, ARRAYS)


@pytest.mark.parametrize("first", [b"\x80", b"<", b"PK\x03\x04"[:1]])
def test_safetensors_may_begin_as_other_formats_do(first, tmp_path):
    """Eight bytes are the length of the header, whatever it is."""
    write_arrays(tmp_path / "w", ARRAYS, "safetensors")
    data = (tmp_path / "w").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].ljust(length + (first[0] - length) % 256)
    whole = len(header).to_bytes(8, "little") + header + data[8 + length :]
    assert whole[:1] == first
    (tmp_path / "w").write_bytes(whole)
    assert_same(read_arrays(tmp_path / "w").arrays, ARRAYS)


@pytest.mark.parametrize("given", ["{}", "{}.index", "{}.data-00000-of-00001", ""])
def test_tensorflow_by_prefix_index_data_or_directory(given, tmp_path):
    write_arrays(tmp_path / "model", ARRAYS, "tf")
    assert_same(read_arrays(tmp_path / given.format("model")).arrays, ARRAYS)


def test_tensorflow_directory_state_file_chooses(tmp_path):
    write_arrays(tmp_path / "model-1", {"a": np.zeros(1, np.float32)}, "tf")
    write_arrays(tmp_path / "model-2", ARRAYS, "tf")
    assert "holds 2 checkpoints" in refusal(tmp_path)
    state = 'model_checkpoint_path: "/elsewhere/model-2"\nall_model_checkpoint_paths: "x"\n'
    (tmp_path / "checkpoint").write_text(state)
    assert_same(read_arrays(tmp_path).arrays, ARRAYS)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model-3"\n')
    assert "model-3" in refusal(tmp_path)


def test_moving_averages_are_preferred_and_bookkeeping_is_ignored():
    ema = "/ExponentialMovingAverage"
    names = [f"w{ema}", "w", "w/Adam", "w/Adam_1", "w/LAMB", "w/Momentum", "raw", "raw/adam_v"]
    names += ["global_step", "beta1_power", "eager:0", "x/v/weight", "bn.num_batches_tracked"]
    assert published_names(names) == {
        "w": f"w{ema}",
        "raw": "raw",
        "eager": "eager:0",
        "x/v/weight": "x/v/weight",
    }
    assert published_names(reversed(names))["w"] == f"w{ema}"


def test_of_an_old_training_state_the_target_alone_is_read():
    names = ["opt/target/a/kernel", "opt/state/step", "opt/state/param_states/a/kernel/grad_ema"]
    names += ["opt/target/b/step", "ema/a/kernel", "epoch"]
    assert set(published_names(names)) == {"opt/target/a/kernel", "opt/target/b/step"}
    assert set(published_names(names[4:])) == {"ema/a/kernel", "epoch"}


def test_low_precision_becomes_float32(tmp_path):
    import torch
    from safetensors.torch import save_file

    values = torch.tensor([1.0, 2.5, -3.0])
    state = {"bf16": values.bfloat16(), "f16": values.half(), "f64": values.double()}
    save_file(state, tmp_path / "s")
    torch.save(state, tmp_path / "t")
    np.savez(tmp_path / "n.npz", f16=values.numpy().astype(np.float16), f64=values.double().numpy())
    for path in tmp_path.iterdir():
        for array in read_arrays(path).arrays.values():
            np.testing.assert_array_equal(array, values.numpy(), strict=True)


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_pytorch_zip_and_legacy_plain_and_wrapped(zipped, wrap, tmp_path):
    import torch

    state = collections.OrderedDict((n, torch.from_numpy(np.array(a))) for n, a in ARRAYS.items())
    content = state
    if wrap:
        parallel = {f"module.{n}": t for n, t in state.items()}
        raw = {n: torch.zeros_like(t) for n, t in state.items()}
        content = {"epoch": 3, "state_dict": raw, "state_dict_ema": parallel}
    torch.save(content, tmp_path / "x", _use_new_zipfile_serialization=zipped)
    file = read_arrays(tmp_path / "x")
    assert_same(file.arrays, {f"{'module.' * wrap}{n}": a for n, a in ARRAYS.items()})
    assert file.ignored == (("epoch", "state_dict") if wrap else ())


@pytest.mark.parametrize("zipped", [False, True])
def test_pytorch_file_with_code_is_refused_and_not_executed(zipped, tmp_path):
    import torch

    trap, path = tmp_path / "trap", tmp_path / "evil.pth"
    content = {"state_dict": {"w": torch.zeros(1)}, "args": Payload(trap)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    message = refusal(path)
    assert "refused" in message and "mkdir" in message
    assert not trap.exists()
    torch.load(path, weights_only=False)  # the trap is real
    assert trap.exists()


def test_pytorch_training_arguments_are_harmless(tmp_path):
    import torch

    content = {"state_dict": {"w": torch.ones(2)}, "args": argparse.Namespace(lr=0.1)}
    torch.save(content, tmp_path / "x")
    file = read_arrays(tmp_path / "x")
    assert_same(file.arrays, {"w": np.ones(2, np.float32)})
    assert file.ignored == ("args",)


def test_archives_that_would_fill_the_memory_are_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "bomb.npz", w=np.zeros(10**6, np.float32))
    assert (tmp_path / "bomb.npz").stat().st_size < 10**4
    monkeypatch.setattr("common.weights.refusals._SMALL", 10**6)
    assert "would have 4,000,128 bytes unpacked and is" in refusal(tmp_path / "bomb.npz")


def test_a_small_file_can_take_no_memory(tmp_path):
    """Sizes in headers and pickles, repeated values, and files without an end."""
    import torch

    repeated = torch.zeros(1).expand(10**6, 10**6)
    torch.save({"w": repeated}, tmp_path / "repeated.pth")
    assert "4,000,000,000,000 bytes" in refusal(tmp_path / "repeated.pth")
    np.savez(tmp_path / "many.npz", **{f"w{i}": np.zeros(1, np.float32) for i in range(40)})
    assert len(read_arrays(tmp_path / "many.npz").arrays) == 40
    assert "is no file, but a device" in refusal("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    assert "is no file, but a pipe" in refusal(tmp_path / "pipe")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 42)
    assert "this machine has" in refusal(tmp_path / "sparse")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2 << 30)
    assert "hardly any were written" in refusal(tmp_path / "sparse")
    write_arrays(tmp_path / "model", ARRAYS, "tf")
    (tmp_path / "model.data-00001-of-00001").symlink_to("/dev/zero")
    assert "is no file" in refusal(tmp_path / "model")


def test_storages_end_where_the_file_says(tmp_path):
    """PyTorch takes the number of elements in the pickle at its word."""
    import zipfile

    import torch

    torch.save({"w": torch.arange(5.0)}, tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "x.pth") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    (pickled,) = (name for name in parts if name.endswith("data.pkl"))
    size = parts[pickled].replace(b"K\x05", b"J\x00\x00\x00\x04")  # 5, as 67,108,864
    assert size.count(b"J\x00\x00\x00\x04") == 2
    with zipfile.ZipFile(tmp_path / "y.pth", "w") as archive:
        for name, content in (parts | {pickled: size}).items():
            archive.writestr(name, content)
    assert "damaged" in refusal(tmp_path / "y.pth")


def test_too_many_arrays_and_names_that_are_none(tmp_path, monkeypatch):
    monkeypatch.setattr("common.weights.refusals._MOST_ARRAYS", 10)
    for fmt in FORMATS:
        path = write_arrays(tmp_path / fmt, {f"w{i}": np.zeros(1) for i in range(11)}, fmt)
        message = refusal(path)
        assert "arrays, more than 10" in message
    for fmt in ("npz", "safetensors", "pth"):
        for name in ("line\nline", "x" * 10**4, "a\x1b[31mb"):
            message = refusal(write_arrays(tmp_path / "odd", {name: np.zeros(1)}, fmt))
            assert "names an array" in message or "damaged" in message
            assert len(message) < 400 and message.isprintable()


def test_tensors_that_are_no_arrays(tmp_path):
    import torch

    itself = {"w": torch.zeros(2)}
    itself["state_dict"] = itself["more"] = itself
    torch.save(itself, tmp_path / "itself")
    assert set(read_arrays(tmp_path / "itself").arrays) == {"w"}
    kinds = {"sparse": torch.eye(3).to_sparse(), "meta": torch.zeros(2, device="meta")}
    with pytest.warns(UserWarning):
        kinds["quantised"] = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8)
    kinds["complex"] = torch.zeros(2, dtype=torch.complex64).conj()
    for name, tensor in kinds.items():
        torch.save({"w": tensor, "v": torch.zeros(1)}, tmp_path / name)
        if name == "complex":
            assert read_arrays(tmp_path / name).arrays["w"].dtype == np.complex64
        else:
            assert "array w" in refusal(tmp_path / name) or "damaged" in refusal(tmp_path / name)


def test_zip_entries_of_every_kind(tmp_path):
    import zipfile

    def changed(change):
        data = bytearray(write_and_read(tmp_path / "w.npz"))
        (tmp_path / "w.npz").write_bytes(change(data))
        return refusal(tmp_path / "w.npz")

    def flags(bits):
        def set_bits(data):
            for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
                start = data.index(magic) + at
                data[start : start + 2] = bits.to_bytes(2, "little")
            return data

        return set_bits

    assert "is encrypted" in changed(flags(1))
    assert "damaged zip" in changed(lambda d: flags(0x800)(d.replace(b"name", b"\xff\xfe\xff\xfe")))
    assert "damaged zip" in changed(lambda d: d.replace(b"PK\x01\x02", b"PK\x07\x02"))
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as archive, pytest.warns(UserWarning):
        archive.writestr("a.npy", b"1")
        archive.writestr("a.npy", b"2")
    assert "two parts have one name" in refusal(tmp_path / "twice.npz")


def write_and_read(path):
    np.savez(path, name=np.zeros(3))
    return path.read_bytes()


def test_torchscript_is_refused(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("model/data.pkl", b"\x80\x02}.")
        archive.writestr("model/code/__torch__.py", "class Linear(Module): pass")
    assert "TorchScript" in refusal(tmp_path / "model.pt")


def test_bare_pickle_is_refused_and_not_executed(tmp_path):
    trap, path = tmp_path / "trap", tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps(Payload(trap)))
    refusal(path)
    assert not trap.exists()


def test_pickled_arrays_in_npz_are_refused_and_not_executed(tmp_path):
    trap, path = tmp_path / "trap", tmp_path / "evil.npz"
    np.savez(path, good=np.zeros(2), bad=np.array([Payload(trap)], object))
    assert "pickled Python objects" in refusal(path)
    assert not trap.exists()


@pytest.mark.parametrize("part", [0.1, 0.5, 0.97])
@pytest.mark.parametrize("fmt", ["npz", "safetensors", "pth", "legacy"])
def test_truncated_files(fmt, part, tmp_path):
    import torch

    arrays = {f"w{i}": np.random.RandomState(i).randn(50).astype(np.float32) for i in range(20)}
    path = tmp_path / "weights"
    if fmt == "legacy":
        state = {n: torch.from_numpy(a) for n, a in arrays.items()}
        torch.save(state, path, _use_new_zipfile_serialization=False)
    else:
        write_arrays(path, arrays, fmt)
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("fmt", ["npz", "pth"])
def test_flipped_bytes_are_noticed(fmt, tmp_path):
    path = tmp_path / "weights"
    write_arrays(path, {"w": np.full(1000, 1.25, np.float32)}, fmt)
    data = bytearray(path.read_bytes())
    at = data.index(np.full(10, 1.25, np.float32).tobytes()) + 100
    data[at] ^= 1
    path.write_bytes(data)
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
@pytest.mark.parametrize("keep", [0, 0.5, 0.95])
def test_truncated_tensorflow_checkpoint(suffix, keep, tmp_path):
    prefix = write_arrays(tmp_path / "model", {"w": np.ones(500, np.float32)}, "tf")
    path = tmp_path / f"model{suffix}"
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    assert "damaged" in refusal(prefix)


def test_tensorflow_checkpoint_without_data_or_index(tmp_path):
    prefix = write_arrays(tmp_path / "model", ARRAYS, "tf")
    data = tmp_path / "model.data-00000-of-00001"
    data.rename(tmp_path / "elsewhere")
    assert "damaged" in refusal(prefix)
    (tmp_path / "elsewhere").rename(data)
    (tmp_path / "model.index").rename(tmp_path / "renamed")
    assert "does not exist" in refusal(prefix)
    assert "name it .index" in refusal(tmp_path / "renamed")


def test_object_based_tensorflow_checkpoint(tmp_path):
    """Variables have the names that code gave them; of those with one name, the paths tell."""
    import tensorflow as tf

    def variable(name, *values):
        return tf.Variable(np.array(values, np.float32), name=name)

    part = tf.train.Checkpoint(gamma=variable("norm/gamma", 1), beta=variable("norm/beta", 2))
    other = tf.train.Checkpoint(gamma=variable("norm/gamma", 3))
    prefix = tf.train.Checkpoint(encoder=part, decoder=other).save(str(tmp_path / "model"))
    file = read_arrays(prefix)
    assert {name: float(a[0]) for name, a in file.arrays.items()} == {
        "norm/beta": 2,
        "encoder/gamma": 1,
        "decoder/gamma": 3,
    }
    assert file.ignored == ("save_counter",)


@pytest.mark.parametrize(
    ("content", "explanation"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"\n  <html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"\x93NUMPY\x01\x00" + bytes(100), "single array"),
        (b"\x1f\x8b\x08" + bytes(100), "compressed"),
        (b"hello, world, this is text", "not a weight file we know"),
        (bytes(8), "not a weight file we know"),
        (b"\xff" * 8 + b"{", "damaged .safetensors"),
        (b"\x80\x02" + bytes(50), "damaged PyTorch"),
    ],
)
def test_files_that_are_no_weights(content, explanation, tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    assert explanation in refusal(path)


def test_paths_without_weights(tmp_path):
    import torch

    assert "does not exist" in refusal(tmp_path / "nowhere.npz")
    assert "without a checkpoint" in refusal(tmp_path)
    np.savez(tmp_path / "empty.npz")
    refusal(tmp_path / "empty.npz")
    torch.save({"epoch": 3}, tmp_path / "log.pth")
    assert "without a state dict" in refusal(tmp_path / "log.pth")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    assert "without a state dict" in refusal(tmp_path / "list.pth")


def test_not_finite_names_the_first():
    arrays = {"good": np.zeros(2, np.float32), "bad": np.array([0, np.nan], np.float32)}
    require_finite({"good": arrays["good"], "count": np.array(3)}, "file")
    with pytest.raises(UserError, match="file: array bad holds NaN or infinity"):
        require_finite(arrays, "file")
    with pytest.raises(UserError, match=r"array bad \(and 1 more\)"):
        require_finite({**arrays, "worse": np.array([np.inf], np.float32)}, "file")


def test_bfloat16_array_without_float_kind_is_converted(tmp_path):
    from safetensors.numpy import save_file

    save_file({"w": np.ones(2, np.float16)}, tmp_path / "s")
    assert read_arrays(tmp_path / "s").arrays["w"].dtype == np.float32
    assert np.ones(2, ml_dtypes.bfloat16).dtype.kind != "f"  # why the reader asks for it by name


def test_importing_models_needs_neither_tensorflow_nor_pytorch():
    code = (
        "import sys, maxvit_jax, common.weights.readers, common.weights.writers\n"
        "loaded = {'tensorflow', 'torch'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_pytorch_is_optional(tmp_path, monkeypatch):
    path = write_arrays(tmp_path / "x.pth", ARRAYS, "pth")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "pip install 'multi-axis-jax[torch]'" in refusal(path)


def test_tensorflow_is_optional(tmp_path, monkeypatch):
    path = write_arrays(tmp_path / "model", ARRAYS, "tf")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    message = "needs TensorFlow: pip install 'multi-axis-jax[tensorflow]'"
    assert f"reading {path} {message}" in refusal(path)
