"""Config sections and arguments: what is accepted, and how the rest is refused."""

import dataclasses
import re
from typing import Any, Literal

import numpy as np
import pytest
from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from common.config import parse_arg, parse_section
from common.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    size: int
    rate: float = 0.5
    flip: bool = True
    name: str | None = None
    limit: float | None = None
    kind: Literal["cosine", "constant"] = "cosine"
    mean: tuple[float, ...] = (0.0,)
    extra: dict[str, int] = dataclasses.field(default_factory=dict)
    anything: Any = None


def parse(**values):
    return parse_section(Section, {"size": 1} | values, "part")


def test_defaults():
    assert parse() == Section(size=1)


@pytest.mark.parametrize(
    ("field", "given", "expected"),
    [
        ("rate", 2, 2.0),
        ("limit", 2, 2.0),
        ("limit", None, None),
        ("name", "x", "x"),
        ("flip", False, False),
        ("kind", "constant", "constant"),
        ("mean", [1, 2], (1.0, 2.0)),
        ("mean", (1.5,), (1.5,)),
        ("extra", {"a": 1}, {"a": 1}),
        ("anything", [object], [object]),
        ("size", np.int64(3), 3),
        ("size", np.array(3), 3),
        ("rate", np.float64(0.25), 0.25),
        ("rate", np.int32(2), 2.0),
        ("flip", np.bool_(False), False),
        ("name", np.str_("x"), "x"),
        ("mean", np.array([1, 2]), (1.0, 2.0)),
        ("mean", [np.float32(1.5)], (1.5,)),
    ],
)
def test_accepted(field, given, expected):
    value = getattr(parse(**{field: given}), field)
    assert value == expected
    assert type(value) is type(expected)
    if isinstance(value, tuple):
        assert all(type(item) is float for item in value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("size", 1.0, "config.part.size=1.0: expected int"),
        ("size", np.float32(1), "config.part.size=1.0: expected int"),
        ("size", np.bool_(True), "config.part.size=True: expected int"),
        ("flip", np.int64(1), "config.part.flip=1: expected bool"),
        ("mean", np.ones((1, 2)), "config.part.mean[0]=[1.0, 1.0]: expected float"),
        ("size", True, "config.part.size=True: expected int"),
        ("size", None, "config.part.size=None: expected int"),
        ("rate", True, "config.part.rate=True: expected float"),
        ("rate", "1e-3", "config.part.rate='1e-3': expected float"),
        ("rate", float("nan"), "config.part.rate=nan: a finite number is needed"),
        ("rate", 10**400, "config.part.rate=inf"),
        ("flip", 1, "config.part.flip=1: expected bool"),
        ("name", 3, "config.part.name=3: expected str or NoneType"),
        ("kind", "cosin", "config.part.kind='cosin': did you mean 'cosine'?"),
        ("kind", None, "config.part.kind=None: "),
        ("mean", 1.0, "config.part.mean=1.0: expected tuple"),
        ("mean", [1, "2"], "config.part.mean[1]='2': expected float"),
        ("sise", 1, "config.part.sise: unknown field, did you mean 'size'"),
    ],
)
def test_refused(field, value, message):
    with pytest.raises(UserError, match="^" + re.escape(message)):
        parse(**{field: value})


def test_missing():
    with pytest.raises(UserError, match=r"^config\.part\.size is missing$"):
        parse_section(Section, {}, "part")


def test_not_a_section():
    with pytest.raises(UserError, match=r"^config\.part=5: expected a section"):
        parse_section(Section, 5, "part")


def test_config_dict_with_placeholders():
    values = ConfigDict({"size": 3, "mean": (1, 2), "limit": placeholder(float)})
    section = parse_section(Section, values, "part")
    assert (section.size, section.mean, section.limit) == (3, (1.0, 2.0), None)
    values.limit = 4.0
    assert parse_section(Section, values, "part").limit == 4.0


def test_arguments():
    arg = parse_arg(
        "size=384,smoke=true,rate=1e-3,name=a=b", size=224, smoke=False, rate=0.0, name=""
    )
    assert (arg.size, arg.smoke, arg.rate, arg.name) == (384, True, 1e-3, "a=b")
    assert vars(parse_arg("", size=224)) == {"size": 224}
    assert parse_arg("smoke=0", smoke=True).smoke is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sise=1", "config argument 'sise': did you mean 'size'?"),
        ("size", "config argument 'size': expected size=<int>"),
        ("size=1.5", "config argument 'size=1.5': expected size=<int>"),
        ("size=", "config argument 'size=': expected size=<int>"),
        ("smoke=yes", "config argument 'smoke=yes': expected smoke=<bool>"),
    ],
)
def test_wrong_arguments(text, message):
    with pytest.raises(UserError, match=re.escape(message)):
        parse_arg(text, size=224, smoke=False)
