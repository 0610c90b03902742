"""TensorFlow's SavedModel, by way of jax2tf."""

import json
import tempfile
from pathlib import Path

import jax

from common.errors import UserError
from common.kernels.choose import preferring
from common.program import Program, dimensions

SUFFIX = ""  # a folder
PLATFORMS = ("cpu", "cuda", "tpu")


def write(path: Path, program: Program) -> None:
    """Writes a SavedModel with the signature `serving_default` and `assets/metadata.json`.

    Args:
      path: of the folder to make.
      program: its weights become variables.

    Raises:
      UserError: TensorFlow isn't installed, or could not run the file.
    """
    try:
        import tensorflow as tf
        from jax.experimental import jax2tf
    except ImportError as error:
        raise UserError("SavedModels need TensorFlow: pip install '.[tensorflow]'") from error

    if " top_k[" in str(jax.make_jaxpr(program)(program.abstract_inputs())):
        # A "composite" of StableHLO's, which TensorFlow 2.21 writes and then can't read.
        raise UserError("TensorFlow can't run JAX's top_k, as detectors have it; use another --to")
    tf.config.set_visible_devices([], "GPU")  # it would take all its memory, to write a file
    module = tf.Module()
    module.weights = tf.nest.map_structure(tf.Variable, program.variables)
    shapes = {name: dimensions(given) for name, given in program.inputs.items()}
    call = jax2tf.convert(
        lambda variables, inputs: program(inputs, variables),
        polymorphic_shapes=(None, shapes),
        with_gradient=False,
        native_serialization_platforms=PLATFORMS,
    )
    serve = tf.function(lambda **inputs: call(module.weights, inputs), autograph=False)
    specs = {
        name: tf.TensorSpec(
            [side if isinstance(side, int) else None for side in given.shape], given.dtype, name
        )
        for name, given in program.inputs.items()
    }
    with preferring("erfc"):  # erf is a composite too
        signatures = {"serving_default": serve.get_concrete_function(**specs)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "metadata.json")
        file.write_text(json.dumps(program.metadata(), indent=2))
        module.metadata = tf.saved_model.Asset(str(file))
        tf.saved_model.save(module, str(path), signatures)
