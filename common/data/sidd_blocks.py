"""The validation blocks of SIDD: patches of photos in two MATLAB files."""

import os
from typing import Any

import numpy as np

from common.data.images import CorruptImage
from common.errors import UserError


class SiddBlocks:
    """Pairs of 8-bit blocks from `ValidationNoisyBlocksSrgb.mat` and `ValidationGtBlocksSrgb.mat`.

    Each file holds one array `[photos, blocks, height, width, 3]`: 40 x 32 x 256 x 256 x 3 in the
    published ones. They are read whole, a quarter of a gigabyte each, at the first block that is
    asked for, in every process that asks.

    Args:
      input_file: of the noisy blocks.
      target_file: of the clean ones.

    Raises:
      UserError: a missing or other file, or arrays that don't match.
    """

    def __init__(self, input_file: str | os.PathLike[str], target_file: str | os.PathLike[str]):
        self._files = {"input": os.fspath(input_file), "target": os.fspath(target_file)}
        self._variables, shapes = {}, {}
        for key, file in self._files.items():
            self._variables[key], shapes[key] = _blocks_in(file)
        if shapes["input"] != shapes["target"]:
            files = " and ".join(self._files.values())
            raise UserError(
                f"{files} hold different blocks: {' and '.join(map(str, shapes.values()))}"
            )
        self._shape = shapes["input"]
        self._arrays: dict[str, np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_arrays": {}}  # pixels don't travel

    def __len__(self) -> int:
        return self._shape[0] * self._shape[1]

    def __getitem__(self, index: int) -> dict[str, Any]:
        photo, block = divmod(range(len(self))[index], self._shape[1])
        pair = {key: self._array(key)[photo, block] for key in self._files}
        return pair | {"name": self.name(index)}

    def name(self, index: int) -> str:
        """Returns numbers of photo and block, from one: "03_12"."""
        photo, block = divmod(range(len(self))[index], self._shape[1])
        return f"{photo + 1:02}_{block + 1:02}"

    def _array(self, key: str) -> np.ndarray:
        if key not in self._arrays:
            from scipy.io import loadmat

            file, variable = self._files[key], self._variables[key]
            try:
                self._arrays[key] = loadmat(file, variable_names=[variable])[variable]
            except Exception as error:  # zlib's, scipy's and the system's
                raise CorruptImage(f"{file}: {error}") from error
        return self._arrays[key]


def _blocks_in(file: str) -> tuple[str, tuple[int, ...]]:
    """Name and shape of the array of blocks in a file, from its header."""
    from scipy.io import matlab, whosmat

    try:
        contents = whosmat(file)
    except OSError as error:
        raise UserError(
            f"{file}: {error.strerror or error}; SIDD publishes it as validation data"
        ) from error
    except NotImplementedError as error:  # HDF5
        raise UserError(f"{file} is of MATLAB version 7.3; save it with -v7") from error
    except (matlab.MatReadError, ValueError, TypeError) as error:
        raise UserError(f"{file} is no MATLAB file: {error}") from error
    for name, shape, kind in contents:
        if len(shape) == 5 and shape[-1] == 3 and kind == "uint8":
            return name, shape
    raise UserError(
        f"{file} holds no 8-bit blocks [photos, blocks, height, width, 3]; "
        f"its arrays: {', '.join(f'{name} {kind} {shape}' for name, shape, kind in contents)}"
    )
