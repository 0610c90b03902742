"""The comparison of input pipelines: what is read, what is computed of times, mistakes."""

import contextlib
import json

import numpy as np
import pytest
from PIL import Image

from common.data.augment_increasing import IncreasingRandAugment
from common.data.image_transform import TrainTransform
from launch.tools.benchmark_input_peers import _Process, results, write_photos
from launch.tools.input_pipelines import cut_by_opencv, cut_by_pillow, grain_batches, our_batches
from tests.launch.forks import run_commands

SIZE, BATCH = 32, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder / "train", 1000, 375, 3, 8)
    return folder


def test_photos(folder):
    paths = sorted(folder.glob("train/*/*.jpg"), key=lambda path: path.name)
    assert [path.parent.name for path in paths] == ["0", "1"] * 4
    contents = [path.read_bytes() for path in paths]
    assert len(set(contents)) == 3 and contents[3:] == (contents * 2)[:5]
    assert len({path.stat().st_ino for path in paths}) == 3
    with Image.open(paths[0]) as image:
        assert image.format == "JPEG" and image.size == (1000, 375)


@pytest.mark.parametrize("augment", [None, IncreasingRandAugment(magnitude_std=0.0)])
def test_pipelines_give_batches_alike(folder, augment):
    work = folder, SIZE, BATCH, augment
    streams = our_batches(*work), *(grain_batches(*work, c) for c in (cut_by_pillow, cut_by_opencv))
    for stream in streams:
        first, second = stream[0], stream[1]
        assert first["image"].shape == (BATCH, SIZE, SIZE, 3) and first["label"].shape == (BATCH,)
        assert first["image"].dtype == np.uint8 and (first["image"] != second["image"]).any()


def test_users_of_grain_cut_what_we_cut(folder):
    """The photos are so small that ours are read exactly."""
    path, size = next(folder.glob("train/*/*.jpg")), 224
    transform = TrainTransform(
        size=size,
        crop="random_resized",
        min_area=0.08,
        interpolation="bicubic",
        flip=False,
        shift=0,
        randaugment=None,
    )
    ours = transform({"image": path.read_bytes(), "name": ""}, np.random.default_rng(0))["image"]
    np.testing.assert_array_equal(cut_by_pillow(path, size, np.random.default_rng(0)), ours)
    others = cut_by_opencv(path, size, np.random.default_rng(0)).astype(int)
    assert np.abs(others - ours).mean() < 5  # of another crop: more than 30


def test_rates_and_ratios():
    """Ratios are medians over pairs of processor time, not ratios of medians."""
    times = {"ours": [(4, 2), (8, 4), (2, 1)], "timm": [(9, 6), (9, 4), (9, 2)]}
    ours, timm = results(times, 100)
    assert ours == {
        "pipeline": "ours",
        "images_per_core_second": 50.0,
        "images_per_second": 25.0,
    }
    assert timm["images_per_core_second"] == 25.0 and timm["images_per_second"] == 11.1
    assert timm["ours_faster_by"] == 2.0


def test_a_pipeline_in_a_process(folder):
    work = {"photos": folder, "randaugment": "", "size": SIZE, "batch": BATCH, "batches": 2}
    with contextlib.closing(_Process("ours", work)) as process:
        for _ in range(2):
            clock, busy = process.repetition()
            assert clock > 0 and busy > 0


INPUT = ["launch.benchmark", "--input"]
COMMANDS = {
    "one": [*INPUT, "--compare=opencv", "--photos=500x375", "--repeats=1"],
    "no peer": [*INPUT, "--compare=tim"],
    "no size": [*INPUT, "--compare=timm", "--photos=500x376"],
    "no python": [*INPUT, "--compare=timm", "--photos=500x375", "--peer_python=nowhere"],
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    return run_commands(COMMANDS, tmp_path_factory.mktemp("peers"))


def test_command(outcomes):
    assert outcomes["one"].status == 0, outcomes["one"].err
    lines = [json.loads(line) for line in outcomes["one"].out.splitlines()]
    pipelines = [(line["randaugment"], line["pipeline"]) for line in lines]
    assert pipelines == [("none", "ours"), ("none", "opencv"), ("rand-m9-inc1", "ours")]
    assert lines[1]["ours_faster_by"] > 0 and lines[1]["photos"] == "500x375"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no peer", "--compare: choose of timm, torchvision, grain, opencv"),
        ("no size", "--photos=500x376: choose of 500x375, 2000x1500"),
        ("no python", "can't run nowhere: No such file or directory"),
    ],
)
def test_mistakes(outcomes, name, message):
    assert outcomes[name].status == 2 and outcomes[name].out == ""
    (line,) = [line for line in outcomes[name].err.splitlines() if line.startswith("error:")]
    assert message in line
