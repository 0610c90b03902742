"""Muon: what it takes as matrices, what its steps are, on one device and on eight."""

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

from common.errors import UserError
from common.train.muon import ADAMW_RMS, is_product
from common.train.optimizer import OptimizerConfig, make_optimizer
from common.train.sharding import MeshConfig, make_mesh, tree_shardings

RATE = 0.1
# Shapes as the layers of the house have them, and which axes are rows and columns.
KERNELS = {
    "mlp/expand/kernel": ((12, 20), "rc"),
    "stem/conv/kernel": ((3, 3, 2, 8), "rrrc"),
    "attention/qkv/kernel": ((16, 3, 2, 4), "r.cc"),
    "attention/query/kernel": ((16, 2, 4), "rcc"),
    "attention/out/kernel": ((2, 4, 16), "rrc"),
}
OTHERS = {
    "depthwise/kernel": (3, 3, 1, 16),
    "attention/relative_bias/table": (2, 13, 13),
    "mlp/expand/bias": (20,),
    "norm/scale": (20,),
}


def drawn(seed):
    shapes = {name: shape for name, (shape, _) in KERNELS.items()} | OTHERS
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    flat = {n: jax.random.normal(k, s) for k, (n, s) in zip(keys, shapes.items(), strict=True)}
    tree = {}
    for name, x in flat.items():
        *parents, last = name.split("/")
        inner = tree
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = x
    return tree


def at(tree, name):
    for part in name.split("/"):
        tree = tree[part]
    return np.asarray(tree)


def matrices(x, axes):
    """The matrices that a kernel is: `[matrices, rows, columns]`."""
    order = [i for kind in ".rc" for i, axis in enumerate(axes) if axis == kind]
    rows = np.prod([s for s, axis in zip(x.shape, axes, strict=True) if axis == "r"])
    columns = np.prod([s for s, axis in zip(x.shape, axes, strict=True) if axis == "c"])
    return x.transpose(order).reshape(-1, rows, columns)


def orthogonal(g):
    """Five of Newton and Schulz's steps with the coefficients of Jordan et al., in float64."""
    x = g.astype(np.float64)
    wide = x.shape[0] <= x.shape[1]
    x = (x if wide else x.T) / (np.linalg.norm(x) + 1e-8)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x if wide else x.T


def steps(count, **config):
    """Parameters before, after, and the gradients of every step."""
    optimizer = make_optimizer(OptimizerConfig(learning_rate=RATE, **config), lambda step: RATE)
    first = params = drawn(0)
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    gradients = [drawn(seed) for seed in range(1, count + 1)]
    for g in gradients:
        updates, state = update(g, state, params)
        params = optax.apply_updates(params, updates)
    return first, params, gradients


def test_first_step_is_the_gradient_made_orthogonal():
    """Of each matrix by itself, with the root mean square of AdamW's steps."""
    before, after, (gradient,) = steps(1, kind="muon")
    for name, (_, axes) in KERNELS.items():
        step = matrices(at(before, name) - at(after, name), axes)
        found = matrices(at(gradient, name), axes)
        for got, g in zip(step, found, strict=True):
            scale = RATE * ADAMW_RMS * np.sqrt(max(g.shape))
            np.testing.assert_allclose(got, scale * orthogonal(g), atol=2e-5, err_msg=name)


def test_momentum_looks_ahead():
    """Nesterov's, both means without the bias of their start."""
    beta = 0.8
    _, between, _ = steps(1, kind="muon", momentum=beta)
    _, after, gradients = steps(2, kind="muon", momentum=beta)
    for name, (_, axes) in KERNELS.items():
        first, second = (matrices(at(g, name), axes) for g in gradients)
        mean = (1 - beta) * (beta * first + second)
        ahead = beta * mean / (1 - beta**3) + (1 - beta) * second / (1 - beta**2)
        step = matrices(at(between, name) - at(after, name), axes)
        for got, g in zip(step, ahead, strict=True):
            scale = RATE * ADAMW_RMS * np.sqrt(max(g.shape))
            np.testing.assert_allclose(got, scale * orthogonal(g), atol=2e-5, err_msg=name)


def test_all_other_parameters_are_adamws():
    settings = {"weight_decay": 0.3, "b2": 0.9, "eps": 1e-3}
    _, expected, _ = steps(3, kind="adamw", **settings)
    _, found, _ = steps(3, kind="muon", **settings)
    for name in OTHERS:
        np.testing.assert_allclose(at(found, name), at(expected, name), rtol=2e-6, err_msg=name)
    for name in KERNELS:
        assert np.abs(at(found, name) - at(expected, name)).max() > 1e-3, name


def test_decay_is_decoupled_and_masked():
    before, plain, _ = steps(1, kind="muon")
    _, decayed, _ = steps(1, kind="muon", weight_decay=0.5, no_decay="bias|scale|qkv")
    for name in KERNELS:
        expected = 0 if "qkv" in name else RATE * 0.5 * at(before, name)
        np.testing.assert_allclose(at(plain, name) - at(decayed, name), expected, atol=1e-6)


def test_group_of_its_own():
    """Kernels of the rest alone; and what Muon doesn't read is refused."""
    group = {"pattern": "^attention/", "kind": "muon", "momentum": 0.5}
    _, found, _ = steps(2, groups=(group,))
    _, muon, _ = steps(2, kind="muon", momentum=0.5)
    _, adamw, _ = steps(2)
    for name in (*KERNELS, *OTHERS):
        expected = at(muon if name.startswith("attention/") else adamw, name)
        np.testing.assert_allclose(at(found, name), expected, rtol=2e-6, err_msg=name)
    _, alone, _ = steps(1, kind="muon", groups=({"pattern": "^stem/", "momentum": 0.5},))
    assert np.isfinite(at(alone, "stem/conv/kernel")).all()
    with pytest.raises(UserError, match=r"nesterov: kind 'muon' does not read it"):
        OptimizerConfig(learning_rate=1.0, groups=(group | {"nesterov": True},))


@pytest.mark.parametrize("kernel, expected", [((3, 3, 1, 8), False), ((3, 3, 2, 8), True)])
def test_depthwise_kernels_are_no_products(kernel, expected):
    assert is_product("conv/kernel", jnp.zeros(kernel)) is expected
    assert not is_product("conv/kernel_scale", jnp.zeros(kernel))


def test_eight_devices_take_the_step_of_one():
    """Kernels split by `tensor` and `fsdp` alike."""
    shapes = {"expand": (128, 256), "shrink": (256, 128)}
    params = {
        "mlp": {
            name: {"kernel": jax.random.normal(jax.random.key(i), shape)}
            for i, (name, shape) in enumerate(shapes.items())
        }
    }
    gradients = jax.tree.map(jnp.cos, params)
    config = OptimizerConfig(learning_rate=RATE, kind="muon", clip_norm=1.0, weight_decay=0.1)
    optimizer = make_optimizer(config, lambda step: RATE)
    expected, _ = jax.jit(optimizer.update)(gradients, optimizer.init(params), params)
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    state = optimizer.init(params)
    split, held = tree_shardings(params, mesh), tree_shardings(state, mesh)
    assert all("fsdp" in s.spec and "tensor" in s.spec for s in jax.tree.leaves(split))
    arguments = jax.device_put((gradients, state, params), (split, held, split))
    update = jax.jit(optimizer.update, out_shardings=(split, held))
    found, kept = update(*arguments)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected)
    moments = [x for x in jax.tree.leaves(kept) if x.ndim == 2]
    assert len(moments) == 2 and all(len(x.sharding.spec) == 2 for x in moments)
