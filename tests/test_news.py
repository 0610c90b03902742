"""That no long time passes without a line, told by a fake clock; and once by the thread itself."""

import itertools
import time

import pytest

from common import news
from common.news import Activity, announced
from tests.fake_clock import FakeClock


def passing(clock, activity, until):
    """Lets time pass, and asks often enough."""
    while clock.now < until:
        clock.now += 0.5
        activity.speak_if_due()


def test_a_compilation_says_that_it_is_under_way_and_how_long_it_took(capsys):
    clock, said = FakeClock(), []
    with announced("compiling the training step", "compiled", clock=clock) as activity:
        while clock.now < 95:
            clock.now += 0.5
            activity.speak_if_due()
            said += [clock.now] * bool(capsys.readouterr().out)
    assert said[0] == 1 and capsys.readouterr().out == "compiled in 95 s\n"
    assert all(later - earlier < 15 for earlier, later in itertools.pairwise([*said, 95]))


def test_its_lines(capsys):
    clock = FakeClock()
    with announced("compiling for 512x512", "compiled", clock=clock) as activity:
        passing(clock, activity, 22)
    assert capsys.readouterr().out.splitlines() == [
        "compiling for 512x512",
        "still compiling for 512x512, 11 s",
        "still compiling for 512x512, 21 s",
        "compiled in 22 s",
    ]


@pytest.mark.parametrize(("seconds", "lines"), [(0.5, 0), (3, 1)])
def test_what_takes_a_moment_is_not_worth_a_line(capsys, seconds, lines):
    clock = FakeClock()
    with announced("compiling", clock=clock) as activity:
        passing(clock, activity, seconds)
    assert len(capsys.readouterr().out.splitlines()) == lines


def test_of_what_fails_nothing_is_said_to_be_done(capsys):
    clock = FakeClock()
    with pytest.raises(ValueError), announced("reading", "read", clock=clock) as activity:
        passing(clock, activity, 8)
        raise ValueError
    assert capsys.readouterr().out == "reading\n"


def test_the_innermost_speaks_and_what_is_announced_counts_in_no_rate(capsys):
    clock = FakeClock()
    with Activity(lambda: "outer", clock=clock) as outer:
        passing(clock, outer, 11)
        with Activity(lambda: "middle", clock=clock):
            clock.now += 5
            with announced("compiling", "compiled", clock=clock) as inner:
                for _ in range(30):
                    clock.now += 1
                    outer.speak_if_due()
                    inner.speak_if_due()
        assert outer.seconds() == 11 + 5
        outer.speak_if_due()  # has just been heard of
    lines = capsys.readouterr().out.splitlines()
    still = [f"still compiling, {seconds} s" for seconds in (11, 21)]
    assert lines == ["outer", "compiling", *still, "compiled in 30 s"]


def test_a_silent_part_does_not_prolong_silence(capsys):
    clock = FakeClock()
    with Activity(lambda: "outer", clock=clock) as outer:
        for _ in range(13):
            with announced("a moment", clock=clock) as inner:
                clock.now += 0.9
                inner.speak_if_due()
            outer.speak_if_due()
    assert capsys.readouterr().out == "outer\n"


def test_a_thread_speaks(capsys, monkeypatch):
    monkeypatch.setattr(news, "_MOMENT", 0.01)
    out, deadline = "", time.monotonic() + 20
    with announced("reading"):
        while not out and time.monotonic() < deadline:
            time.sleep(0.01)
            out += capsys.readouterr().out
    assert out == "reading\n"
