import io
import pickle

import cv2
import numpy as np
import pytest
from PIL import Image

from common.data.images import CorruptImage
from common.data.label_map_transform import EvalLabelMap, TrainLabelMap, photometric_distortion
from common.data.resized_crops import bilinear_crop, nearest_crop
from common.errors import UserError

RNG = np.random.RandomState(0)


def example(height: int, width: int, classes: int = 5, encoded: bool = False) -> dict:
    """Blocks of classes, each with a gray of its own, so that the image tells the label map."""
    blocks = RNG.randint(0, classes, (-(-height // 8), -(-width // 8)))
    label_map = np.kron(blocks, np.ones((8, 8), int))[:height, :width].astype(np.uint8)
    image = np.repeat(label_map[..., None] * 50 + 20, 3, -1).astype(np.uint8)
    if encoded:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        image = file.getvalue()
    return {"image": image, "label_map": label_map, "name": "a"}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def told(image: np.ndarray) -> np.ndarray:
    """Classes by an example's gray values, where these aren't mixed."""
    return np.where(image[..., 0] % 50 == 20, image[..., 0] // 50, 255)


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("shape", [(100, 60), (30, 90), (20, 20)])
def test_training_crops(shape, encoded):
    transform = pickle.loads(pickle.dumps(TrainLabelMap(size=48)))
    data = example(*shape, encoded=encoded)
    sizes = set()
    for seed in range(20):
        batch = transform(data, rng(seed))
        image, label_map, (height, width) = (batch[k] for k in ("image", "label_map", "size"))
        assert {k: (v.dtype.name, v.shape) for k, v in batch.items()} == {
            "image": ("uint8", (48, 48, 3)),
            "label_map": ("uint8", (48, 48)),
            "size": ("int32", (2,)),
        }
        assert (image[height:] == 0).all() and (image[:, width:] == 0).all()
        assert (label_map[height:] == 255).all() and (label_map[:, width:] == 255).all()
        inside, classes = told(image)[:height, :width], label_map[:height, :width]
        clear = inside != 255
        assert clear.mean() > 0.2 and (classes < 5).all()
        assert (np.abs(inside[clear].astype(int) - classes[clear]) == 0).mean() > 0.9
        sizes.add((int(height), int(width)))
        again = transform(data, rng(seed))
        assert all((again[key] == batch[key]).all() for key in batch)
    assert len(sizes) > 1 or min(shape) > 96
    assert min(48, 2 * max(shape)) - 2 <= max(map(max, sizes)) <= 48


def test_scale_and_resize():
    data = example(30, 60)
    fixed = TrainLabelMap(size=200, scale=(1.0, 1.0), resize=(2048, 90), flip=False)
    assert fixed(data, rng())["size"].tolist() == [90, 180]
    assert TrainLabelMap(size=200, scale=(1, 1), resize=(90, 100))(data, rng())[
        "size"
    ].tolist() == [
        50,
        100,
    ]
    native = TrainLabelMap(size=200, scale=(1.0, 1.0), flip=False)(data, rng())
    assert (native["image"][:30, :60] == data["image"]).all()
    assert (native["label_map"][:30, :60] == data["label_map"]).all()
    heights = [
        TrainLabelMap(size=200, scale=(0.5, 2.0))(data, rng(seed))["size"][0] for seed in range(300)
    ]
    assert min(heights) < 17 and max(heights) > 58 and abs(np.mean(heights) - 37.5) < 3


@pytest.mark.parametrize("full", [(50, 80), (37, 59), (143, 229), (286, 458)])
def test_a_crop_is_part_of_the_resized_image(full):
    image = RNG.randint(0, 256, (143, 229, 3)).astype(np.uint8)
    label_map = RNG.randint(0, 9, (143, 229)).astype(np.uint8)
    whole = np.asarray(Image.fromarray(image).resize(full[::-1], Image.Resampling.BILINEAR))
    labels = Image.fromarray(label_map).resize(full[::-1], Image.Resampling.NEAREST)
    for top, left in ((0, 0), (5, 9), (full[0] - 32, full[1] - 48)):
        box = slice(top, top + 32), slice(left, left + 48)
        part = bilinear_crop(image, full, top, left, (32, 48))
        assert np.abs(part.astype(int) - whole[box]).max() <= 1
        part = nearest_crop(label_map, full, top, left, (32, 48))
        assert (part == np.asarray(labels)[box]).all()


@pytest.mark.parametrize("factor", [0.5, 0.77, 1.0, 1.3, 2.0])
def test_boundaries_stay_together(factor):
    """Where the image passes the middle gray, the label map changes, to half a pixel."""
    for boundary in (10, 33, 47):
        image, label_map = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)
        image[:, boundary:], label_map[:, boundary:] = 200, 1
        data = {"image": image, "label_map": label_map, "name": "a"}
        transform = TrainLabelMap(size=128, scale=(factor, factor), max_class_share=1.0, flip=False)
        batch = transform(data, rng())
        width = batch["size"][1]
        row, labels = batch["image"][5, :width, 0].astype(float), batch["label_map"][5, :width]
        last = np.flatnonzero(row <= 100)[-1]
        a, b = row[last], row[last + 1]
        crossing = last + 0.5 + (100 - a) / (b - a)
        exact = boundary * width / 64
        assert abs(crossing - exact) < 0.3
        assert abs(np.flatnonzero(labels)[0] - exact) <= 0.5


def test_flip_turns_both():
    data = example(40, 40)
    transform = TrainLabelMap(size=40, scale=(1.0, 1.0), max_class_share=1.0)
    flipped = 0
    for seed in range(40):
        batch = transform(data, rng(seed))
        assert (told(batch["image"]) == batch["label_map"]).all()
        flipped += (batch["label_map"] == data["label_map"][:, ::-1]).all()
    assert 10 < flipped < 30
    plain = TrainLabelMap(size=40, scale=(1.0, 1.0), max_class_share=1.0, flip=False)
    assert all((plain(data, rng(s))["label_map"] == data["label_map"]).all() for s in range(9))


def test_no_class_fills_a_crop():
    label_map = np.zeros((64, 256), np.uint8)
    label_map[:, 128:] = 1
    label_map[:, :4], label_map[:, -4:] = 255, 255
    data = {"image": np.zeros((64, 256, 3), np.uint8), "label_map": label_map, "name": "a"}

    def shares(max_class_share: float, seeds: int = 60) -> np.ndarray:
        transform = TrainLabelMap(size=64, scale=(1.0, 1.0), max_class_share=max_class_share)
        crops = [transform(data, rng(seed))["label_map"] for seed in range(seeds)]
        counts = np.array([[np.sum(crop == c) for c in (0, 1)] for crop in crops])
        return counts.max(1) / counts.sum(1)

    assert (shares(1.0) == 1).mean() > 0.4
    assert (shares(0.75) > 0.75).mean() < 0.35  # a sixth of the places will do: ten tries
    assert (shares(0.99) > 0.99).mean() < 0.05


def test_crops_of_ignored_pixels_are_avoided():
    label_map = np.full((32, 320), 255, np.uint8)
    label_map[:, :96:2], label_map[:, 1:96:2] = 0, 1
    data = {"image": np.zeros((32, 320, 3), np.uint8), "label_map": label_map, "name": "a"}
    transform = TrainLabelMap(size=32, scale=(1.0, 1.0))
    empty = [(transform(data, rng(seed))["label_map"] == 255).all() for seed in range(50)]
    assert np.mean(empty) < 0.1
    label_map[:] = 255
    assert (transform(data, rng())["label_map"] == 255).all()


def test_other_size_is_corrupt():
    data = example(20, 30)
    data["label_map"] = data["label_map"][:, :29]
    for transform in (lambda e: TrainLabelMap(size=8)(e, rng()), EvalLabelMap(size=8)):
        with pytest.raises(CorruptImage, match="image is 30x20, its label map 29x20"):
            transform(data)


def test_numbers_out_of_range():
    for scale in ((0.0, 1.0), (2.0, 1.0)):
        with pytest.raises(UserError, match="no range of factors"):
            TrainLabelMap(size=8, scale=scale)
    for share in (0.0, 1.5):
        with pytest.raises(UserError, match="is no share"):
            TrainLabelMap(size=8, max_class_share=share)


def test_whole_images():
    data = example(30, 50)
    batch = pickle.loads(pickle.dumps(EvalLabelMap(size=None)))(data)
    assert (batch["image"] == data["image"]).all()
    assert (batch["label_map"] == data["label_map"]).all()
    assert batch["size"].tolist() == [30, 50] and batch["size"].dtype == np.int32
    batch = EvalLabelMap(size=None, resize=(2048, 60))(data)
    assert batch["image"].shape == (60, 100, 3) and batch["size"].tolist() == [60, 100]
    assert (batch["label_map"] == data["label_map"]).all()  # measured at its own size


@pytest.mark.parametrize(
    ("size", "resize", "inside"),
    [(100, None, (30, 50)), (24, None, (24, 24)), (40, (100, 60), (40, 40))],
)
def test_central_crops(size, resize, inside):
    data = example(30, 50)
    transform = EvalLabelMap(size=size, resize=resize)
    batch = transform(data)
    height, width = inside
    assert batch["size"].tolist() == [height, width]
    if resize is None:
        top, left = (30 - height) // 2, (50 - width) // 2
        part = data["image"][top : top + height, left : left + width]
        assert (batch["image"][:height, :width] == part).all()
    assert batch["image"].shape == (size, size, 3) and batch["label_map"].shape == (size, size)
    assert (batch["image"][height:] == 0).all() and (batch["label_map"][height:] == 255).all()
    clear = told(batch["image"])[:height] != 255
    assert (told(batch["image"])[:height] == batch["label_map"][:height])[clear].mean() > 0.95
    assert (transform(data)["image"] == batch["image"]).all()


class Chosen:
    """A generator whose draws are given: 0/1 for the choices, a share of each range."""

    def __init__(self, *choices: int, share: float):
        self.choices, self.share = list(choices), share

    def integers(self, low, high=None):
        return self.choices.pop(0) if high is None else int(low + self.share * (high - low))

    def uniform(self, low, high):
        return low + self.share * (high - low)


def test_photometric_distortion_step_by_step():
    image = RNG.randint(0, 256, (8, 8, 3)).astype(np.uint8)
    assert (photometric_distortion(image, Chosen(0, 0, 0, 0, 0, share=0.9)) == image).all()
    brighter = photometric_distortion(image, Chosen(1, 0, 0, 0, 0, share=1.0))
    assert (brighter == np.minimum(image.astype(int) + 32, 255)).all()
    for choices in ((0, 1, 1, 0, 0), (0, 0, 0, 0, 1)):  # contrast before and after
        contrast = photometric_distortion(image, Chosen(*choices, share=0.0))
        assert (contrast == image // 2).all()
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    faded = photometric_distortion(image, Chosen(0, 0, 1, 0, 0, share=0.0))
    hsv[..., 1] //= 2
    assert (faded == cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)).all()
    red = np.full((1, 1, 3), (200, 0, 0), np.uint8)
    turned = photometric_distortion(red, Chosen(0, 0, 0, 1, 0, share=0.0))  # by -36 degrees
    assert turned[0, 0].tolist() == [200, 0, 120]


def test_photometric_distortion_leaves_the_label_map():
    data = example(40, 40)
    settings = {"size": 40, "scale": (1.0, 1.0), "max_class_share": 1.0, "flip": False}
    changed = [TrainLabelMap(**settings, photometric=True)(data, rng(seed)) for seed in range(20)]
    assert all((batch["label_map"] == data["label_map"]).all() for batch in changed)
    assert np.mean([(batch["image"] != data["image"]).any() for batch in changed]) > 0.7
