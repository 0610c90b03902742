"""What is shown of long work: rates and ETA by a fake clock, and lines that fit a terminal."""

import pytest

from common.news import announced
from common.progress import Pace, ProgressReport, figure, in_columns
from tests.fake_clock import FakeClock


def test_the_eta_knows_of_no_compilation(capsys):
    """A compilation of 95 s, then steps of half a second; another compilation on the way."""
    clock = FakeClock()
    with ProgressReport(500, unit="step", clock=clock) as progress:
        with announced("compiling", clock=clock):
            clock.now += 95
        clock.now += 5  # the first step is like no other
        progress.metrics(1, {"train/loss": 1.0})
        for step in range(2, 102):
            clock.now += 0.5
            progress.advance(step)
        with announced("compiling", clock=clock):
            clock.now += 60
        progress.metrics(101, {"train/loss": 0.5})
    first, last = capsys.readouterr().out.splitlines()
    assert first == "step 1/500  loss 1"
    assert last == "step 101/500  loss 0.5  ETA 0:03:19"  # 399 steps of 0.5 s
    assert progress.rate() == pytest.approx(2)


def test_a_run_that_goes_on_counts_its_own_steps(capsys):
    clock = FakeClock()
    with ProgressReport(100, 50, unit="step", clock=clock) as progress:
        for step in (51, 52, 53):
            clock.now += 2
            progress.advance(step)
        progress.metrics(53, {})
    assert capsys.readouterr().out == "step 53/100  ETA 0:01:34\n"


def test_epochs_beside_steps(capsys):
    with ProgressReport(500, unit="step", epoch=93.75) as progress:
        progress.metrics(188, {"train/loss": 1.0})
    assert capsys.readouterr().out == "step 188/500  epoch 2.0/5.3  loss 1\n"
    with ProgressReport(93, unit="step", epoch=93.75) as progress:
        progress.metrics(9, {})
    assert capsys.readouterr().out == "step 9/93\n"  # there will be none


def test_steps_that_are_not_logged_are_shown_after_ten_seconds(capsys):
    clock = FakeClock()
    with ProgressReport(100, unit="image", clock=clock) as progress:
        for step in range(1, 13):
            clock.now += 2
            progress.advance(step)
            progress._activity.speak_if_due()
    assert capsys.readouterr().out.splitlines() == [
        "image 5/100  ETA 0:03:10",
        "image 10/100  ETA 0:03:00",
    ]


def test_metric_lines_fit_80_columns(capsys):
    names = ("loss", "accuracy_top1", "grad_norm", "images_per_second", "data_wait")
    values = {f"train/{name}": 1234.5678 for name in (*names, "learning_rate")}
    with ProgressReport(100_000, unit="step", epoch=5005.0) as progress:
        progress.metrics(12_345, values)
    out = capsys.readouterr().out
    assert all(len(line) <= 80 for line in out.splitlines())
    expected = "step 12345/100000  epoch 2.5/20.0  loss 1235  accuracy_top1 1235"
    expected += "  grad_norm 1235  images/s 1235  data_wait 1235  lr 1235"
    assert out.split() == expected.split()


def test_columns():
    assert in_columns(["a", "", "b"]) == "a  b"
    lines = in_columns(["x" * 39, "y" * 39, "z" * 90, "w"]).splitlines()
    assert lines == ["x" * 39 + "  " + "y" * 39, "  " + "z" * 90, "  w"]


@pytest.mark.parametrize(
    ("value", "text"), [(500, "500"), (500.0, "500"), (0.98765, "0.9877"), (12345, "12345")]
)
def test_figures(value, text):
    assert figure(value) == text


def test_pace_counts_from_the_first_photo_on(capsys):
    clock = FakeClock()
    with ProgressReport(5, unit="photo", clock=clock) as progress:
        pace = Pace(progress, 5)
        for done in range(1, 6):
            with announced("compiling", clock=clock):
                clock.now += 30
            clock.now += 4
            pace(done)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "photo 3/5  images/s 0.25  ETA 0:00:08",
        "photo 5/5  images/s 0.25  ETA 0:00:00",
    ]
