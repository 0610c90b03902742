"""What `launch.benchmark` compiles: models of both packages, at sides that they don't take too."""

import pytest

import maxim_jax
import maxvit_jax
from common.errors import UserError
from launch.timed_program import FULL_ATTENTION, _model, _padding, timed_program


def test_full_attention_is_in_every_stage():
    assert _model(FULL_ATTENTION).mixers == ("attention",) * 4


def test_sides_that_do_not_fit_are_padded():
    maxvit, maxim = maxvit_jax.create_model("maxvit_tiny"), maxim_jax.create_model("maxim_s2")
    padded, side = _padding(maxvit, 1024)
    assert padded.pad_inputs and side == 1024
    assert _padding(maxim, 224) == (maxim, 256)


@pytest.mark.parametrize("mode", ["infer", pytest.param("train", marks=pytest.mark.slow)])
def test_a_restorer_runs(mode, monkeypatch):
    fields = {"features": 4, "depth": 1, "high_res_stages": 1, "num_stages": 1}
    fields |= {f"{kind}_size_{res}": (2, 2) for kind in ("block", "grid") for res in ("hr", "lr")}
    variants = maxim_jax.FAMILIES["maxim"].variants
    monkeypatch.setitem(variants, "maxim_micro", fields | {"num_supervision_scales": 1})
    with pytest.raises(
        UserError, match="--prefer=triton: no kernel of maxim_micro is formulated so"
    ):
        timed_program("maxim_micro", size=8, batch=1, mode=mode, prefer=["triton", "reference"])
    program = timed_program("maxim_micro", size=8, batch=1, mode=mode)
    program.run()
    program.run(2)  # of training the state that the last one left
    assert program.flops > 0 and program.bytes > 0 and program.needed_bytes > 0
