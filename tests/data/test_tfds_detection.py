"""Boxes of tfds, from a small data set prepared as COCO's is."""

import pickle

import pytest

from common.data.coco_annotations import COCO_IDS
from common.data.detection import make_detection_source
from common.errors import UserError


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    from tests.data.builders import Coco

    folder = str(tmp_path_factory.mktemp("tfds"))
    Coco(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


def test_ids_and_boxes_are_cocos(prepared):
    source = make_detection_source("tfds", name="coco", data_dir=prepared)
    source = pickle.loads(pickle.dumps(source))
    assert len(source) == 3 and not source.has_masks and len(source.class_names) == 80
    assert source.category_ids == list(COCO_IDS)
    assert COCO_IDS[:12] == (*range(1, 12), 13) and COCO_IDS[-1] == 90 and len(COCO_IDS) == 80
    examples = {source[i]["image_id"]: source[i] for i in range(3)}
    assert sorted(examples) == [1000, 1001, 1002]
    assert examples[1000]["boxes"].shape == (0, 4) and examples[1000]["labels"].shape == (0,)
    crowd = examples[1002]
    assert crowd["boxes"].tolist() == [[20, 5, 40, 15]]  # the one without area is left out
    assert crowd["labels"].tolist() == [79] and crowd["crowd"].tolist() == [True]
    assert crowd["name"] == "000000000002.jpg" and crowd["image"].startswith(b"\x89PNG")
    assert source.sizes.tolist() == [[20, 40]] * 3
    truth = source.ground_truth()
    assert [row["id"] for row in truth["images"]] == [source[i]["image_id"] for i in range(3)]
    rows = {row["image_id"]: row for row in truth["annotations"]}
    assert len(truth["annotations"]) == 2 and rows[1002]["category_id"] == 90
    assert rows[1002]["bbox"] == [20, 5, 20, 10] and rows[1002]["area"] == 150
    assert [rows[i]["iscrowd"] for i in (1001, 1002)] == [0, 1]
    assert sorted(row["id"] for row in truth["annotations"]) == [901, 902]


def test_mistakes(prepared):
    with pytest.raises(UserError, match="'tfds' needs name"):
        make_detection_source("tfds")
    with pytest.raises(UserError, match=r"no split 'trian'.*did you mean 'train'"):
        make_detection_source("tfds", name="coco", data_dir=prepared, split="trian")
