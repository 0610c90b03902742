"""Stored arrays of functions without weights: `downstream/NAME.npz` and what its manifest says."""

import json
from typing import Any

import numpy as np

from tests.golden.cases import FOLDER


def load_arrays(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns the manifest and the arrays of one file, such as `nms`."""
    path = FOLDER / "downstream" / name
    with np.load(path.with_suffix(".npz")) as file:
        return json.loads(path.with_suffix(".json").read_text()), dict(file)
