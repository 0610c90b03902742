"""Multi-query attention is multi-head attention whose heads share keys and values."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common.errors import UserError
from common.kernels.attention import dot_product_attention, multi_query_attention
from common.layers.multi_query_attention import MultiQueryAttention
from tests.golden.weights import make_variables


def draw(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def test_is_multi_head_attention_with_shared_keys():
    q, k, v = draw(2, 6, 4, 8), draw(2, 6, 8), draw(2, 6, 8) * 2
    heads = (jnp.repeat(x[:, :, None], 4, axis=2) for x in (k, v))
    qkv = jnp.stack((q, *heads), axis=2)
    expected = dot_product_attention(qkv, implementation="reference")
    np.testing.assert_allclose(jax.jit(multi_query_attention)(q, k, v), expected, atol=1e-5)


def test_halves_of_the_heads_see_a_block_and_a_grid():
    """Which pixels an output depends on: those of its block, and those at its offset in others."""
    layer, x = MultiQueryAttention(2, (2, 2)), draw(1, 6, 4, 4)
    variables = make_variables(layer, x)

    @jax.jit
    def influence(x):
        def at(x):
            return jnp.abs(layer.apply(variables, x))[0, 3, 0].sum()

        return jnp.abs(jax.grad(at)(x))[0].sum(-1) > 0

    rows, columns = np.mgrid[:6, :4]
    block = (rows // 2 == 1) & (columns // 2 == 0)
    across = (rows % 2 == 1) & (columns % 2 == 0)
    np.testing.assert_array_equal(influence(x), block | across)


def test_mistakes():
    with pytest.raises(UserError, match="5 channels don't divide by 2 heads"):
        MultiQueryAttention(2).init(jax.random.key(0), draw(1, 2, 2, 5), draw(1, 3, 4))
    with pytest.raises(UserError, match=r"side 5 .* is not a multiple .* 4; nearest valid: 4 or 8"):
        MultiQueryAttention(2, (4, 4)).init(jax.random.key(0), draw(1, 5, 8, 4))
