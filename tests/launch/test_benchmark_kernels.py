"""Formulations of kernels, measured alone: each computes the same, and is there for GPUs."""

import argparse
from functools import partial

import jax
import pytest
from jax import numpy as jnp

from common.kernels.choose import preferring
from launch import ceilings
from launch.tools import benchmark_kernels as tool

ROWS = [(kernel, name) for kernel in tool.SMALL for name in kernel.formulations]


@pytest.mark.parametrize(("kernel", "formulation"), ROWS)
def test_a_row_says_what_differs(kernel, formulation, monkeypatch):
    monkeypatch.setattr(ceilings.Ceilings, "__init__", lambda self, *_: None)
    monkeypatch.setattr(ceilings.Ceilings, "measure", lambda self: ceilings.Rates(1e9, 1e9))
    args = argparse.Namespace(batch=3, dtype="float32", repeats=1)
    rows = list(tool.measured(kernel, formulation, args, ceilings.Ceilings("float32")))
    assert [row["mode"] for row in rows] == ["infer", "train"]
    for row in rows:
        if formulation == "cudnn":  # for GPUs alone
            assert row["not_measured"].startswith("implementation='cudnn': ")
        else:
            assert row["error"] < 1e-5 and row["seconds"] > 0 and row["compile_seconds"] > 0
            arrays = jax.tree.leaves(tool._of(kernel, 3)[1:])
            results = [arrays[0]] if row["mode"] == "infer" else arrays
            assert row["least_bytes"] == sum(x.nbytes for x in (*arrays, *results))


def test_formulations_are_those_that_rows_name(monkeypatch):
    """One after the other in a process, of the same function and shapes."""
    texts = []

    def costs(program, arguments):
        texts.append(program.lower(*arguments).as_text())
        raise RuntimeError("enough")

    monkeypatch.setattr(tool, "compiled_costs", costs)
    args = argparse.Namespace(batch=1, dtype="float32", repeats=1)
    *_, depthwise = tool.SMALL
    for formulation in ("reference", "shifted"):
        rows = list(tool.measured(depthwise, formulation, args, None))
        assert {row["not_measured"] for row in rows} == {"enough"}
    assert ["convolution" in text for text in texts] == [True, True, False, False]


def test_what_differs_is_told():
    assert tool._difference(jnp.array([1.0, 3.0]), jnp.array([1.0, 4.0])) == 0.25
    assert tool._difference(jnp.array([1.0, jnp.nan]), jnp.ones(2)) == float("inf")


@pytest.mark.parametrize("program", ["infer", "train"])
@pytest.mark.parametrize("kernel", tool.KERNELS, ids=lambda kernel: f"{kernel.name} {kernel.side}")
def test_candidates_are_lowered_for_gpus(kernel, program, monkeypatch):
    """Without one, at the shapes that are measured: what each consists of there."""
    from jax._src.cudnn import fused_attention_stablehlo as cudnn  # it asks the device

    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(cudnn, "check_compute_capability", lambda _: True)
    function, *arrays = tool._of(kernel, 2)
    shapes = [jax.ShapeDtypeStruct(x.shape, jnp.bfloat16) for x in arrays]
    run = function if program == "infer" else partial(tool._gradients, function)
    for formulation in kernel.formulations:
        with preferring(formulation):
            program = jax.jit(partial(run)).trace(*shapes)
        text = program.lower(lowering_platforms=("cuda",)).as_text()
        assert ("xla.gpu.triton" in text) == (formulation == "triton")
        assert ("__cudnn$fmha" in text) == (formulation == "cudnn")
        grouped = f"feature_group_count = {kernel.channels}" in text
        assert grouped == (kernel.name == "depthwise" and formulation == "reference")
