"""Statistics of boxes, some or all of which are padding."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from maxvit_jax.heads.mask_head import MaskHead
from tests.golden.weights import make_image, make_variables


@pytest.mark.parametrize("real", [[True, True, False, False], [False] * 4])
def test_padding_is_left_out_unless_all_is_padding(real):
    head, real = MaskHead(3, channels=4, convention="mg"), np.array(real)
    x = make_image((4, 4, 4, 4))
    variables = make_variables(head, x, real, train=False)

    @jax.jit
    def run(x):
        return head.apply(variables, x, real, train=True, mutable=["batch_stats"])

    logits, updates = run(x)
    others, same = run(jnp.where(real[:, None, None, None], x, 9.0))
    for got, want in zip(jax.tree.leaves(same), jax.tree.leaves(updates), strict=True):
        assert np.isfinite(got).all() and (got == want).all() == real.any()
    assert np.isfinite(logits).all() and (others[real] == logits[real]).all()
