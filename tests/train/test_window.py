"""Rates of the steps between two logs, by a fake clock."""

import pytest

from common.train.window import MetricsWindow
from tests.fake_clock import FakeClock


def test_rates_know_neither_of_the_first_step_nor_of_evaluations():
    clock = FakeClock()
    window = MetricsWindow("run", clock)
    clock.now += 95
    window.add_first({"loss": 4.0})
    assert window.means(8) == {"loss": 4.0}  # alone it says nothing of the pace
    for _ in range(3):
        clock.now += 0.5
        window.add({"loss": 2.0}, waited=0.125)
    clock.now += 60
    window.leave_out(60)
    means = window.means(8)
    assert means == {"loss": 2.5, "images_per_second": pytest.approx(16), "data_wait": 0.25}
    window.restart()
    clock.now += 1
    window.add({"loss": 1.0}, waited=0.0)
    assert window.means(8) == {"loss": 1.0, "images_per_second": 8, "data_wait": 0}
