"""Weight files of other frameworks as named arrays: TensorFlow, NumPy, safetensors and PyTorch.

The format is read from the content, whatever the file is called. Nothing is ever unpickled into
objects: `.npz` without object arrays, `.pth` through PyTorch's weights-only loader.
"""

import argparse
import dataclasses
import io
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
from etils import epath

from common.errors import UserError
from common.weights.paths import weight_path
from common.weights.safetensors_files import INDEX_ENDING, parse_safetensors, read_shards

EMA_SUFFIX = "/ExponentialMovingAverage"
# What optimizers and loops store beside the weights.
_BOOKKEEPING = re.compile(
    r".*/(Adam\w*|LAMB\w*|LARS\w*|Lion\w*|Momentum|RMSProp|Adagrad|Ftrl|Adafactor|adam_[mv]|"
    r"lamb_[mv]|v[rc]|\.OPTIMIZER_SLOT)(_\d+)?(/.*)?"
    r"|(.*/)?(global_step|save_counter|learning_rate|beta[12]_power(_\d+)?)"
    r"|(.*\.)?num_batches_tracked",
    re.IGNORECASE,
)
_OPTIMIZER_TARGET = "opt/target/"  # where old flax training states keep the weights
# Where training scripts keep weights within a .pth file, moving averages first.
_WRAPPERS = (
    *("state_dict_ema", "model_ema", "params_ema", "ema_state_dict", "ema"),
    *("state_dict", "model_state_dict", "model", "params", "module", "net"),
)
_PREFIXES = ("module.", "_orig_mod.", "timm_model.")  # DataParallel, torch.compile, transformers
_MOST_UNPACKED = 64 << 30  # bytes of a zip archive
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_OF_VARIABLE = "/.ATTRIBUTES/VARIABLE_VALUE"
_TF_INDEX_MAGIC = bytes.fromhex("57fb808b247547db")  # the last bytes of an index file
_NOT_WEIGHTS = (
    (re.compile(rb"\s*<"), "is a web page (HTML), not weights: a failed download?"),
    (re.compile(rb"version https://git-lfs"), "is a Git LFS pointer: fetch the file itself"),
    (re.compile(rb"\x89HDF"), "is an HDF5 (Keras) file, which is not supported: export .npz"),
    (re.compile(rb"\x93NUMPY"), "is a single array: .npz with all named arrays is needed"),
    (re.compile(rb"\x1f\x8b|BZh|\xfd7zXZ"), "is compressed: unpack it first"),
)


@dataclasses.dataclass(frozen=True)
class WeightFile:
    """Content of a weight file.

    Attributes:
      path: where it was read.
      format: `"TensorFlow"`, `"npz"`, `"safetensors"` or `"PyTorch"`.
      arrays: by name; floating ones are float32. Where the file holds moving averages of
        variables, they stand under the variables' names.
      ignored: names of what else is stored: raw weights behind averages, optimizer slots, steps.
      left: arrays beside the model's own, such as a task's head on it.
    """

    path: str
    format: str
    arrays: Mapping[str, np.ndarray]
    ignored: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def read_arrays(path: epath.PathLike) -> WeightFile:
    """Reads the arrays of a weight file.

    Args:
      path: an `.npz`, `.safetensors` or `.pth` file, the index of safetensors in parts, or a
        TensorFlow checkpoint: its prefix, its `.index` file or its directory.

    Raises:
      UserError: the path is missing, damaged, of an unknown format or not data only.
    """
    path = weight_path(path)
    prefix = _tensorflow_prefix(path)
    if prefix is not None:
        return _read_tensorflow(prefix)
    if not path.exists():
        raise UserError(f"{path} does not exist")
    if path.name.endswith(INDEX_ENDING):
        return _weight_file(path, "safetensors", read_shards(path))
    data = path.read_bytes()
    read = _detect(path, data)
    return read(path, data)


def require_finite(arrays: Mapping[str, np.ndarray], path: epath.PathLike) -> None:
    """Checks that no array holds NaN or infinity.

    Raises:
      UserError: naming the first one that does.
    """
    bad = [name for name, a in arrays.items() if a.dtype.kind == "f" and not np.isfinite(a).all()]
    if bad:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise UserError(f"{path}: array {bad[0]}{more} holds NaN or infinity: unusable weights")


def _detect(path: epath.Path, data: bytes) -> Callable[[epath.Path, bytes], WeightFile]:
    if not data:
        raise UserError(f"{path} is empty")
    for pattern, explanation in _NOT_WEIGHTS:
        if pattern.match(data):
            raise UserError(f"{path} {explanation}")
    if data[:4] == b"PK\x03\x04":
        try:
            archive = zipfile.ZipFile(io.BytesIO(data))
            size = sum(part.file_size for part in archive.infolist())
            if size > _MOST_UNPACKED:
                raise UserError(f"{path} would have {size:,} bytes unpacked: refused")
            names, broken = archive.namelist(), archive.testzip()  # PyTorch checks no sums
            if broken:
                raise zipfile.BadZipFile(f"checksum of {broken}")
        # zipfile raises the last one for a compression that it doesn't know.
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise _damaged(path, "zip (.npz or .pth)", error) from error
        if any("/code/" in name for name in names):
            raise UserError(f"{path} is a TorchScript program, refused: save its state dict alone")
        if any(name.endswith("data.pkl") for name in names):
            return _read_torch
        if all(name.endswith(".npy") for name in names):
            return _read_npz
        raise UserError(f"{path} is a zip archive of neither arrays (.npz) nor PyTorch weights")
    if data[:1] == b"\x80":
        return _read_torch
    if data[8:9] == b"{":
        return _read_safetensors
    if data.endswith(_TF_INDEX_MAGIC):
        raise UserError(f"{path} is the index of a TensorFlow checkpoint: name it .index")
    raise UserError(
        f"{path} is not a weight file we know: expected a TensorFlow checkpoint, .npz,"
        " .safetensors or .pth"
    )


def _damaged(path: epath.PathLike, kind: str, error: Exception) -> UserError:
    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    reason = lines[0].strip()[:160]
    if not reason or "weights_only" in reason:  # PyTorch's advice would run the file's code
        reason = type(error).__name__
    return UserError(f"{path} is a damaged {kind} file, get it again ({reason})")


def _weight_file(path: epath.PathLike, kind: str, stored: Mapping[str, Any]) -> WeightFile:
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in stored):
            stored = {name.removeprefix(prefix): array for name, array in stored.items()}
    chosen = published_names(stored)
    arrays = {name: _float32(np.asarray(stored[key])) for name, key in chosen.items()}
    if not arrays:
        raise UserError(f"{path} ({kind}) holds no weights")
    ignored = tuple(sorted(stored.keys() - set(chosen.values())))
    return WeightFile(str(path), kind, arrays, ignored)


def published_names(names: Iterable[str]) -> dict[str, str]:
    """Chooses what to read among stored names.

    A moving average stands for its variable, steps and optimizer slots are left out, and a `:0`
    at the end of a name is cut off. Of an old flax training state, the optimizer's target alone is
    read.

    Returns:
      The stored name to read for each variable.
    """
    names = list(names)
    targets = [name for name in names if name.startswith(_OPTIMIZER_TARGET)]
    chosen = {}
    for name in targets or names:
        variable = name.removesuffix(":0").removesuffix(EMA_SUFFIX)
        averaged = variable != name.removesuffix(":0")
        if not _BOOKKEEPING.fullmatch(variable) and (averaged or variable not in chosen):
            chosen[variable] = name
    return chosen


def _float32(array: np.ndarray) -> np.ndarray:
    floating = array.dtype.kind == "f" or array.dtype == ml_dtypes.bfloat16
    return array.astype(np.float32, copy=False) if floating else array


def _read_npz(path: epath.Path, data: bytes) -> WeightFile:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # whatever numpy, zipfile and zlib raise on damaged bytes
        if "allow_pickle" in str(error):
            raise UserError(
                f"{path} holds pickled Python objects, which could run code: refused; save plain"
                " arrays"
            ) from error
        raise _damaged(path, ".npz", error) from error
    return _weight_file(path, "npz", arrays)


def _read_safetensors(path: epath.Path, data: bytes) -> WeightFile:
    return _weight_file(path, "safetensors", parse_safetensors(path, data))


def _read_torch(path: epath.Path, data: bytes) -> WeightFile:
    try:
        import torch
    except ImportError as error:
        needed = "needs PyTorch: pip install 'multi-axis-jax[torch]'"
        raise UserError(f"reading {path} {needed}") from error
    try:
        # Namespaces, in which timm keeps its arguments, are as inert as dicts.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # UnpicklingError, EOFError, RuntimeError, ...: all mean damaged
        unsafe = re.search(r"unsupported (?:global: )?GLOBAL ([\w.]+)", str(error), re.IGNORECASE)
        if unsafe:
            raise UserError(
                f"{path} holds more than tensors ({unsafe[1]}), which could run code: refused;"
                " re-save its state dict alone"
            ) from error
        raise _damaged(path, "PyTorch", error) from error

    tensors, ignored = _state_dict(path, content)
    arrays = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach()
        arrays[name] = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    file = _weight_file(path, "PyTorch", arrays)
    return dataclasses.replace(file, ignored=file.ignored + ignored)


def _state_dict(path: epath.Path, content: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Finds the tensors within training scripts' wrappers; also returns the keys passed over."""
    import torch

    ignored: tuple[str, ...] = ()
    while isinstance(content, dict):
        wrapper = next((w for w in _WRAPPERS if isinstance(content.get(w), dict)), None)
        if wrapper is None:
            tensors = {str(k): v for k, v in content.items() if isinstance(v, torch.Tensor)}
            if tensors:
                return tensors, ignored + tuple(str(k) for k in content if str(k) not in tensors)
            break
        ignored += tuple(str(k) for k in content if k != wrapper)
        content = content[wrapper]
    raise UserError(f"{path} is a PyTorch file without a state dict (a dict of named tensors)")


def _tensorflow_prefix(path: epath.Path) -> str | None:
    """Returns the checkpoint's prefix if the path means a TensorFlow checkpoint.

    Raises:
      UserError: the path is a directory without exactly one checkpoint to choose.
    """
    text = str(path)
    if path.is_dir():
        state = path / "checkpoint"
        if state.exists():
            latest = re.search(r'^model_checkpoint_path: "(.*)"', state.read_text(), re.MULTILINE)
            if latest:
                prefix = path / epath.Path(latest[1]).name  # paths of another machine may linger
                if epath.Path(f"{prefix}.index").exists():
                    return str(prefix)
                raise UserError(f"{state} names {prefix}, which has no .index file")
        found = sorted(p.name for p in path.iterdir() if p.name.endswith(".index"))
        if len(found) == 1:
            return str(path / found[0]).removesuffix(".index")
        if not found:
            raise UserError(f"{path} is a directory without a checkpoint (no .index file)")
        raise UserError(f"{path} holds {len(found)} checkpoints: give one, such as {found[0]}")
    prefix = re.sub(r"\.(index|data-\d+-of-\d+)$", "", text)
    if epath.Path(f"{prefix}.index").exists() and not (prefix == text and path.exists()):
        return prefix
    return None


def _read_tensorflow(prefix: str) -> WeightFile:
    try:
        import tensorflow as tf
    except ImportError as error:
        needed = "needs TensorFlow: pip install 'multi-axis-jax[tensorflow]'"
        raise UserError(f"reading {prefix} {needed}") from error
    try:
        reader = tf.train.load_checkpoint(prefix)
        keys = reader.get_variable_to_shape_map().keys()
        key_of = {key: key for key in keys}
        if _OBJECT_GRAPH in keys:
            key_of = _keys_of_variables(reader.get_tensor(_OBJECT_GRAPH))
        wanted = set(published_names(sorted(key_of)).values())
        # Slots can be twice as large as the weights: they are not even read.
        stored = {n: reader.get_tensor(key_of[n]) if n in wanted else None for n in sorted(key_of)}
    except Exception as error:  # tf.errors.OpError, RuntimeError, ValueError: all mean damaged
        raise _damaged(prefix, "TensorFlow checkpoint", error) from error
    return _weight_file(prefix, "TensorFlow", stored)


def _keys_of_variables(graph: bytes) -> dict[str, str]:
    """Name of every variable in an object-based checkpoint -> the key that it is stored under.

    A variable's name is that in the code that made it, which need not be the only one of that name:
    then it is the path of attributes to it. Slots of optimizers keep their keys.
    """
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    nodes = trackable_object_graph_pb2.TrackableObjectGraph.FromString(graph).nodes
    stored = [attribute for node in nodes for attribute in node.attributes]
    name_of = {
        item.checkpoint_key: item.full_name
        for item in stored
        if item.checkpoint_key.endswith(_OF_VARIABLE)
    }
    times = Counter(name_of.values())
    key_of = {}
    for key, name in name_of.items():
        path = key.removesuffix(_OF_VARIABLE)
        plain = name and times[name] == 1 and not _BOOKKEEPING.fullmatch(path)
        key_of[name if plain else path] = key
    return key_of
