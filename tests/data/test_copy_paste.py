"""Objects of another image in front: what is seen, what is left, nothing by chance alone."""

import pickle

import cv2
import numpy as np
import pytest

from common.data.copy_paste import CopyPaste, paste
from common.data.detection import make_detection_source
from common.data.detection_transform import TrainDetection, mask_bounds
from common.data.drawn_objects import Picture
from common.data.images import CorruptImage
from common.errors import UserError


def example(value: int, *places: tuple[int, int, int, int], size=(20, 30)) -> dict:
    """Rectangles x1, y1, x2, y2 that are filled with a gray value."""
    masks = np.zeros((len(places), *size), bool)
    for mask, (x1, y1, x2, y2) in zip(masks, places, strict=True):
        mask[y1:y2, x1:x2] = True
    return {
        "image": np.repeat(masks.any(0)[..., None] * np.uint8(value), 3, -1),
        "masks": masks,
        "boxes": mask_bounds(masks).astype(np.float32),
        "labels": np.full(len(places), value),
        "crowd": np.zeros(len(places), bool),
        "image_id": value,
        "name": str(value),
    }


class Keep:
    """A transform that returns the example."""

    def __call__(self, example: dict, rng: np.random.Generator) -> dict:
        return example


def other_source(*examples):
    source = make_detection_source("shapes", count=len(examples), size=32)
    source._picture = [
        Picture(e["image"], e["masks"], e["boxes"], e["labels"]) for e in examples
    ].__getitem__
    return source


def test_what_is_pasted_hides_what_is_below():
    first = example(100, (0, 0, 10, 10), (12, 0, 22, 10), (25, 0, 30, 5))
    first["crowd"][2] = True
    second = example(200, (5, 0, 21, 10), (0, 15, 5, 20))
    joined = paste(first, second, least_visible=0.2)
    # Half of the first is left, a tenth of the second.
    assert joined["labels"].tolist() == [100, 100, 200, 200]
    assert joined["boxes"].tolist() == [
        [0, 0, 5, 10],
        [25, 0, 30, 5],
        [5, 0, 21, 10],
        [0, 15, 5, 20],
    ]
    assert joined["crowd"].tolist() == [False, True, False, False]
    for mask, label in zip(joined["masks"], joined["labels"], strict=True):
        assert (joined["image"][mask] == label).all()
    assert (joined["masks"].sum(0) <= 1).all()
    assert joined["image_id"] == 100 and (first["image"] <= 100).all()
    assert len(paste(first, second, least_visible=0.1)["labels"]) == 5
    gone = paste(example(100, (5, 5, 9, 9)), example(200, (0, 0, 30, 20)), least_visible=0.0)
    assert gone["labels"].tolist() == [200]


def test_objects_fit_the_image_after_random_pasting():
    first = example(100, (0, 0, 10, 10), (15, 5, 25, 18))
    source = other_source(example(200, (2, 2, 14, 8), (20, 10, 40, 20), size=(24, 44)))
    augment = CopyPaste(transform=Keep(), source=source, probability=1.0, scale=(0.5, 1.5))
    pasted, seen, places = 0, 0, set()
    for seed in range(40):
        joined = augment(first, np.random.default_rng(seed))
        again = augment(first, np.random.default_rng(seed))
        assert (joined["image"] == again["image"]).all()
        assert joined["image"].shape == (20, 30, 3) and joined["masks"].shape[1:] == (20, 30)
        assert (joined["masks"].sum(0) <= 1).all()
        for mask, box, label in zip(
            joined["masks"], joined["boxes"], joined["labels"], strict=True
        ):
            assert mask.any() and (mask_bounds(mask[None])[0] == box).all()
            # At its edges an object is mixed with what was around it there.
            inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0)
            shown = joined["image"][inner > 0][:, 0].astype(int)
            assert (np.abs(shown - int(label)) < 50).all()
            seen += inner.any()
        pasted += (joined["labels"] == 200).any()
        places |= {tuple(box) for box in joined["boxes"][joined["labels"] == 200]}
    assert 20 < pasted < 40 and len(places) > 20 and seen > 80


def test_crowds_are_not_pasted_and_nothing_happens_without_chance():
    first, second = example(100, (0, 0, 10, 10)), example(200, (0, 0, 30, 20))
    source = other_source(second)
    never = CopyPaste(transform=Keep(), source=source, probability=0.0)
    assert never(first, np.random.default_rng(0)) is first

    class Crowds:
        has_masks = True

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return second | {"crowd": np.ones(1, bool)}

    class Corrupt(Crowds):
        def __getitem__(self, index):
            raise CorruptImage("?")

    for source in (Crowds(), Corrupt()):
        augment = CopyPaste(transform=Keep(), source=source, probability=1.0)
        for seed in range(5):
            joined = augment(first, np.random.default_rng(seed))
            assert joined["labels"].tolist() == [100] and (joined["image"] == first["image"]).all()


def test_with_the_transform():
    source = make_detection_source("shapes", count=4, size=48)
    augment = CopyPaste(transform=TrainDetection(size=32), source=source, probability=1.0)
    batch = pickle.loads(pickle.dumps(augment))(source[0], np.random.default_rng(1))
    assert batch["masks"].shape == (100, 112, 112) and batch["image"].shape == (32, 32, 3)


def test_mistakes():
    source = make_detection_source("shapes", count=1, size=32)
    for fields, message in (
        ({"probability": 1.5}, "probability=1.5 is no share"),
        ({"least_visible": -1}, "least_visible=-1 is no share"),
        ({"scale": (2, 1)}, "no range of factors"),
    ):
        with pytest.raises(UserError, match=message):
            CopyPaste(transform=Keep(), source=source, **fields)
    source.has_masks = False
    with pytest.raises(UserError, match="needs masks"):
        CopyPaste(transform=Keep(), source=source)
