"""Whole images of any size: padded to few sizes, each measured or named."""

import csv

import numpy as np
import pytest
from etils import epath
from flax import linen as nn

from common.data.images import CorruptImage
from common.errors import UserError
from common.task import Dataset
from common.whole_images import Extremes, PaddedSizes, measure_images
from maxim_jax.inference import Restorer


def test_padded_sizes():
    exact, few = PaddedSizes(64), PaddedSizes(64, few=True)
    assert exact(1, 64) == (64, 64) and exact(65, 600) == (128, 640)
    sides = range(1, 4097, 7)
    for side in sides:
        padded = few(side, 64)[0]
        assert padded % 64 == 0 and side <= padded < max(1.25 * (side + 63), side + 64)
    assert len({few(side, 64)[0] for side in sides}) == 20  # 64 with the next multiple
    assert len({exact(side, 64)[0] for side in sides}) == 64


class Widen(nn.Module):
    """Restores nothing: bright spots grow. Every compilation calls it once."""

    size_multiple = 64
    calls = []

    def __call__(self, images, train=False):
        self.calls.append(images.shape)
        return ((nn.max_pool(images, (3, 3), padding="SAME"),),)


def test_photos_of_many_sizes_share_programs():
    """Ten sizes, each once; what a local operation sees within the photo is the same."""
    rng = np.random.default_rng(0)
    photos = [rng.random((600 + 67 * i, 50, 3), np.float32) for i in range(10)]
    Widen.calls.clear()
    exact = Restorer(Widen(), {})
    expected = [exact(photo) for photo in photos]
    assert len(Widen.calls) == len(exact.compiled) >= 9
    Widen.calls.clear()
    few = Restorer(Widen(), {}, few_sizes=True)
    for photo, result in zip(photos, expected, strict=True):
        np.testing.assert_allclose(few(photo), result, atol=1e-6)
    assert len(Widen.calls) == len(few.compiled) == 5


class Squares:
    """Images of different sizes; the second is broken."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        if index == 1:
            raise CorruptImage("no image")
        return {"image": np.zeros((index + 1, 2, 3)), "value": float(index % 3)}

    def name(self, index):
        return f"square {index}"


def test_every_image_is_measured_or_named(tmp_path):
    extremes, done = Extremes(1), []

    def measure(name, example):
        row = {"name": name, "height": len(example["image"]), "value": example["value"] / 3}
        return {"row": row, "case": name}

    def take(found):
        extremes.take(found["row"]["value"], found["case"])

    table = epath.Path(tmp_path) / "table.csv"
    dataset = Dataset(Squares(), lambda example: example)
    rows, left_out = measure_images(
        dataset, measure, table, ["name", "height", "value"], take=take, progress=done.append
    )
    assert left_out == [{"name": "square 1", "reason": "no image"}] and done == [1, 2, 3, 4]
    with (tmp_path / "table.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [row["name"] for row in written]
    assert [row["height"] for row in written] == ["1", "3", "4"]
    assert written[1]["value"] == "0.666667"
    assert (extremes.lowest, extremes.highest) == (["square 0"], ["square 2"])


def test_nothing_measured_leaves_nothing(tmp_path):
    class Broken(Squares):
        def __getitem__(self, index):
            raise CorruptImage("no image")

    dataset = Dataset(Broken(), lambda example: example)
    with pytest.raises(UserError, match=r"nothing could be measured \(square 0: no image\)"):
        measure_images(dataset, lambda *_: {}, epath.Path(tmp_path) / "table.csv", ["name"])
    assert not list(tmp_path.iterdir())
