"""Deterministic weights and inputs for golden checks.

A golden check fills a reference model with weights that are a pure function of
(variable name, shape, seed), runs it on a deterministic input and stores only
the outputs.  Whoever wants to compare an implementation regenerates the same
weights under the same names, converts them, and compares outputs.

NumPy's legacy ``RandomState`` is used because its streams are frozen for good.
"""

import functools
import zlib
from typing import Any

import jax
import numpy as np
from flax import linen as nn


def make_weight(name: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Returns the float32 array for a checkpoint variable.

    Scales keep activations of deep networks in a sane range:
      * variances (``moving_variance``/``running_var``/``var``): uniform in [0.5, 1.5]
      * norm scales (``gamma``/``scale``/norm ``weight`` of rank 1): 1 + 0.1 * N(0, 1)
      * other rank 0/1 (biases, means, layer scales): 0.1 * N(0, 1)
      * rank >= 2: N(0, 1) / sqrt(fan_in), fan_in = prod(shape) / max(shape)
    """
    rng = np.random.RandomState((zlib.crc32(name.encode()) + seed) % (2**32))
    shape = tuple(int(s) for s in shape)
    leaf = name.replace(".", "/").split("/")[-1].lower()
    if "var" in leaf and len(shape) <= 1:
        return rng.uniform(0.5, 1.5, size=shape).astype(np.float32)
    draw = rng.standard_normal(size=shape).astype(np.float32)
    if len(shape) <= 1:
        if leaf in ("gamma", "scale", "weight"):
            return (1.0 + 0.1 * draw).astype(np.float32)
        return (0.1 * draw).astype(np.float32)
    fan_in = int(np.prod(shape)) / max(shape)
    return (draw / np.sqrt(max(fan_in, 1.0))).astype(np.float32)


def make_variables(module: nn.Module, *inputs: Any, **options: Any) -> dict[str, Any]:
    """Returns a module's variables by their paths, away from initial zeros and ones.

    At once, where `module.init` compiles for every array.

    Args:
      inputs: of the module, or their shapes.
      options: of the call, such as `train=False`.
    """

    def draw(path: Any, array: jax.ShapeDtypeStruct) -> np.ndarray:
        return make_weight(jax.tree_util.keystr(path, simple=True, separator="/"), array.shape)

    init = functools.partial(module.init, **options)
    shapes = jax.eval_shape(init, jax.random.key(0), *inputs)
    return jax.tree_util.tree_map_with_path(draw, shapes)


def make_image(
    shape: tuple[int, ...], seed: int = 0, low: float = -1.0, high: float = 1.0
) -> np.ndarray:
    """Returns a float32 image batch, NHWC, in [low, high]: smooth structure plus noise."""
    rng = np.random.RandomState(1000 + seed)
    n, h, w, c = shape
    y = np.linspace(0, 1, h, dtype=np.float32)[None, :, None, None]
    x = np.linspace(0, 1, w, dtype=np.float32)[None, None, :, None]
    phase = rng.uniform(0, 2 * np.pi, size=(n, 1, 1, c)).astype(np.float32)
    freq = rng.uniform(2, 9, size=(n, 1, 1, c)).astype(np.float32)
    wave = (
        0.5
        + 0.25 * np.sin(2 * np.pi * freq * x + phase)
        + 0.25 * np.cos(2 * np.pi * freq * y + phase)
    )
    noise = rng.uniform(-0.1, 0.1, size=shape).astype(np.float32)
    image = np.clip(wave + noise, 0, 1)
    return (low + (high - low) * image).astype(np.float32)
