"""JSON files that may come from anybody: read whole, or refused in one line."""

import json
from typing import Any

from etils import epath

from common.config import require
from common.errors import UserError
from common.weights.refusals import require_plain

_MOST_BYTES = 64 << 20  # names of 21,841 classes have two


def read_json(path: epath.PathLike) -> Any:
    """Returns what a JSON file holds.

    Raises:
      UserError: it is missing, no file, far too large, or damaged.
    """
    path = epath.Path(path)
    require_plain(path)
    size = path.stat().length
    require(size <= _MOST_BYTES, f"{path} has {size:,} bytes: it is no config")
    try:
        return json.loads(path.read_text())
    except (ValueError, RecursionError) as error:  # a number of too many digits, no text
        reason = next(iter(str(error).splitlines()), "")[:160]
        raise UserError(f"{path} is damaged ({type(error).__name__}: {reason})") from error
