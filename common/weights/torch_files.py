"""PyTorch's files as named arrays, through its weights-only loader: nothing is unpickled."""

import argparse
import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from etils import epath

from common.errors import UserError
from common.weights.refusals import damaged, require_memory, require_names

if TYPE_CHECKING:
    import torch

# Where training scripts keep weights within a file, moving averages first.
_WRAPPERS = (
    *("state_dict_ema", "model_ema", "params_ema", "ema_state_dict", "ema"),
    *("state_dict", "model_state_dict", "model", "params", "module", "net"),
)
_DEEPEST = 20  # dicts within dicts
_MOST_DICTS = 100_000


def read_state_dict(path: epath.Path, data: bytes) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Returns the arrays of a PyTorch file by name, and what else it holds.

    Training scripts' wrappers are taken off where they are known; of other dicts within dicts the
    keys become parts of the names, joined by dots.

    Args:
      path: where it lies.
      data: its content.

    Raises:
      UserError: it is damaged, holds code or no tensors, or tensors that are no plain arrays.
    """
    content = _load(path, data)
    tensors, ignored = _tensors(path, content)
    require_names(path, tensors)
    odd = {name: kind for name, tensor in tensors.items() if (kind := _oddity(tensor))}
    if odd:
        name, kind = next(iter(odd.items()))
        raise UserError(f"{path}: array {name} {kind}")
    # A tensor may repeat what is stored any number of times.
    wanted = sum(4 * t.numel() for t in tensors.values())
    require_memory(path, wanted, len(data))
    return {name: _array(path, name, tensor) for name, tensor in tensors.items()}, ignored


def _load(path: epath.Path, data: bytes) -> Any:
    try:
        import torch
    except ImportError as error:
        needed = "needs PyTorch: pip install 'multi-axis-jax[torch]'"
        raise UserError(f"reading {path} {needed}") from error
    # Mapped files are cut where they end; otherwise PyTorch takes sizes in the pickle at their word
    # and reads beyond.
    mapped = data[:2] == b"PK" and "://" not in str(path)
    source = str(path) if mapped else io.BytesIO(data)
    try:
        # Namespaces, in which timm keeps its arguments, are as inert as dicts.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # UnpicklingError, EOFError, RuntimeError, ...: all mean damaged
        unsafe = re.search(r"unsupported (?:global: )?GLOBAL ([\w.]+)", str(error), re.IGNORECASE)
        if unsafe:
            raise UserError(
                f"{path} holds more than tensors ({unsafe[1]}), which could run code: refused;"
                " re-save its state dict alone"
            ) from error
        raise damaged(path, "PyTorch", error) from error


def _tensors(path: epath.Path, content: Any) -> tuple[dict[str, "torch.Tensor"], tuple[str, ...]]:
    ignored: tuple[str, ...] = ()
    for _ in range(_DEEPEST):
        wrapper = next((w for w in _WRAPPERS if any(_named(_inside(content, w)))), None)
        if wrapper is None:
            break
        ignored += tuple(str(key) for key in content if key != wrapper)
        content = content[wrapper]
    tensors = dict(_named(content))
    if not tensors:
        raise UserError(f"{path} is a PyTorch file without a state dict (a dict of named tensors)")
    begin = {name.partition(".")[0] for name in tensors}
    others = (key for key in map(str, content) if key.partition(".")[0] not in begin)
    return tensors, (*ignored, *others)


def _inside(content: Any, key: str) -> Any:
    return content.get(key) if isinstance(content, dict) else None


def _named(
    content: Any, start: str = "", seen: set[int] | None = None
) -> Iterator[tuple[str, "torch.Tensor"]]:
    """All tensors of dicts within dicts, by the keys that lead to them.

    Args:
      content: of a file; anything but a dict holds none.
      start: of the names.
      seen: dicts that were met: they may hold each other, and themselves.
    """
    import torch

    seen = set() if seen is None else seen
    if not isinstance(content, dict) or id(content) in seen or len(seen) > _MOST_DICTS:
        return
    seen.add(id(content))
    for key, value in content.items():
        if isinstance(value, torch.Tensor):
            yield f"{start}{key}", value
        elif start.count(".") < _DEEPEST:
            yield from _named(value, f"{start}{key}.", seen)


def _oddity(tensor: "torch.Tensor") -> str:
    """What keeps a tensor from being an array; nothing if it is one."""
    import torch

    if tensor.is_nested or tensor.layout != torch.strided:
        return "is sparse or nested, not supported: save it dense"
    if tensor.is_quantized:
        return "is quantised, not supported: save it dequantised"
    return "has no values (a meta tensor)" if tensor.is_meta else ""


def _array(path: epath.Path, name: str, tensor: "torch.Tensor") -> np.ndarray:
    tensor = tensor.detach().resolve_conj().resolve_neg()
    try:
        # Copied: the file may change under a mapping.
        return np.array((tensor.float() if tensor.is_floating_point() else tensor).numpy())
    except (RuntimeError, TypeError) as error:  # a type that NumPy lacks
        raise UserError(f"{path}: array {name} of {tensor.dtype} can't be read") from error
