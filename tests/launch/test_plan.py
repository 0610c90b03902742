"""`launch.plan` as a user types it: without data, without the devices."""

import pytest

from tests.launch.forks import run_commands

SMALL = {
    "model.num_classes": 10,
    "model.depths": "(1,)",
    "model.widths": "(64,)",
    "model.stem_widths": "(4,8)",
    "model.window_size": 2,
    "data.image_size": 8,
    "data.batch_size": 16,
}
PHOTOS = {
    "model.depth": 1,
    "model.high_res_stages": 1,
    "model.features": 4,
    "data.crop_size": 16,
    "data.eval_crop_size": 16,
    "model.block_size_hr": "(2,2)",
    "model.grid_size_hr": "(2,2)",
    "model.block_size_lr": "(2,2)",
    "model.grid_size_lr": "(2,2)",
}
FOLDER = "configs/maxvit_folder.py"


def plan(*options, config=FOLDER, fields=SMALL, **changed):
    changed = {name.replace("__", "."): value for name, value in changed.items()}
    fields = [f"--config.{name}={value}" for name, value in (fields | changed).items()]
    return ["launch.plan", f"--config={config}", *options, *fields]


COMMANDS = {
    "copies": plan("--devices=4"),
    "fsdp": plan("--devices=4", "--memory_gb=0.0001", mesh__fsdp=4),
    "parts": plan("--devices=4", train__accumulate_steps=4),
    "photos": plan("--devices=2", config="configs/maxim_photos.py", fields=PHOTOS),
    "no classes": plan(fields={}),
    "batch": plan("--devices=3"),
    "tensor": plan("--devices=4", mesh__tensor=4),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return run_commands(COMMANDS, tmp_path_factory.mktemp("plan"))


def memory(results, name):
    """GiB per device by the name of their row."""
    assert results[name].status == 0, results[name].err
    lines = results[name].out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("memory"))
    rows = {}
    for line in lines[first + 1 : lines.index("", first)]:
        rows[line[:22].strip()] = float(line[22:].split()[0])
    return rows


def flops(results, name):
    line = next(line for line in results[name].out.splitlines() if "FLOPs" in line)
    return float(line.split()[0]), float(line.split()[4])


def test_copies(results):
    rows = memory(results, "copies")
    assert rows["together"] == pytest.approx(sum(rows.values()) / 2, abs=5e-3)
    assert rows["optimizer state"] == pytest.approx(2 * rows["parameters"], abs=2e-4)
    assert "of 16: 4 per device" in results["copies"].out
    total, per_device = flops(results, "copies")
    assert per_device == pytest.approx(total / 4, rel=1e-3)


def test_fsdp_and_the_warning(results):
    whole, split = memory(results, "copies"), memory(results, "fsdp")
    assert split["optimizer state"] < whole["optimizer state"]
    assert split["activations"] == whole["activations"]
    last = results["fsdp"].out.splitlines()[-1]
    assert last.startswith("warning: ") and "config.train.accumulate_steps" in last
    assert "warning" not in results["copies"].out


def test_accumulation_needs_less_and_computes_the_same(results):
    whole, parts = memory(results, "copies"), memory(results, "parts")
    assert parts["activations"] < whole["activations"]
    assert flops(results, "parts")[0] == pytest.approx(flops(results, "copies")[0], rel=0.02)


def test_restoration(results):
    assert memory(results, "photos")["activations"] > 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no classes", "--config.model.num_classes=<n> plans without the data"),
        ("batch", "config.data.batch_size=16 does not divide over 3 parts"),
        ("tensor", "config.mesh.tensor=4 does not divide the 2 heads of params/stage_1_block_0/"),
    ],
)
def test_mistakes(results, name, message):
    assert results[name].status == 2
    assert results[name].err.strip().splitlines()[-1].startswith("error: ")
    assert message in results[name].err and "Traceback" not in results[name].err
