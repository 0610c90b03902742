"""`python -m launch.tools.model_table`: what is generated is checked row by row."""

import dataclasses

import jax
import pytest
from flax import linen as nn

import maxvit_jax
from launch.tools import model_table
from launch.tools.model_table import (
    GeneratedTable,
    abstract_variables,
    count_macs,
    count_parameters,
)

TABLE = GeneratedTable(
    "page.md",
    "things",
    "| name | size | error |\n| --- | --- | --- |",
    facts={"a": "| a | 1 |", "b": "| b | 2 |"},
    cases={"a": ("case", None), "b": (None, None)},
    error=lambda name, case: 3e-4,
)


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.setattr(model_table, "ROOT", tmp_path)
    path = tmp_path / "page.md"
    path.write_text(f"before\n{TABLE.begin}\nold\n{TABLE.end}\nafter\n")
    return path


def test_a_table_replaces_what_lies_between_its_marks(page):
    assert "things are stale" in TABLE.stale()
    TABLE.write()
    rows = "| a | 1 | 5e-04 / - |\n| b | 2 | - / - |"
    assert page.read_text() == (
        f"before\n{TABLE.begin}\n{TABLE.header}\n{rows}\n{TABLE.end}\nafter\n"
    )
    assert TABLE.stale() is None


@pytest.mark.parametrize(
    ("change", "explanation"),
    [
        ({"facts": {"a": "| a | 1 |", "b": "| b | 3 |"}}, "row of b is stale"),
        ({"facts": {"a": "| a | 1 |"}}, "things are stale"),
        ({"header": "| name | weight | error |\n| --- | --- | --- |"}, "things are stale"),
        ({"cases": {"a": ("case", "other")}}, "row of a is stale"),
        ({"error": lambda name, case: 6e-4}, "a is off by 6.0e-04 in case, not 5e-04"),
    ],
)
def test_what_is_stale_is_named(change, explanation, page):
    TABLE.write()
    assert explanation in dataclasses.replace(TABLE, **change).stale()


def test_published_checkpoints_are_up_to_date():
    assert model_table.published_table().stale() is None
    assert model_table.weights_table().stale() is None


def test_costs_are_those_of_layers_counted_by_hand():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(8, (3, 3), strides=2, name="conv")(x)  # [1, 4, 4, 8]
            return jax.nn.gelu(nn.Dense(5, name="dense")(x))

    variables = abstract_variables(Net(), 8)
    assert count_parameters(variables) == (27 * 8 + 8) + (8 * 5 + 5)
    assert count_macs(Net(), variables, 8) == 16 * 27 * 8 + 16 * 8 * 5


def test_readme_has_a_row_for_every_model_but_ablations():
    rows = [maxvit_jax.list_models(pattern) for pattern in model_table.FAMILY_ROWS]
    named = [name for names in rows for name in names]
    ablations = maxvit_jax.list_models("metaformer_*")
    assert sorted(named + ablations) == sorted(maxvit_jax.list_models())


def test_golden_cases_are_there():
    for family, cases in model_table.GOLDEN_CASES.items():
        assert set(cases) <= set(maxvit_jax.FAMILIES[family].variants)
        for case in filter(None, (case for pair in cases.values() for case in pair)):
            assert (model_table.ROOT / "tests" / "golden" / family / f"{case}.json").exists()
        assert len({len(pair) for pair in cases.values()}) == 1
