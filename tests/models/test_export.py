"""Every family as an exported program: any batch, any size its architecture allows, any platform.

Registered models are exported once per code path, that is models equal in all but `SIZES` share
one, with a single block per stage. Small networks are run as well.
"""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
from flax import linen as nn
from jax import export
from jax import numpy as jnp

import maxim_jax
import maxvit_jax
from common.errors import UserError

PLATFORMS = ("cpu", "cuda", "tpu")
ANY = ("h >= 3", "w >= 3")
SIZES = {
    *("stem_widths", "widths", "depths", "heads", "drop_path_rate", "head_dropout", "layer_scale"),
    *("features", "num_stages", "num_groups", "num_bottleneck_blocks", "parent", "name"),
}


def exported(model: nn.Module, variables: Any, images: str) -> export.Exported:
    """The model as a program of variables and images of a symbolic shape."""
    constraints = ANY if "b, h, w" in images else ()
    shape = export.symbolic_shape(images, constraints=constraints)

    def call(variables: Any, images: jax.Array) -> Any:
        return model.apply(variables, images)

    spec = jax.ShapeDtypeStruct(shape, jnp.float32)
    return export.export(jax.jit(call), platforms=PLATFORMS)(variables, spec)


# ---------------------------------------------------------------- registered models


def symbolic_images(name: str, model: nn.Module) -> tuple[int, str]:
    """A size for `init`, and the most general shape of images that the architecture takes."""
    if name.startswith(("metaformer_pp", "randformer")):
        return 224, "b, 224, 224, 3"  # parts for one size
    if name.startswith("maxvit"):
        return 224, "b, 224*h, 224*w, 3"
    if name.startswith("maxim"):
        return model.size_multiple, f"b, {model.size_multiple}*h, {model.size_multiple}*w, 3"
    return 64, "b, h, w, 3"


def paths() -> list[str]:
    """Names of registered models, one for each code path."""
    found = {}
    for package in (maxvit_jax, maxim_jax):
        for name in package.list_models():
            model = package.create_model(name)
            fields = [f.name for f in dataclasses.fields(model) if f.name not in SIZES]
            key = type(model), *((field, getattr(model, field)) for field in fields)
            found.setdefault(key, name)
    return list(found.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", paths())
def test_registered(name):
    if name.startswith("maxim"):
        once = {"num_stages": 2, "num_groups": 1, "num_bottleneck_blocks": 1}
        model = maxim_jax.create_model(name, **once)
    else:
        depths = maxvit_jax.create_model(name).depths
        model = maxvit_jax.create_model(name, depths=(1,) * len(depths))
    side, images = symbolic_images(name, model)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, side, side, 3)))
    program = exported(model, variables, images)
    assert program.platforms == PLATFORMS
    first = jax.tree.leaves(program.out_avals, is_leaf=lambda x: hasattr(x, "shape"))[0]
    assert str(first.shape[0]) == "b"
    if name.startswith("maxim"):
        assert first.shape[1:] == program.in_avals[-1].shape[1:]


# ---------------------------------------------------------------- small ones, run

_FOUR = {"widths": (8, 8, 16, 16), "depths": (1, 1, 1, 1), "head_dim": 4}
_MAXVIT = {"stem_widths": (4, 8), "widths": (32, 32), "depths": (1, 1), "window_size": 2}
_MOAT = {
    **{"stem_widths": (4, 8), "widths": (8, 16), "depths": (1, 2), "head_dim": 4},
    **{"block_kinds": ("mbconv", "moat"), "window_size": (None, 3), "pad_inputs": True},
    **{"bias_window_size": (None, 7), "global_attention_at_end": True},
}
_AEWIN = {"widths": (8, 16), "depths": (1, 1), "heads": (4, 8), "image_size": 24}
_MAXIM = {
    **{"features": 4, "depth": 2, "num_stages": 1, "num_groups": 1, "num_bottleneck_blocks": 1},
    **{"num_supervision_scales": 2, "high_res_stages": 1},
    **{"block_size_hr": (4, 4), "grid_size_hr": (4, 4)},
    **{"block_size_lr": (2, 2), "grid_size_lr": (2, 2)},
}
_FREE = {**_FOUR, "mixers": ("pool", "sep_conv", "grid_attention", "attention"), "window_size": 2}
_TIED = {**_FOUR, "mixers": ("identity", "depthwise_conv", "spatial_fc", "random")}
# Model and fields; shape of images; two batches of images.
SMALL = {
    "maxvit": ("maxvit_tiny", _MAXVIT, "b, 16*h, 16*w, 3", (1, 16, 16), (3, 32, 16)),
    "padded": ("maxvit_tiny", _MAXVIT | {"pad_inputs": True}, "b, h, w, 3", (3, 19, 25)),
    "moat": ("moat_0", _MOAT, "b, h, w, 3", (1, 24, 24), (3, 27, 36)),
    "aewin": ("aewin_tiny", _AEWIN, "b, h, w, 3", (1, 24, 24), (3, 27, 36)),
    "mixers": ("caformer_s18", _FREE, "b, 32*h, 32*w, 3", (1, 32, 32), (3, 32, 64)),
    "padded mixers": ("caformer_s18", _FREE | {"pad_inputs": True}, "b, h, w, 3", (3, 31, 65)),
    "one size": (
        "caformer_s18",
        _TIED | {"image_size": 32},
        "b, 32, 32, 3",
        (1, 32, 32),
        (3, 32, 32),
    ),
    "maxim": ("maxim_s2", _MAXIM, "b, 8*h, 8*w, 3", (1, 8, 8), (3, 16, 24)),
    "stages": ("maxim_s2", _MAXIM | {"num_stages": 2}, "b, 8*h, 8*w, 3", (3, 16, 24)),
}
LONG = {"stages"}  # to compile


def small_model(name: str) -> nn.Module:
    base, fields, *_ = SMALL[name]
    package = maxim_jax if base.startswith("maxim") else maxvit_jax
    return package.create_model(base, **fields)


def small(name: str) -> tuple[nn.Module, Any]:
    model, (_, *sides) = small_model(name), SMALL[name][3]
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *sides, 3)))
    rng = np.random.default_rng(0)
    return model, jax.tree.map(
        lambda leaf: jnp.asarray(0.5 * np.abs(rng.normal(size=leaf.shape)), leaf.dtype), shapes
    )


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in SMALL]
)
def test_gives_what_the_model_gives(name):
    model, variables = small(name)
    _, _, images, *batches = SMALL[name]
    abstract = jax.tree.map(jax.typeof, variables)
    program = export.deserialize(exported(model, abstract, images).serialize())

    def both(variables: Any, images: jax.Array) -> tuple[Any, Any]:
        return program.call(variables, images), model.apply(variables, images)

    for batch in batches:
        x = jax.random.normal(jax.random.key(1), (*batch, 3))
        quickly = {"xla_backend_optimization_level": 0}  # to compile
        run = jax.jit(both).lower(variables, x).compile(compiler_options=quickly)
        for a, b in zip(*map(jax.tree.leaves, run(variables, x)), strict=True):
            assert np.isfinite(b).all() and np.std(b) > 0
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())


REFUSED = {
    "maxvit": (
        "b, h, w, 3",
        r"height h does not fit stage_1, .*; valid: multiples of 16, ",
    ),
    "one size": ("b, 32*h, 32*w, 3", "spatial_fc of stage 3 is made for image_size 32x32"),
    "mixers": ("b, h, w, 3", "image height h does not fit stage_"),
    "maxim": ("b, h, w, 3", "image height h is not a multiple of 8"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_architecture_does_not_allow_is_said(name):
    images, message = REFUSED[name]
    with pytest.raises(UserError, match=message):
        exported(small_model(name), {}, images)
