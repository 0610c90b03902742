"""StableHLO: what JAX alone reads, on any of its platforms."""

import json
import zipfile
from pathlib import Path

import jax
from jax import export

from common.program import Program

SUFFIX = ".zip"
PLATFORMS = ("cpu", "cuda", "tpu")


def write(path: Path, program: Program) -> None:
    """Writes a ZIP file of `model.stablehlo`, for `jax.export.deserialize`, and `metadata.json`.

    Args:
      path: of the file to make.
      program: its weights become constants.
    """
    exported = export.export(jax.jit(program), platforms=PLATFORMS)(program.abstract_inputs())
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model.stablehlo", bytes(exported.serialize()))
        file.writestr("metadata.json", json.dumps(program.metadata(), indent=2))
