"""Ceilings count what they do."""

import itertools

import numpy as np

from launch import ceilings


def test_rates_are_work_by_seconds(monkeypatch):
    monkeypatch.setitem(ceilings._SIZES, "cpu", ceilings._Sizes(values=100, side=8, calls=3))
    ticks = itertools.count(0, 2)  # every clock is read two seconds after the last one
    monkeypatch.setattr(ceilings.time, "perf_counter", lambda: next(ticks))
    found = ceilings.Ceilings("float32")
    assert found.measure() == ceilings.Rates(3 * 2 * 8**3 / 2, 3 * 2 * 4 * 100 / 2)
    np.testing.assert_array_equal(found._values, 6.0)  # written once a call, also in the warm-up
