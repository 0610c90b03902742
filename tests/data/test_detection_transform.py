"""Images with objects on their way into a batch: boxes and masks stay where the image is."""

import dataclasses
import pickle

import cv2
import numpy as np
import pytest

from common.data.detection import make_detection_source
from common.data.detection_transform import (
    EvalDetection,
    TrainDetection,
    decoded,
    mask_bounds,
    orientations,
)
from common.data.images import CorruptImage
from common.data.pipeline import eval_batches, train_batches
from common.data.rle import bounding_box
from common.errors import UserError


def example(height: int = 60, width: int = 90, *, masks: bool = True) -> dict:
    """Three angles, each alone in one channel of the image, which tells where it is."""
    image = np.zeros((height, width, 3), np.uint8)
    found = []
    for channel, (y, x, down, across) in enumerate(
        [(0.1, 0.1, 0.4, 0.3), (0.3, 0.5, 0.6, 0.4), (0.6, 0.05, 0.3, 0.4)]
    ):
        top, left = int(y * height), int(x * width)
        bottom, right = top + int(down * height), left + int(across * width)
        inside = np.zeros((height, width), bool)
        inside[top:bottom, left:right] = True
        inside[top : (top + bottom) // 2, (left + right) // 2 : right] = False
        image[..., channel] = inside * 200
        found.append(inside)
    drawn = np.stack(found)
    return {
        "image": image,
        "boxes": np.array([bounding_box(mask) for mask in drawn], np.float32),
        "labels": np.arange(3),
        "crowd": np.zeros(3, bool),
        "image_id": 77,
        "name": "a",
    } | ({"masks": drawn} if masks else {})


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def objects(batch: dict) -> list[tuple[int, np.ndarray]]:
    """Label and box of what isn't padding."""
    return [(int(a), b) for a, b in zip(batch["labels"], batch["boxes"], strict=True) if a >= 0]


def pasted(batch: dict, i: int) -> np.ndarray:
    """The share of every pixel of the canvas that a mask covers, by its box."""
    height, width = batch["image"].shape[:2]
    x1, y1, x2, y2 = batch["boxes"][i].astype(np.float64)
    columns = (np.arange(width) + 0.5 - x1) / (x2 - x1) * 112 - 0.5
    rows = (np.arange(height) + 0.5 - y1) / (y2 - y1) * 112 - 0.5
    grid = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
    border = {"borderMode": cv2.BORDER_REPLICATE, "interpolation": cv2.INTER_LINEAR}
    shares = cv2.remap(batch["masks"][i].astype(np.float32) / 255, *grid, **border)
    inside = (columns > -0.5) & (columns < 111.5)
    return shares * inside * ((rows > -0.5) & (rows < 111.5))[:, None]


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("size", [64, (48, 80)])
def test_boxes_and_masks_are_where_the_image_shows_them(size, masks):
    transform = pickle.loads(pickle.dumps(TrainDetection(size=size, scale=(0.4, 2.0))))
    data, seen = example(masks=masks), 0
    canvas = (64, 64) if size == 64 else size
    for seed in range(40):
        batch = transform(data, rng(seed))
        height, width = batch["size"]
        assert batch["image"].shape == (*canvas, 3) and batch["image"].dtype == np.uint8
        assert not batch["image"][height:].any() and not batch["image"][:, width:].any()
        for channel in range(3):
            shown = batch["image"][..., channel] > 100
            if min(shown.any(0).sum(), shown.any(1).sum()) > 1:
                assert channel in batch["labels"]
        for i, (label, box) in enumerate(objects(batch)):
            shown = batch["image"][..., label] > 100
            assert (box[:2] >= 0).all() and (box[2:] <= (width, height)).all()
            assert (box[2:] - box[:2] >= 1).all()
            if not shown.any():
                continue
            bounds = np.array(bounding_box(shown))
            if masks:
                assert np.abs(box - bounds).max() <= 1.01
                drawn, near = pasted(batch, i) > 0.5, np.ones((3, 3), np.uint8)
                outer = cv2.dilate(shown.astype(np.uint8), near)
                inner = cv2.erode(shown.astype(np.uint8), near, borderValue=0)
                assert (inner <= drawn).all() and (drawn <= outer).all()  # but for its edge
                seen += inner.any()
            else:  # a box may be cut where the angle in it isn't
                assert (box[:2] <= bounds[:2] + 1.01).all() and (box[2:] >= bounds[2:] - 1.01).all()
        again = transform(data, rng(seed))
        assert all((again[key] == batch[key]).all() for key in batch)
    assert seen > 40 or not masks


def test_types_and_padding():
    batch = TrainDetection(size=32, scale=(1.0, 1.0), max_objects=5)(example(), rng())
    assert {key: (value.dtype.name, value.shape) for key, value in batch.items()} == {
        "image": ("uint8", (32, 32, 3)),
        "size": ("int32", (2,)),
        "boxes": ("float32", (5, 4)),
        "labels": ("int32", (5,)),
        "masks": ("uint8", (5, 112, 112)),
    }
    assert batch["labels"].tolist() == [0, 1, 2, -1, -1]
    assert not batch["boxes"][3:].any() and not batch["masks"][3:].any()
    assert set(np.unique(batch["masks"][:3])) >= {0, 255}
    assert TrainDetection(size=8, max_objects=2, scale=(1, 1))(example(), rng())["labels"][1] == 1


def test_nothing_changes_at_its_own_size():
    data = example(60, 90)
    same = TrainDetection(size=(60, 90), scale=(1.0, 1.0), flip=False)(data, rng())
    assert (same["image"] == data["image"]).all() and (same["boxes"][:3] == data["boxes"]).all()
    flipped = 0
    for seed in range(20):
        batch = TrainDetection(size=(60, 90), scale=(1.0, 1.0))(data, rng(seed))
        if (batch["image"] == data["image"][:, ::-1]).all():
            flipped += 1
            assert (batch["boxes"][:3, [0, 2]] == 90 - data["boxes"][:, [2, 0]]).all()
            assert (batch["masks"] == same["masks"][..., ::-1]).all()
        else:
            assert (batch["boxes"] == same["boxes"]).all()
    assert 4 < flipped < 16


def test_scale_and_resize():
    data = example(60, 90)
    sizes = np.array(
        [TrainDetection(size=400, scale=(0.1, 0.5))(data, rng(s))["size"] for s in range(200)]
    )
    assert sizes[:, 1].min() < 45 and 195 < sizes[:, 1].max() <= 200
    assert abs(sizes[:, 1].mean() - 120) < 8  # even
    assert np.abs(sizes[:, 0] * 1.5 - sizes[:, 1]).max() <= 1
    crop = TrainDetection(size=50, scale=(4.0, 4.0))(data, rng())
    assert crop["size"].tolist() == [50, 50]
    recipe = TrainDetection(size=(120, 160), resize=(144, 80), scale=(1.0, 1.0))(data, rng())
    assert recipe["size"].tolist() == [80, 120]


def test_crops_differ_in_place():
    data = example(60, 90)
    boxes = {
        tuple(TrainDetection(size=60, scale=(2, 2), flip=False)(data, rng(s))["boxes"][0])
        for s in range(10)
    }
    assert len(boxes) > 5


def test_crowds_and_what_is_left_of_less_than_a_pixel_are_left_out():
    data = example() | {"crowd": np.array([False, True, False])}
    batch = TrainDetection(size=60, scale=(1.0, 1.0))(data, rng())
    assert [label for label, _ in objects(batch)] == [0, 2]
    bare = example(masks=False) | {
        "boxes": np.array([[0, 0, 1.9, 50], [0, 0, 2.1, 50], [0, 20, 80, 21]], np.float32)
    }
    half = TrainDetection(size=(30, 45), scale=(1.0, 1.0), flip=False)(bare, rng())
    assert [label for label, _ in objects(half)] == [1]
    empty = example()
    empty["masks"][1] = False
    batch = TrainDetection(size=60, scale=(1.0, 1.0))(empty, rng())
    assert [label for label, _ in objects(batch)] == [0, 2]


def test_images_without_objects():
    for masks in (True, False):
        data = example(masks=masks)
        data |= {key: data[key][:0] for key in ("boxes", "labels", "crowd")}
        if masks:
            data["masks"] = data["masks"][:0]
        batch = TrainDetection(size=32)(data, rng())
        assert (batch["labels"] == -1).all() and not batch["boxes"].any()
        assert ("masks" in batch) == masks


def test_bounds_of_masks():
    masks = np.random.RandomState(0).rand(20, 7, 9) < 0.08
    for mask, bounds in zip(masks, mask_bounds(masks), strict=True):
        assert bounds.tolist() == (bounding_box(mask) if mask.any() else [0] * 4)
    assert mask_bounds(masks[:0]).shape == (0, 4)


def test_evaluation():
    data = example(60, 90)
    batch = pickle.loads(pickle.dumps(EvalDetection(size=45)))(data)
    assert {key: (value.dtype.name, value.shape) for key, value in batch.items()} == {
        "image": ("uint8", (45, 45, 3)),
        "size": ("int32", (2,)),
        "scale": ("float32", (2,)),
        "original_size": ("int32", (2,)),
        "image_id": ("int32", ()),
    }
    assert batch["size"].tolist() == [30, 45] and batch["original_size"].tolist() == [60, 90]
    assert batch["scale"].tolist() == [0.5, 0.5] and batch["image_id"] == 77
    # Boxes of the resized image come back by dividing.
    shown = np.array(bounding_box(batch["image"][..., 1] > 100)) / np.tile(batch["scale"][::-1], 2)
    assert np.abs(shown - data["boxes"][1]).max() <= 2
    for size, resize, expected in (
        ((100, 200), (144, 80), [80, 120]),
        ((50, 200), (144, 80), [50, 75]),
        (200, None, [133, 200]),
    ):
        assert EvalDetection(size=size, resize=resize)(data)["size"].tolist() == expected


def test_through_the_pipeline():
    source = make_detection_source("shapes", count=6, size=48)
    batches = train_batches(source, TrainDetection(size=32), batch_size=4, seed=0)
    batch = next(batches)
    batches.close()
    assert batch["masks"].shape == (4, 100, 112, 112) and batch["labels"].max() <= 2
    (first, last) = eval_batches(source, EvalDetection(size=64), batch_size=4)
    assert first["image_id"].tolist() == [1, 2, 3, 4] and last["mask"].tolist() == [1, 1, 0, 0]


def test_portrait_images_get_the_canvas_turned():
    """As in the 1333 x 800 recipe, ten times smaller; squares lie on the landscape canvas."""
    sizes = np.array([(60, 90), (90, 60), (70, 70)])
    assert orientations(sizes).tolist() == [0, 1, 0]
    recipe = {"size": (80, 134), "resize": (133, 80), "turned": True}
    train = TrainDetection(scale=(1.0, 1.0), flip=False, **recipe)
    fitting = [[80, 120], [120, 80], [80, 80]]
    for size, group, expected in zip(sizes, orientations(sizes), fitting, strict=True):
        data = example(*size)
        for batch in (train(data, rng()), EvalDetection(**recipe)(data)):
            assert batch["image"].shape == ((134, 80, 3) if group else (80, 134, 3))
            assert batch["size"].tolist() == expected
        boxes = data["boxes"] * expected[0] / size[0]
        assert np.abs(train(data, rng())["boxes"][:3] - boxes).max() < 1e-3


def test_two_canvases_through_the_pipeline():
    examples = [example(*size) for size in [(60, 90), (90, 60), (40, 50), (50, 40), (30, 20)]]
    groups = orientations(np.array([e["image"].shape[:2] for e in examples]))
    canvas = {"size": (32, 48), "turned": True}
    batches = train_batches(examples, TrainDetection(**canvas), groups, batch_size=2, seed=0)
    shapes = {next(batches)["image"].shape for _ in range(5)}
    batches.close()
    assert shapes == {(2, 32, 48, 3), (2, 48, 32, 3)}
    shapes = [
        (batch["image"].shape[1:3], batch["mask"].tolist())
        for batch in eval_batches(examples, EvalDetection(**canvas), groups, batch_size=2)
    ]
    assert shapes == [((32, 48), [1, 1]), ((48, 32), [1, 1]), ((48, 32), [1, 0])]


def test_other_sizes_are_corrupt():
    data = example()
    data["masks"] = data["masks"][:, :, 1:]
    with pytest.raises(CorruptImage, match="the image is 90x60, its masks are 89x60"):
        decoded(data)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 0}, "size=0 leaves no image"),
        ({"size": (10, -1)}, "leaves no image"),
        ({"size": 8, "resize": (0, 5)}, "resize="),
        ({"size": 8, "turned": True}, "lower than wide, such as .800, 1344.; 8 is none"),
        ({"size": (9, 8), "turned": True}, r"turned=True .* \(9, 8\) is none"),
        ({"size": 8, "scale": (2.0, 1.0)}, "no range of factors"),
        ({"size": 8, "scale": (0.0, 1.0)}, "no range of factors"),
        ({"size": 8, "max_objects": 0}, "nearest valid: 1"),
    ],
)
def test_numbers_out_of_range(fields, message):
    with pytest.raises(UserError, match=message):
        TrainDetection(**fields)


def test_masks_may_stay_behind_and_boxes_are_still_their_bounds():
    transform = TrainDetection(size=64, max_objects=5)
    bare = dataclasses.replace(transform, masks=False)
    whole, boxes = (t(example(), np.random.default_rng(3)) for t in (transform, bare))
    assert whole.keys() - boxes.keys() == {"masks"}
    for key in boxes:
        np.testing.assert_array_equal(boxes[key], whole[key])
