"""The benchmark of the input pipeline: rates and shares that are known beforehand."""

import io
import json
import time

import numpy as np
import pytest
from PIL import Image

from common.data.images import decode
from common.task import Dataset, LoaderConfig
from launch.tools.benchmark_input import measure, one_thread
from tests.launch.forks import run_commands

PAUSE = 0.02  # seconds that an image takes
DATA = LoaderConfig(batch_size=4)


class Slow:
    """Ten images, and the seconds that reading and transforming each takes."""

    def __init__(self, read=0.0, transform=0.0):
        self._read, self._transform = read, transform

    def __len__(self):
        return 10

    def __getitem__(self, index):
        time.sleep(self._read)
        return {"index": index}

    def transform(self, example, rng):
        time.sleep(self._transform)
        return {"image": np.zeros((2, 2, 3), np.uint8)}

    @property
    def dataset(self):
        return Dataset(self, self.transform)


@pytest.mark.parametrize(("workers", "parallel"), [(0, 4), (2, 2)])
def test_rate_is_the_steady_one(workers, parallel):
    """The start of workers doesn't count, nor what was ready then; a busy machine is slower."""
    result = measure(Slow(PAUSE / 2, PAUSE / 2).dataset, DATA, workers, 0, 0.3)
    most = parallel / PAUSE
    assert 0.1 * most < result["images_per_second"] < 1.03 * most
    assert result["batches"] % parallel == 0 and result["seconds"] >= 0.3
    images = result["batches"] * DATA.batch_size  # the seconds are rounded to hundredths
    seconds = images / result["images_per_second"]
    assert seconds == pytest.approx(result["seconds"], abs=0.01)


@pytest.mark.parametrize("part", ["read", "transform"])
def test_where_the_time_goes(part):
    result = one_thread(Slow(**{part: PAUSE}).dataset, 4, 0, images=20)
    assert result["images_per_core_second"] > 2 / PAUSE  # sleeping takes no core
    found = result["shares"]
    assert sum(found.values()) == pytest.approx(1, abs=0.01) and found["decode"] == 0
    assert found["read" if part == "read" else "augment"] > 0.8


def test_decoding_is_told_from_the_rest():
    """Of three decodings, the transform repeats two under another name."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(256, size=(400, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "JPEG")

    def transform(example, rng):
        for _ in range(2):
            with Image.open(io.BytesIO(example)) as image:
                np.asarray(image.convert("RGB"))
        return {"image": decode(example)[:2, :2]}

    found = one_thread(Dataset([file.getvalue()], transform), 4, 0, images=20)["shares"]
    assert found["decode"] == pytest.approx(1 / 3, abs=0.15)
    assert found["augment"] == pytest.approx(2 / 3, abs=0.15)


def test_images_of_two_shapes():
    """Only those of one are put together."""

    def transform(example, rng):
        return {"image": example}

    dataset = Dataset([np.zeros((2, 3 + i % 2)) for i in range(9)], transform, np.arange(9) % 2)
    assert one_thread(dataset, 4, 0, images=20)["images_per_core_second"] > 0
    assert measure(dataset, DATA, 0, 0, 0.0)["batch_size"] == 4


INPUT = ["launch.benchmark", "--input"]
SHORT = ["--seconds=0.01", "--workers=0"]
COMMANDS = {
    "digits": [
        *(*INPUT, "--config=configs/maxvit_digits.py", "--config.data.batch_size=8"),
        *("--seconds=0.01", "--workers=0,1", "--accelerator_images_per_second=1e6"),
    ],
    "crops": [*INPUT, "--config=configs/maxim_photos.py", *SHORT],
    "no config": [*INPUT, *SHORT],
    "no folder": [*INPUT, "--config=configs/maxvit_folder.py", "--config.data.root=none", *SHORT],
    "no number": [*INPUT, "--config=configs/maxvit_digits.py", "--workers=0,two"],
    "no worker": [
        *(*INPUT, "--config=configs/maxvit_digits.py"),
        *(*SHORT, "--accelerator_images_per_second=3000"),
    ],
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return run_commands(COMMANDS, tmp_path_factory.mktemp("input"))


def test_classification(results):
    assert results["digits"].status == 0, results["digits"].err
    *lines, advice = results["digits"].out.splitlines()
    threads, worker, parts = map(json.loads, lines)
    assert (threads["workers"], worker["workers"], worker["batch_size"]) == (0, 1, 8)
    needed = -(-1e6 // worker["images_per_second"])
    assert advice.startswith(f"1e+06 images/s need {needed:.0f} workers, by linear extrapolation")
    assert sum(parts["shares"].values()) == pytest.approx(1, abs=0.01)


def test_restoration(results):
    assert results["crops"].status == 0, results["crops"].err
    rate, parts = map(json.loads, results["crops"].out.splitlines())
    assert rate["images_per_second"] > 0 and parts["shares"]["augment"] > 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no config", "--config is missing"),
        ("no folder", "no folder 'none'"),
        ("no number", "--workers=0,two: expected numbers, such as 0,1,2"),
        ("no worker", "--accelerator_images_per_second needs --workers=1"),
    ],
)
def test_mistakes(results, name, message):
    result = results[name]
    assert result.status == 2 and result.out == ""
    (line,) = [line for line in result.err.splitlines() if line.startswith("error:")]
    assert message in line
