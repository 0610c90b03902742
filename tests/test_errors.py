"""The hint at the end of messages about unknown names."""

import pytest

from common.errors import UserError, did_you_mean


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


def test_is_a_value_error():
    assert issubclass(UserError, ValueError)
