"""Sources whose classes are matched to a run's by name: examples mean the same as before."""

import pickle

import numpy as np
import pytest

from common.data.renumbered import (
    RenumberedImages,
    RenumberedLabelMaps,
    RenumberedObjects,
    RenumberedTags,
    is_another_order,
)
from common.data.sources import ArraySource
from tests.tasks.label_maps import Squares
from tests.tasks.objects import rectangles

NAMES = ["cat", "dog", "fox"]
OTHER = ["fox", "cat", "dog"]


@pytest.mark.parametrize(
    ("names", "others", "said"),
    [
        (NAMES, OTHER, True),
        (NAMES, NAMES, False),
        (NAMES, tuple(NAMES), False),
        (NAMES, [*OTHER, "gnu"], False),
        (["cat", "cat", "dog"], ["dog", "cat", "cat"], False),  # which cat?
        (["cat", "dog", "dog"], ["dog", "cat", "cat"], False),
        ([], [], False),
    ],
)
def test_what_is_another_order(names, others, said):
    assert is_another_order(names, others) == said


def test_images():
    pixels = np.zeros((4, 2, 2, 3), np.uint8)
    source = ArraySource(pixels, [0, 1, 2, 0], NAMES)
    found = RenumberedImages.as_in(source, OTHER)
    assert [OTHER[found[i]["label"]] for i in range(len(found))] == ["cat", "dog", "fox", "cat"]
    assert found.labels.tolist() == [1, 2, 0, 1] and found.class_names == OTHER
    assert found.name(3) == source.name(3)
    assert RenumberedImages.as_in(source, NAMES) is source
    back = RenumberedImages.as_in(found, NAMES)
    assert back.labels.tolist() == [0, 1, 2, 0]


class Tags:
    class_names = NAMES
    labels = np.array([[1, 0, 1], [0, 1, 0]], np.float32)
    summary = "two images"

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return {"image": b"", "labels": self.labels[index], "name": str(index)}


def test_any_number_of_labels():
    found = RenumberedTags(Tags(), OTHER)
    np.testing.assert_array_equal(found.labels, [[1, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal([found[i]["labels"] for i in range(2)], found.labels)
    assert found.summary == "two images"


def test_label_maps():
    source = Squares(2)
    found = RenumberedLabelMaps(source, ["blue", "ground", "red"])
    example, before = found[1], source[1]
    ignored = before["label_map"] == 255
    assert ignored.any() and (example["label_map"][ignored] == 255).all()
    assert example["label_map"].dtype == np.uint8
    np.testing.assert_array_equal(  # as it is drawn
        found.palette[example["label_map"][~ignored]], source.palette[before["label_map"][~ignored]]
    )


def test_objects():
    source = rectangles(4)
    found = RenumberedObjects(source, ["blue", "red"])
    assert found.class_names == ["blue", "red"] and found.category_ids == [2, 1]
    for index in range(4):
        example, before = found[index], source[index]
        names = [found.class_names[label] for label in example["labels"]]
        assert names == [source.class_names[label] for label in before["labels"]]
        np.testing.assert_array_equal(example["boxes"], before["boxes"])
    assert found.ground_truth() == source.ground_truth()


def test_worker_processes_get_one():
    source = ArraySource(np.zeros((2, 2, 2, 3), np.uint8), [0, 2], NAMES)
    copy = pickle.loads(pickle.dumps(RenumberedImages(source, OTHER)))
    assert [copy[i]["label"] for i in range(2)] == [1, 0]
    assert not hasattr(copy, "summary")
