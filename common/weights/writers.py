"""Weight files for other frameworks: safetensors, PyTorch, NumPy and TensorFlow."""

import errno
import os
from collections.abc import Mapping

import numpy as np
from etils import epath

from common.errors import UserError
from common.unfinished import scratch_folder, unfinished_file
from common.weights.io import require_free, to_safetensors
from common.weights.readers import EMA_SUFFIX


def write_state_dict(path: epath.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a PyTorch state dict: `.pth` or `.pt` by PyTorch itself, any other as safetensors.

    Args:
      path: the file to make.
      arrays: by PyTorch name.

    Raises:
      UserError: the path is taken, or PyTorch is needed and not there.
    """
    path = epath.Path(path)
    require_free(path)
    with unfinished_file(path) as temporary:
        if path.suffix in (".pth", ".pt"):
            try:
                import torch
            except ImportError as error:
                needed = "needs PyTorch: pip install 'multi-axis-jax[torch]'"
                raise UserError(f"writing {path} {needed}") from error
            tensors = {name: torch.from_numpy(np.array(a)) for name, a in arrays.items()}
            with temporary.open("wb") as file:
                torch.save(tensors, file)
        else:
            temporary.write_bytes(to_safetensors(arrays))


def write_npz(path: epath.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an uncompressed NumPy archive.

    Args:
      path: the file to make, whatever it ends in.
      arrays: by name.

    Raises:
      UserError: the path is taken.
    """
    path = epath.Path(path)
    require_free(path)
    with unfinished_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # a file object: savez appends ".npz" to names


def write_tensorflow(prefix: epath.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a name-based TensorFlow checkpoint, as moving averages: what official code restores.

    Args:
      prefix: of the files to make (`<prefix>.index`, `<prefix>.data-...`).
      arrays: by TensorFlow variable name.

    Raises:
      UserError: the path is taken, or TensorFlow isn't there.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        needed = "needs TensorFlow: pip install 'multi-axis-jax[tensorflow]'"
        raise UserError(f"writing {prefix} {needed}") from error
    prefix = epath.Path(prefix)
    for path in (prefix, epath.Path(f"{prefix}.index")):
        require_free(path)
    with scratch_folder(prefix) as folder:
        try:
            tf.raw_ops.SaveV2(
                prefix=str(folder / prefix.name),
                tensor_names=[name + EMA_SUFFIX for name in arrays],
                shape_and_slices=[""] * len(arrays),
                tensors=[tf.constant(a) for a in arrays.values()],
            )
        except tf.errors.ResourceExhaustedError as error:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(prefix)) from error
        for file in sorted(folder.iterdir()):  # the index last: without it there is no checkpoint
            file.rename(prefix.parent / file.name)
