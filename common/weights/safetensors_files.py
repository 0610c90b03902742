"""Safetensors: one file, or several parts with an index that says which array is in which."""

import json
import re
from collections.abc import Mapping

import ml_dtypes
import numpy as np
from etils import epath

from common.config import require
from common.errors import UserError
from common.weights.refusals import require_names, require_plain

INDEX_ENDING = ".safetensors.index.json"
_PART = re.compile(r"[\w-][\w.-]*\.safetensors")  # no folders
_MOST_INDEX_BYTES = 64 << 20
_DTYPES = {
    **{"F64": "f8", "F32": "f4", "F16": "f2", "BF16": ml_dtypes.bfloat16},
    **{"I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1"},
    **{"U64": "u8", "U32": "u4", "U16": "u2", "U8": "u1", "BOOL": "?"},
}


def parse_safetensors(path: epath.PathLike, data: bytes) -> dict[str, np.ndarray]:
    """Returns the arrays of a safetensors file, in the types they are stored in.

    Args:
      path: for messages.
      data: the file's content.

    Raises:
      UserError: the file is damaged or holds a type that NumPy lacks.
    """
    import safetensors

    try:
        tensors = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        raise UserError(
            f"{path} is a damaged .safetensors file, get it again ({str(error)[:160]})"
        ) from error
    require_names(path, [name for name, _ in tensors])
    arrays = {}
    for name, tensor in tensors:
        if tensor["dtype"] not in _DTYPES:
            raise UserError(f"{path}: array {name} has type {tensor['dtype']}, not supported")
        flat = np.frombuffer(tensor["data"], _DTYPES[tensor["dtype"]])
        arrays[name] = flat.reshape(tensor["shape"])
    return arrays


def read_shards(index: epath.PathLike) -> dict[str, np.ndarray]:
    """Returns the arrays of all parts that an index names, in the types they are stored in.

    Args:
      index: a file such as `model.safetensors.index.json`; the parts lie beside it.

    Raises:
      UserError: index or a part is damaged or missing, or they don't agree.
    """
    index = epath.Path(index)
    part_of, arrays = _weight_map(index), {}
    for part in shard_names(index):
        path = index.parent / part
        require(path.exists(), f"{index} names {part}, which is not there: get it too")
        require_plain(path)
        for name, array in parse_safetensors(path, path.read_bytes()).items():
            require(part_of.get(name) == part, f"{path} has {name}, which {index.name} denies")
            arrays[name] = array
    lacking = sorted(part_of.keys() - arrays.keys())
    require(not lacking, f"{index} names {', '.join(lacking[:3])}, which its parts lack")
    return arrays


def shard_names(index: epath.PathLike) -> list[str]:
    """Returns the names of the parts that an index names.

    Raises:
      UserError: it is damaged, or names a file elsewhere.
    """
    return sorted(set(_weight_map(epath.Path(index)).values()))


def _weight_map(index: epath.Path) -> Mapping[str, str]:
    require_plain(index)
    size = index.stat().length
    require(size <= _MOST_INDEX_BYTES, f"{index} has {size:,} bytes: it is no index of weights")
    try:
        weight_map = json.loads(index.read_text())["weight_map"]
        if not weight_map or not isinstance(weight_map, dict):
            raise TypeError("its weight_map names no arrays")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{index} is damaged ({type(error).__name__}: {error})") from error
    for part in weight_map.values():
        plain = isinstance(part, str) and bool(_PART.fullmatch(part))
        require(plain, f"{index} names {part!r}, which is no .safetensors file beside it: refused")
    return weight_map
