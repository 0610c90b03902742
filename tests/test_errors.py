"""The hints at the end of messages: about unknown names, and numbers that are no multiple."""

import pytest

from common.errors import UserError, did_you_mean, nearest_valid


@pytest.mark.parametrize(
    ("name", "choices", "hint"),
    [
        ("maxvit_tinny", ["maxvit_base", "maxvit_tiny"], "did you mean 'maxvit_tiny'"),
        ("zzz", ["b", "a"], "choose from a, b"),
        ("zzz", [], "there are none"),
    ],
)
def test_hint(name, choices, hint):
    assert did_you_mean(name, choices).startswith(hint)


def test_closest_comes_first():
    assert did_you_mean("warmup_step", {"decay_steps", "warmup_steps"}) == (
        "did you mean 'warmup_steps' or 'decay_steps'?"
    )


@pytest.mark.parametrize(
    ("value", "multiple", "hint"),
    [(300, 224, "224 or 448"), (223, 224, "224"), (20, 8, "16 or 24"), (0, 8, "8"), (-9, 8, "8")],
)
def test_nearest_valid(value, multiple, hint):
    assert nearest_valid(value, multiple) == f"nearest valid: {hint}"


def test_is_a_value_error():
    assert issubclass(UserError, ValueError)


def test_messages_are_one_line_that_can_be_printed():
    """Names of files may hold anything, and values of JSON be as long as the file."""
    message = str(UserError("a\nb \x1b[31m caf\udce9 \N{BELL} ok"))
    assert message == "a b \\x1b[31m caf\\udce9 \N{BELL} ok" and message.isprintable()
    message = str(UserError(f"path={'x' * 10**6}: do this"))
    assert message.startswith("path=xx") and message.endswith("x: do this")
    assert "[... 998,214 characters ...]" in message and len(message) < 2000
    assert str(UserError("short")) == "short"
