"""Window attention against its definition, masking, and the relative bias."""

from functools import partial

import jax
import numpy as np
import pytest
from flax import linen as nn
from jax import numpy as jnp

from common.errors import UserError
from common.kernels.attention import FEW, dot_product_attention
from common.layers.attention import MultiAxisAttention, WindowAttention
from common.layers.relative_bias import RelativeBias, relative_index, resize_table
from tests.golden.weights import make_variables


@pytest.mark.parametrize("window", [(5,), (3, 4), (2, 3, 2)])
def test_bias_index_is_key_minus_query(window):
    index = relative_index(window)
    sides = [2 * w - 1 for w in window]
    positions = list(np.ndindex(*window))
    for q, query in enumerate(positions):
        for k, key in enumerate(positions):
            offset = [b - a + w - 1 for a, b, w in zip(query, key, window, strict=True)]
            assert index[q, k] == np.ravel_multi_index(offset, sides)


def test_bias_gets_gradients_and_resizes():
    bias = RelativeBias(heads=2, window=(4, 4), bias_window=(3, 3))
    variables = make_variables(bias)

    @jax.jit
    def run(variables):
        gradient = jax.grad(lambda v: bias.apply(v)[0, 0, 0].sum())(variables)
        return gradient["params"]["table"], resize_table(variables["params"]["table"], (4, 4))

    table = variables["params"]["table"]
    assert table.shape == (2, 5, 5)
    gradient, resized = run(variables)
    assert np.abs(gradient[0]).sum() == pytest.approx(1.0)
    assert np.all(gradient[1] == 0)
    assert resized.shape == (2, 7, 7)
    np.testing.assert_allclose(resized[:, 3, 3], table[:, 2, 2], rtol=1e-6)  # centre stays
    assert resize_table(table, (3, 3)) is table


def test_attention_equals_its_definition():
    module = WindowAttention(window=(2, 3), head_dim=4)
    x = np.random.default_rng(0).standard_normal((2, 5, 6, 8)).astype(np.float32)

    @jax.jit
    def both(variables, x):
        p = variables["params"]
        q, k, v = (
            jnp.einsum("bgpc,cthd->tbgphd", x, p["qkv"]["kernel"])
            + p["qkv"]["bias"][:, None, None, None]
        )
        logits = jnp.einsum("bgqhd,bgkhd->bghqk", q / np.sqrt(4), k)
        table = p["relative_bias"]["table"].reshape(2, -1)
        logits += table[:, relative_index((2, 3))]
        mixed = jnp.einsum("bghqk,bgkhd->bgqhd", jax.nn.softmax(logits), v)
        expected = jnp.einsum("bgqhd,hdc->bgqc", mixed, p["out"]["kernel"]) + p["out"]["bias"]
        return module.apply(variables, x), expected

    found, expected = both(make_variables(module, x), x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_weights_are_those_that_values_are_mixed_by():
    """And cost nothing unless somebody looks."""
    module = WindowAttention(window=(2, 3), head_dim=4)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, 6, 8)), jnp.float32)
    real = jnp.arange(6).reshape(1, 1, 6, 1) < jnp.array([6, 6, 2, 6, 6]).reshape(1, 5, 1, 1)
    variables = make_variables(module, x)
    assert variables.keys() == {"params"}

    @jax.jit
    def run(variables, x):
        y, state = module.apply(variables, x, real, mutable=["intermediates"])
        qkv = nn.DenseGeneral((3, 2, 4)).apply({"params": variables["params"]["qkv"]}, x)
        mixed = jnp.einsum(
            "bghqk,bgkhd->bgqhd", state["intermediates"]["weights"][0], qkv[..., 2, :, :]
        )
        out = nn.DenseGeneral(8, axis=(-2, -1)).apply({"params": variables["params"]["out"]}, mixed)
        return y, out, state["intermediates"]["weights"][0], module.apply(variables, x, real)

    y, mixed, weights, plain = run(variables, x)
    np.testing.assert_allclose(mixed, y, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(plain, y)
    assert weights.shape == (2, 5, 2, 6, 6) and np.ptp(np.asarray(weights)) > 0.1
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    assert not weights[:, 2, :, :, 2:].any()  # padding
    for looked_at, count in ((False, 1), (["intermediates"], 2)):
        program = jax.jit(partial(module.apply, mutable=looked_at)).lower(variables, x)
        assert program.as_text().count("stablehlo.exponential") == count


@pytest.mark.parametrize("masked", [False, True])
def test_every_implementation_of_attention_is_the_same(masked):
    rng = np.random.default_rng(0)
    qkv = jnp.asarray(rng.standard_normal((3, 6, 3, 2, 4)), jnp.float32)
    bias = jnp.asarray(rng.standard_normal((2, 6, 6)), jnp.float32)
    real = jnp.arange(6) < jnp.array([[6], [4], [1]]) if masked else None

    @partial(jax.jit, static_argnums=0)
    def derivatives(implementation, qkv, bias):
        attend = partial(dot_product_attention, real=real, implementation=implementation)
        y, vjp = jax.vjp(attend, qkv, bias)
        return y, vjp(jnp.cos(y)), jax.jvp(attend, (qkv, bias), (jnp.cos(qkv), bias))[1]

    expected = derivatives("reference", qkv, bias)
    for implementation in ("turned_keys", "late_division", "jax_nn", "auto"):
        jax.tree.map(
            lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-5, atol=2e-6),
            derivatives(implementation, qkv, bias),
            expected,
        )
    with pytest.raises(
        UserError,
        match="implementation='flash': choose from auto, cudnn, jax_nn, late_division, ref",
    ):
        dot_product_attention(qkv, implementation="flash")


def test_cudnn_is_asked_for_whole_rows_of_logits(monkeypatch):
    """By what takes its place: queries, keys and values of 6 positions become 8."""
    asked = []

    def stand_in(q, k, v, bias, mask, *, implementation):
        asked.append((implementation, q.shape, None if mask is None else mask.shape))
        return given(q, k, v, bias, mask)

    given = jax.nn.dot_product_attention
    monkeypatch.setattr(jax.nn, "dot_product_attention", stand_in)
    rng = np.random.default_rng(0)
    qkv = jnp.asarray(rng.standard_normal((3, 6, 3, 2, 4)), jnp.float32)
    bias = jnp.asarray(rng.standard_normal((2, 6, 6)), jnp.float32)
    real = jnp.arange(6) < jnp.array([[6], [4], [1]])
    for masked in ((bias, None), (None, real), (bias, real), (None, None)):
        y = dot_product_attention(qkv, *masked, implementation="cudnn")
        expected = dot_product_attention(qkv, *masked, implementation="reference")
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=2e-6)
    padded = ("cudnn", (3, 8, 2, 4))
    assert asked == [
        (*padded, None),
        *[(*padded, (3, 1, 8, 8))] * 2,
        ("cudnn", (3, 6, 2, 4), None),
    ]


def test_what_cudnn_refuses_is_one_line():
    qkv = jnp.ones((1, 8, 3, 1, 8), jnp.float32)
    with pytest.raises(UserError, match="implementation='cudnn': "):
        dot_product_attention(qkv, implementation="cudnn")


def test_divides_last_on_cpu_where_positions_are_few():
    for platform, positions, last in (("cpu", FEW, 1), ("cpu", FEW + 1, 0), ("tpu", FEW, 0)):
        qkv = jax.ShapeDtypeStruct((2, positions, 3, 1, 4), jnp.float32)
        traced = jax.jit(dot_product_attention).trace(qkv)
        program = traced.lower(lowering_platforms=(platform,)).as_text()
        divisions = [line for line in program.splitlines() if "stablehlo.divide" in line]
        assert sum(f"tensor<2x1x{positions}x4xf32>" in line for line in divisions) == last


def test_softmax_is_float32_under_bfloat16():
    module = WindowAttention(window=(4,), head_dim=4, dtype=jnp.bfloat16)
    x = jax.ShapeDtypeStruct((1, 1, 4, 8), jnp.bfloat16)
    variables = jax.eval_shape(module.init, jax.random.key(0), x)
    text = str(jax.make_jaxpr(module.apply)(variables, x))
    exponentials = [line for line in text.splitlines() if " exp " in line]
    assert exponentials and all("f32" in line for line in exponentials)
    assert jax.eval_shape(module.apply, variables, x).dtype == jnp.bfloat16


@partial(jax.jit, static_argnums=0)
def run(module, variables, x):
    return module.apply(variables, x, train=False)


@pytest.mark.parametrize("kind", ["block", "grid"])
def test_padding_changes_nothing_where_the_size_fits(kind):
    x = np.random.default_rng(0).standard_normal((2, 8, 12, 8)).astype(np.float32)
    plain = MultiAxisAttention(kind, (4, 4), head_dim=4)
    padded = plain.clone(pad_inputs=True)
    variables = make_variables(plain, x, train=False)
    np.testing.assert_array_equal(run(plain, variables, x), run(padded, variables, x))


@pytest.mark.parametrize("kind", ["block", "grid"])
def test_padded_keys_are_not_attended_to(kind):
    """The 5 x 4 map in windows of 4: the last row's window holds one real row alone."""
    module = MultiAxisAttention(kind, (4, 4), head_dim=4, pad_inputs=True)
    x = np.random.default_rng(0).standard_normal((1, 5, 4, 8)).astype(np.float32)
    variables = make_variables(module, x, train=False)
    y = run(module, variables, x)
    assert y.shape == x.shape and np.all(np.isfinite(y))
    if kind == "block":
        # Alone in its window, the last row must not see what the others hold.
        others = x.copy()
        others[:, :4] = 7.0
        np.testing.assert_allclose(y[:, 4], run(module, variables, others)[:, 4], rtol=1e-6)
        # Attention of one row over itself: the same row in a window of its own size.
        bias = variables["params"]["attention"]["relative_bias"]["table"]
        variables["params"]["attention"]["relative_bias"]["table"] = bias[:, 3:4]
        row = MultiAxisAttention("block", (1, 4), head_dim=4)
        np.testing.assert_allclose(y[:, 4:], run(row, variables, x[:, 4:]), rtol=1e-5, atol=1e-6)


def test_head_size_must_divide():
    with pytest.raises(UserError, match="10 channels are not a multiple of head size 4"):
        WindowAttention(window=(4,), head_dim=4).init(jax.random.key(0), jnp.ones((1, 1, 4, 10)))
