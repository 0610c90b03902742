"""TPUs by name, and what a program compiled for them needs; no TPU is here."""

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from common.errors import UserError
from common.train.collectives import Collectives
from launch.tools import tpu_table
from launch.tpu_program import TpuProgram, as_json, described, needed_bytes, program_lines
from launch.tpu_topology import CHIPS, Topology, topology

PROGRAM = TpuProgram(
    arguments=2**30,
    output=2**30,
    shared=2**29,
    temporaries=2**31,
    code=2**28,
    bytes=28.7e9,
    flops=343e9,
    collectives={"all-reduce": Collectives(15, 123_400_000), "all-gather": Collectives(0, 0)},
    seconds=130.2,
)
PLAN = tpu_table.Plan("poolformer:variant=poolformer_s12", "v5e:4x4", {"model.depths": (1, 1)})
UNTRIED = tpu_table.Plan("moat", "v5e:4x4")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v5f:4x4", "did you mean 'v5p' or 'v5e'? there are v2, v3, v4, v5e, v5p, v6e, tpu7x"),
        ("v5e", "expected sides in chips after the generation, such as v5e:4x4"),
        ("v4:8", "such as v4:2x2x2"),
        ("v5e:4x0", "expected sides"),
        ("v5e:3x4", "nearest valid: v5e:4x4"),
        ("v4:2x3x5", "nearest valid: v4:2x4x5"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(UserError) as error:
        topology(name)
    assert message in str(error.value)


def test_without_libtpu(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "libtpu", None)
    with pytest.raises(UserError, match=r"pip install 'multi-axis-jax\[tpu-plan\]'"):
        topology("v5e:2x2")


def test_floors():
    """MaxViT-T cut to one block per stage, 64 images: 35 ms by bytes, 1.7 ms by arithmetic."""
    by_bytes, by_flops = PROGRAM.floors(CHIPS["v5e"])
    assert by_bytes == pytest.approx(35.04, abs=0.01) and by_flops == pytest.approx(1.741, abs=1e-3)


def test_lines():
    lines = list(program_lines(PROGRAM, Topology("v5e:2x2", CHIPS["v5e"], [None] * 4), 1))
    rows = {line[:22].strip(): line[22:].strip() for line in lines}
    assert rows["together"] == "3.7500" and rows["a program may have"] == "15.7500"
    assert lines[-1] == "collectives: 15 all-reduce of 123.4 MB"
    assert "at least 35.04 ms" in lines[-3] and "at least 1.74 ms" in lines[-2]


@pytest.mark.parametrize(
    ("message", "needed"),
    [
        ("Used 20.50G of 15.75G hbm. Exceeded hbm capacity by 4.75G.", 20.5 * 2**30),
        ("temporaries (2.00T) exceeds available HBM (15.75G)", 2**41),
        ("out of luck", None),
    ],
)
def test_what_a_refused_program_needs(message, needed):
    assert needed_bytes(f"RESOURCE_EXHAUSTED: {message}") == needed


def test_table(tmp_path, monkeypatch):
    monkeypatch.setattr(tpu_table, "PLANS", [UNTRIED, PLAN])
    page = tmp_path / "page.md"
    page.write_text(f"above\n{tpu_table._BEGIN}\nold\n{tpu_table._END}\nbelow\n")
    sizes = {"per_device": 32, "steps": 2, "alone": 17 * 2**30}
    results = [{"key": tpu_table.key(PLAN), **sizes, **as_json(PROGRAM)}]
    tpu_table.write_table(results, page)
    text = page.read_text()
    assert (
        text.startswith("above\n")
        and text.endswith("\nbelow\n")
        and "old" not in text
        and "moat" not in text
    )
    row = text.splitlines()[-3]
    assert "| 32, 2 times | 3.75 / 15.75 (at once 17.0) | 2.00 | 28.7 (35.0) | 343 (1.7) |" in row
    assert row.startswith(
        "| `poolformer:variant=poolformer_s12`, `model.depths=(1, 1)` | v5e:4x4 |"
    )
    assert row.endswith("| 15 all-reduce of 123.4 MB | 130 |")


def test_a_line_that_was_cut_off_is_compiled_again(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text('{"key": "a"}\n{"key": "b", "bytes": 1')
    assert tpu_table.read(path) == [{"key": "a"}]


@pytest.mark.parametrize("name", CHIPS)
def test_libtpu_has_every_generation(name):
    pytest.importorskip("libtpu")
    chip, layout = CHIPS[name], "2x2" if name in ("v2", "v3", "v5e", "v6e") else "2x2x1"
    assert len(topology(f"{name}:{layout}").devices) == 4 * chip.per_chip


def test_compiled():
    """A product of matrices whose sum over four chips is one number."""
    pytest.importorskip("libtpu")
    mesh = Mesh(np.array(topology("v5e:2x2").devices), ("data",))
    split, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))
    shapes = [jax.ShapeDtypeStruct(sides, "bfloat16") for sides in ((2048, 1024), (1024, 1024))]
    program = jax.jit(lambda x, w: (x @ w).sum(), in_shardings=(split, whole))
    found = described(program.lower(*shapes).compile(), 1.0)
    assert found.arguments == 2 * (512 * 1024 + 1024 * 1024)
    assert found.flops == pytest.approx(2 * 512 * 1024 * 1024, rel=0.01)
    assert found.bytes > found.arguments
    assert found.collectives["all-reduce"].count == 1
    assert found.collectives["all-reduce"].bytes in (2, 4)
