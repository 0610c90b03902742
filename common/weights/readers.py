"""Weight files of other frameworks as named arrays: TensorFlow, NumPy, safetensors and PyTorch.

The format is read from the content, whatever the file is called. Nothing is ever unpickled into
objects: `.npz` without object arrays, `.pth` through PyTorch's weights-only loader.
"""

import dataclasses
import io
import math
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
from etils import epath

from common.config import require
from common.errors import TooLarge, UserError
from common.weights.paths import weight_path
from common.weights.refusals import damaged, require_memory, require_names, require_plain
from common.weights.safetensors_files import INDEX_ENDING, parse_safetensors, read_shards
from common.weights.torch_files import read_state_dict

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
# Parts of names that PyTorch's own wrappers add anywhere: torch.compile, FSDP, checkpointing.
_OF_WRAPPERS = re.compile(r"(?<![^.])_\w+\.")
_MOST_STATE_BYTES = 1 << 20  # of TensorFlow's list of checkpoints
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
      prefix: what stood before all names, such as `"module."`.
    """

    path: str
    format: str
    arrays: Mapping[str, np.ndarray]
    ignored: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    prefix: str = ""


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
    require_plain(path)
    try:
        data = path.read_bytes()
        return _detect(path, data)(path, data)
    except MemoryError as error:
        raise TooLarge(f"{path} needs more memory than there is") from error


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
    header = int.from_bytes(data[:8], "little")  # may begin as any other format does
    if data[8:9] == b"{" and header <= len(data) - 8:
        return _read_safetensors
    for pattern, explanation in _NOT_WEIGHTS:
        if pattern.match(data):
            raise UserError(f"{path} {explanation}")
    if data[:4] == b"PK\x03\x04":
        names = _parts(path, data)
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


def _parts(path: epath.Path, data: bytes) -> list[str]:
    """Returns the names of a zip archive's parts, all of which are whole."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = archive.infolist()
            names = [part.filename for part in parts]
            require_names(path, names)
            encrypted = next((part.filename for part in parts if part.flag_bits & 1), None)
            if encrypted:
                raise UserError(f"{path} is encrypted ({encrypted}): decrypt it first")
            require_memory(path, sum(part.file_size for part in parts), len(data))
            if len(set(names)) < len(names):
                raise zipfile.BadZipFile("two parts have one name")
            broken = archive.testzip()  # PyTorch checks no sums
            if broken:
                raise zipfile.BadZipFile(f"checksum of {broken}")
    except UserError:
        raise
    except Exception as error:  # of zipfile, whatever decompresses, the text of names
        raise damaged(path, "zip (.npz or .pth)", error) from error
    return names


def _weight_file(path: epath.PathLike, kind: str, stored: Mapping[str, Any]) -> WeightFile:
    require_names(path, stored)
    chosen = published_names(stored)
    plain = {_OF_WRAPPERS.sub("", name): key for name, key in chosen.items()}
    chosen = plain if len(plain) == len(chosen) else chosen
    arrays = {name: as_float32(np.asarray(stored[key])) for name, key in chosen.items()}
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


def as_float32(array: np.ndarray) -> np.ndarray:
    """Returns floating-point numbers of any width as float32, and other arrays as they are."""
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
        raise damaged(path, ".npz", error) from error
    return _weight_file(path, "npz", arrays)


def _read_safetensors(path: epath.Path, data: bytes) -> WeightFile:
    return _weight_file(path, "safetensors", parse_safetensors(path, data))


def _read_torch(path: epath.Path, data: bytes) -> WeightFile:
    arrays, ignored = read_state_dict(path, data)
    file = _weight_file(path, "PyTorch", arrays)
    return dataclasses.replace(file, ignored=file.ignored + ignored)


def _tensorflow_prefix(path: epath.Path) -> str | None:
    """Returns the checkpoint's prefix if the path means a TensorFlow checkpoint.

    Raises:
      UserError: the path is a directory without exactly one checkpoint to choose.
    """
    text = str(path)
    if path.is_dir():
        state = path / "checkpoint"
        if state.exists():
            require_plain(state)
            list_of_them = state.stat().length <= _MOST_STATE_BYTES
            require(list_of_them, f"{state} is no list of checkpoints: it is too large")
            latest = re.search(rb'^model_checkpoint_path: "(.*)"', state.read_bytes(), re.MULTILINE)
            if latest:
                # Paths of another machine may linger.
                prefix = path / epath.Path(latest[1].decode(errors="replace")).name
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
    files = _files_of(prefix)
    try:
        reader = tf.train.load_checkpoint(prefix)
        keys = reader.get_variable_to_shape_map()
        require_names(prefix, keys)
        require_memory(prefix, _bytes_of(reader), sum(file.stat().length for file in files))
        key_of = {key: key for key in keys}
        if _OBJECT_GRAPH in keys:
            key_of = _keys_of_variables(reader.get_tensor(_OBJECT_GRAPH))
        wanted = set(published_names(sorted(key_of)).values())
        # Slots can be twice as large as the weights: they are not even read.
        stored = {n: reader.get_tensor(key_of[n]) if n in wanted else None for n in sorted(key_of)}
    except UserError:
        raise
    except Exception as error:  # tf.errors.OpError, RuntimeError, ValueError: all mean damaged
        raise damaged(prefix, "TensorFlow checkpoint", error) from error
    return _weight_file(prefix, "TensorFlow", stored)


def _files_of(prefix: str) -> list[epath.Path]:
    """The index of a checkpoint and its data; a pipe among them would hold up TensorFlow."""
    start = epath.Path(prefix)
    files = [path for path in start.parent.iterdir() if path.name.startswith(f"{start.name}.")]
    files = [path for path in files if re.search(r"\.(index|data-\d+-of-\d+)$", path.name)]
    for path in files:
        require_plain(path)
    return files


def _bytes_of(reader: Any) -> int:
    """What the arrays of a checkpoint will take, as its index says."""
    types = reader.get_variable_to_dtype_map()
    shapes = reader.get_variable_to_shape_map()
    return sum(types[name].size * math.prod(shape) for name, shape in shapes.items())


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
