"""Programs that say when they are compiled: once for each shape, and never twice for one."""

import contextlib

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common import compiled
from common.compiled import announcing, sides


def test_programs_compiled_ahead_are_found_again(said):
    """Each once, whoever asks for it first; a mistake reaches who needs the program."""

    def twice(scale, images):
        traced.append(images.shape)
        return scale * images if images.shape[0] < 9 else images.no_such_thing

    traced, scale = [], jnp.float32(2)
    images = {side: np.ones(side, np.float32) for side in (4, 6, 9)}
    run = announcing(jax.jit(twice), lambda scale, images: f"for {images.shape[0]}")
    run.compile_ahead((scale, jax.ShapeDtypeStruct(x.shape, x.dtype)) for x in images.values())
    assert [float(run(scale, images[side]).sum()) for side in (6, 4, 6)] == [12, 8, 12]
    with pytest.raises(AttributeError, match="no_such_thing"):
        run(scale, images[9])
    assert sorted(traced[:3]) == [(4,), (6,), (9,)] and traced.count((4,)) == 1
    run.compile_ahead([(scale, images[4])])
    assert said == [f"compiling for {side}; compiled" for side in (6, 4, 9)]


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
