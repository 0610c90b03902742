"""Spoilt photos: functions of split and index, whose scores follow how much they are spoilt."""

import cv2
import numpy as np
import pytest

from common.data import quality_photos
from common.data.quality_photos import KINDS, SpoiltPhotos
from common.data.score_distributions import moments
from common.data.shapes import photo_textures
from common.errors import UserError
from common.metrics.quality import correlation, ranks

TEN = tuple(map(float, range(1, 11)))


def test_an_example_is_a_function_of_split_and_index():
    few, many = SpoiltPhotos("test", TEN, 8), SpoiltPhotos("test", TEN, 40)
    other = SpoiltPhotos("train", TEN, 8)
    for i in range(8):
        a, b = few[i], many[i]
        np.testing.assert_array_equal(a["image"], b["image"])
        np.testing.assert_array_equal(a["distribution"], b["distribution"])
        assert a["name"] == b["name"] and a["position"] == i
        assert a["image"].shape == (64, 64, 3) and a["image"].dtype == np.uint8
        assert not np.array_equal(a["image"], other[i]["image"])
    assert len({few.name(i).split("_")[1] for i in range(8)}) == len(KINDS)


def test_the_mean_score_falls_with_the_strength():
    found = SpoiltPhotos("train", TEN, 50)
    strengths = np.array([float(found.name(i).split("_")[-1]) for i in range(50)])
    mean, std = moments(np.stack([found[i]["distribution"] for i in range(50)]), TEN)
    np.testing.assert_allclose(mean, 10 - 9 * strengths, atol=0.05)
    middle = (mean > 3) & (mean < 8)
    np.testing.assert_allclose(std[middle], 1.35, atol=1e-3)
    five = SpoiltPhotos("train", (1, 2, 3, 4, 5), 50)
    assert five[3]["distribution"].shape == (5,)
    np.testing.assert_array_equal(five[3]["image"], found[3]["image"])


@pytest.mark.parametrize("split", ["train", "test"])
def test_crops_are_of_the_photos_of_their_split(split, monkeypatch):
    monkeypatch.setattr(quality_photos, "_SHRINK", (1, 1))
    found = SpoiltPhotos(split, TEN, 40)
    found._strengths[:] = 0
    for index in range(1, 40, 8):
        assert "_blur_0.00" in found.name(index)  # as the photo is
        crop = found[index]["image"]
        photos = (p for p in photo_textures(split) if min(p.shape[:2]) >= 64)
        misses = [cv2.matchTemplate(photo, crop, cv2.TM_SQDIFF).min() for photo in photos]
        assert min(misses) < 64 * 64, found.name(index)


def test_each_kind_spoils_more_the_stronger_it_is():
    crop = photo_textures("test")[0][40:104, 40:104].astype(np.float32) / 255
    strengths = np.linspace(0, 1, 9)
    for name, kind in KINDS.items():
        spoilt = [kind(s)(crop, np.random.default_rng(0)) for s in strengths]
        changes = np.array([np.abs(np.clip(x, 0, 1) - crop).mean() for x in spoilt])
        assert correlation(ranks(strengths), ranks(changes)) > 0.95, name
        assert changes[0] < 0.02 and changes[-1] > 5 * changes[0], name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("val", TEN), "choose from test, train"),
        (("test", TEN, 4, 200), "nearest valid: 128"),
        (("test", TEN, 0), "nearest valid: 1"),
    ],
)
def test_mistakes(arguments, words):
    with pytest.raises(UserError, match=words):
        SpoiltPhotos(*arguments)
