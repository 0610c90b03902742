"""Programs that say when they are compiled: once for each shape, and never twice for one."""

import contextlib
import types

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common import compiled
from common.compiled import announcing, sides


@pytest.fixture
def said(monkeypatch):
    lines = []

    def announced(doing, done):
        lines.append(f"{doing}; {done}")
        return contextlib.nullcontext()

    monkeypatch.setattr(compiled, "announced", announced)
    return lines


def test_each_shape_is_compiled_and_announced_once(said):
    found = []
    listener = lambda event, seconds, **_: found.append(event)  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(listener)
    program = jax.jit(lambda scale, images: (scale * images).sum())
    run = announcing(program, lambda scale, images: f"the sum for {sides(images)}")
    scale = jnp.float32(2)
    images = {side: np.ones((1, side, 5, 3), np.float32) for side in (4, 6)}
    found.clear()
    assert [float(run(scale, images[side])) for side in (4, 4, 6, 4)] == [120, 120, 180, 120]
    jax.monitoring.unregister_event_duration_listener(listener)
    assert said == ["compiling the sum for 5x4; compiled", "compiling the sum for 5x6; compiled"]
    assert sum("backend_compile" in event for event in found) == 2


def test_other_kinds_of_numbers_are_another_program(said):
    run = announcing(jax.jit(lambda _, x: x + x), lambda _, x: str(x.dtype))
    for kind in (np.float32, np.int32, np.float32):
        assert run(None, np.ones(3, kind)).dtype == kind
    assert said == ["compiling float32; compiled", "compiling int32; compiled"]


class Noted:
    """A jitted function that notes what is compiled; of nine values it can't."""

    def __init__(self):
        self.lowered = []

    def lower(self, scale, values):
        self.lowered.append(values.shape[0])
        if values.shape[0] == 9:
            raise RuntimeError("too large")
        return types.SimpleNamespace(compile=lambda: "compiled")

    def __call__(self, scale, values):
        return scale * values


def test_programs_compiled_ahead_are_found_again(said):
    """Each once, whoever asks for it first; a mistake reaches who needs the program."""
    program = Noted()
    run = announcing(program, lambda scale, values: f"for {values.shape[0]}")
    values = {size: np.ones(size, np.float32) for size in (4, 6, 9)}
    run.compile_ahead((2, jax.ShapeDtypeStruct(x.shape, x.dtype)) for x in values.values())
    assert [float(run(2, values[size]).sum()) for size in (6, 4, 6)] == [12, 8, 12]
    with pytest.raises(RuntimeError, match="too large"):
        run(2, values[9])
    run.compile_ahead([(2, values[4])])
    assert sorted(program.lowered) == [4, 6, 9]
    assert said == [f"compiling for {size}; compiled" for size in (6, 4, 9)]
