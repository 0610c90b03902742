"""Every token mixer against its definition in NumPy."""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common.errors import UserError
from common.layers import token_mixers as mixers
from common.layers.conv import DepthwiseConv

SIZE, CHANNELS = (4, 6), 8


@functools.cache
def built(mixer):
    """Random variables, an input, and the output, as NumPy arrays."""
    x = jax.random.normal(jax.random.key(0), (2, *SIZE, CHANNELS))

    @jax.jit
    def run(rng, x):
        variables = mixer.init(rng, x)
        if "params" in variables:  # the initial ones are small, or all the same
            leaves, tree = jax.tree.flatten(variables["params"])
            leaves = [jax.random.normal(jax.random.key(i), a.shape) for i, a in enumerate(leaves)]
            variables = {**variables, "params": jax.tree.unflatten(tree, leaves)}
        return variables, mixer.apply(variables, x)

    return jax.tree.map(np.asarray, (*run(jax.random.key(1), x), x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attend(x, qkv, out):
    """`[..., positions, channels]`, per head."""
    q, k, v = (np.einsum("...nc,chd->...hnd", x, qkv[:, i]) for i in range(3))
    weights = softmax(np.einsum("...hnd,...hmd->...hnm", q, k) / np.sqrt(q.shape[-1]))
    return np.einsum("...hnm,...hmd,hdc->...nc", weights, v, out)


def flat(x):
    return x.reshape(2, -1, CHANNELS)


def test_identity():
    variables, y, x = built(mixers.IdentityMixer())
    assert not variables
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("size", [3, 5])
def test_pool_is_the_mean_of_neighbours_minus_the_position(size):
    variables, y, x = built(mixers.PoolMixer(size))
    assert not variables
    reach, want = size // 2, np.empty_like(x)
    for i in range(SIZE[0]):
        for j in range(SIZE[1]):
            rows = slice(max(0, i - reach), i + reach + 1)
            columns = slice(max(0, j - reach), j + reach + 1)
            want[:, i, j] = x[:, rows, columns].mean((1, 2)) - x[:, i, j]
    np.testing.assert_allclose(y, want, atol=1e-5)


@pytest.mark.parametrize("use_bias", [False, True])
def test_attention_is_global(use_bias):
    variables, y, x = built(mixers.GlobalAttention(head_dim=4, use_bias=use_bias))
    params = variables["params"]["attention"]
    assert params["qkv"].keys() == {"kernel"} and ("bias" in params["out"]) == use_bias
    want = attend(flat(x), params["qkv"]["kernel"], params["out"]["kernel"])
    want = want + params["out"].get("bias", 0)
    np.testing.assert_allclose(flat(y), want, rtol=1e-4, atol=1e-4 * np.abs(want).max())


def test_heads_divide_channels():
    with pytest.raises(UserError, match="8 channels are not a multiple of head size 32"):
        built(mixers.GlobalAttention())


@pytest.mark.parametrize("kind", ["block", "grid"])
def test_partitions_mix_within_groups_alone(kind):
    mixer = mixers.PartitionAttention(kind, (2, 2), head_dim=4)
    variables, y, x = built(mixer)
    assert "table" in variables["params"]["attention"]["relative_bias"]
    changed = np.array(
        mixer.apply(variables, x + np.eye(1, SIZE[1])[..., None])
    )  # column 0, row any
    untouched = {"block": (slice(None), slice(2, None)), "grid": (slice(None), [1, 2, 4, 5])}[kind]
    touched = {"block": (slice(None), 1), "grid": (slice(None), 3)}[kind]
    np.testing.assert_allclose(changed[:, *untouched], y[:, *untouched], atol=1e-5)
    assert np.abs(changed - y)[:, *touched].max() > 1e-2


def test_partitions_pad_only_when_told():
    mixer = mixers.PartitionAttention("block", (4, 4), head_dim=4)
    with pytest.raises(UserError, match=r"side 6 .* not a multiple"):
        built(mixer)
    _, y, x = built(mixer.clone(pad_inputs=True))
    assert y.shape == x.shape


def test_random_matrices_are_distributions_and_no_parameters():
    variables, y, x = built(mixers.RandomMixer())
    assert variables.keys() == {"constants"}
    matrix = variables["constants"]["matrix"]
    np.testing.assert_allclose(matrix.sum(-1), 1, rtol=1e-5)
    # Softmax of uniform numbers: entries of a row within a factor e of each other, and not alike.
    ratio = matrix.max(-1) / matrix.min(-1)
    assert ratio.min() > 1.5 and ratio.max() < np.e
    np.testing.assert_allclose(flat(y), np.einsum("nm,bmc->bnc", matrix, flat(x)), atol=1e-5)


def test_spatial_dense_maps_positions():
    variables, y, x = built(mixers.SpatialDense())
    kernel = variables["params"]["kernel"]
    np.testing.assert_allclose(flat(y), np.einsum("mn,bmc->bnc", kernel, flat(x)), atol=1e-4)


def test_star_relu():
    variables, y, x = built(mixers.StarReLU())
    scale, bias = variables["params"]["scale"], variables["params"]["bias"]
    np.testing.assert_allclose(y, scale * np.maximum(x, 0) ** 2 + bias, rtol=1e-5)
    fresh = mixers.StarReLU().init(jax.random.key(0), x)["params"]
    assert (fresh["scale"], fresh["bias"]) == (1, 0)


def test_separable_convolution_is_dense_depthwise_dense():
    variables, y, x = built(mixers.SeparableConv())
    params = variables["params"]
    assert params["expand"].keys() == params["shrink"].keys() == {"kernel"}
    star = params["activation"]
    hidden = star["scale"] * np.maximum(x @ params["expand"]["kernel"], 0) ** 2 + star["bias"]
    filters = params["depthwise_conv"]["kernel"]
    assert filters.shape == (7, 7, 1, 2 * CHANNELS)
    padded = np.pad(hidden, [(0, 0), (3, 3), (3, 3), (0, 0)])
    mixed = sum(
        padded[:, i : i + SIZE[0], j : j + SIZE[1]] * filters[i, j, 0]
        for i in range(7)
        for j in range(7)
    )
    want = mixed @ params["shrink"]["kernel"]
    np.testing.assert_allclose(y, want, rtol=1e-4, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize(
    "mixer",
    [
        mixers.IdentityMixer,
        mixers.PoolMixer,
        mixers.RandomMixer,
        mixers.SpatialDense,
        mixers.SeparableConv,
        functools.partial(mixers.GlobalAttention, 4),
        functools.partial(mixers.PartitionAttention, "grid", (2, 2), 4),
        DepthwiseConv,
    ],
)
def test_bfloat16_stays_bfloat16(mixer):
    mixer = mixer(dtype=jnp.bfloat16)
    x = jax.ShapeDtypeStruct((2, *SIZE, CHANNELS), jnp.bfloat16)
    y, variables = jax.eval_shape(mixer.init_with_output, jax.random.key(0), x)
    assert (y.shape, y.dtype) == (x.shape, jnp.bfloat16)
    assert {a.dtype for a in jax.tree.leaves(variables)} <= {jnp.dtype("float32")}
