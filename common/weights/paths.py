"""What is given as the path of weights: a path, or an address that they are fetched from."""

import pathlib
import re

from etils import epath

from common.errors import UserError
from common.weights.addresses import SCHEMES, is_address, local_path

_SCHEME = re.compile(r"[A-Za-z][\w.+-]+:(//)?")  # one letter is a Windows drive
_BUCKETS = ("gs://", "s3://", "az://")


def weight_path(path: epath.PathLike) -> epath.Path:
    """Returns the path of weights on this machine, or in a bucket that it can read.

    Args:
      path: a path, or an address (`common.weights.addresses`), whose weights are fetched.

    Raises:
      UserError: they can't be had, or a scheme that can't be read here, such as `ftp://`.
    """
    text = str(path)
    scheme = _SCHEME.match(text)
    if scheme is None or pathlib.Path(text).exists():
        return epath.Path(path)
    if is_address(text) and (place := local_path(text)):
        return place
    try:
        if not text.startswith(_BUCKETS):
            raise ValueError(f"these can be: {', '.join(SCHEMES)}")
        path = epath.Path(path)
        path.exists()
    except Exception as error:  # of TensorFlow, fsspec or a missing package: none can read it
        reason = next(iter(str(error).splitlines()), "")[:160]
        raise UserError(
            f"weights can't be read from {scheme[0]} here ({text}): download them first and give"
            f" the local path{f' ({reason})' * bool(reason)}"
        ) from error
    return path
