import io
import pickle

import numpy as np
import pytest
from PIL import Image

from common.data.degradations import Compose, GaussianNoise, Haze, MotionBlur
from common.data.images import CorruptImage
from common.data.pair_transform import EvalPair, TrainPair
from common.data.pairs import photos_source
from common.data.pipeline import eval_batches, train_batches
from common.errors import UserError

TARGET = np.random.RandomState(0).randint(0, 200, (40, 50, 3)).astype(np.uint8)
PAIR = {"input": TARGET + 50, "target": TARGET, "name": "scene/1.png"}
CLEAN = {"target": TARGET, "name": "scene/1.png"}
NOISE = Compose((GaussianNoise(sigma=25.0),))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def train(size: int, flip: bool = True, rotate: bool = True, degrade=None) -> TrainPair:
    return TrainPair(size=size, flip=flip, rotate=rotate, degrade=degrade)


def encoded(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_crops_are_the_same_part_of_both():
    for seed in range(20):
        crops = train(16)(PAIR, rng(seed))
        assert crops["input"].dtype == crops["target"].dtype == np.uint8
        assert crops["target"].shape == (16, 16, 3)
        np.testing.assert_array_equal(crops["input"], crops["target"] + 50)


def test_crops_lie_anywhere():
    ramp = np.stack(np.broadcast_arrays(*np.mgrid[:8, :9], 0), axis=-1).astype(np.uint8)
    pair = {"input": ramp, "target": ramp, "name": ""}
    crops = [train(4, flip=False, rotate=False)(pair, rng(s))["target"] for s in range(300)]
    corners = {tuple(crop[0, 0, :2]) for crop in crops}
    assert corners == {(y, x) for y in range(5) for x in range(6)}


def test_flips_and_turns():
    pixels = np.arange(4, dtype=np.uint8).reshape(2, 2, 1).repeat(3, -1)
    pair = {"input": pixels, "target": pixels, "name": ""}

    def seen(**options):
        crops = [train(2, **options)(pair, rng(seed))["target"][..., 0] for seed in range(100)]
        return {tuple(crop.ravel().tolist()) for crop in crops}

    assert seen(flip=False, rotate=False) == {(0, 1, 2, 3)}
    assert seen(flip=True, rotate=False) == {(0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0)}
    assert len(seen(flip=False, rotate=True)) == 4
    assert len(seen(flip=True, rotate=True)) == 8


def test_encoded_images_give_the_same_crops():
    files = {"input": encoded(PAIR["input"]), "target": encoded(TARGET), "name": ""}
    for transform in (lambda pair: train(16)(pair, rng(3)), EvalPair(size=24)):
        for key, value in transform(PAIR).items():
            np.testing.assert_array_equal(transform(files)[key], value)


@pytest.mark.parametrize("size", [64, 300])
def test_small_images_are_mirrored(size):
    crops = train(size, flip=False, rotate=False)(PAIR, rng())
    pads = ((0, size - 40), (0, size - 50), (0, 0))
    np.testing.assert_array_equal(crops["target"], np.pad(TARGET, pads, "reflect"))
    result = EvalPair(size=size)(PAIR)
    np.testing.assert_array_equal(result["target"], crops["target"])
    np.testing.assert_array_equal(result["size"], [40, 50])
    assert result["size"].dtype == np.int32
    tiny = {"input": TARGET[:1, :1], "target": TARGET[:1, :1], "name": ""}
    np.testing.assert_array_equal(
        EvalPair(size=8)(tiny)["input"], TARGET[:1, :1].repeat(8, 0).repeat(8, 1)
    )


def test_evaluation_takes_the_centre():
    result = EvalPair(size=20)(PAIR)
    np.testing.assert_array_equal(result["target"], TARGET[10:30, 15:35])
    np.testing.assert_array_equal(result["input"], TARGET[10:30, 15:35] + 50)
    np.testing.assert_array_equal(result["size"], [20, 20])
    mixed = EvalPair(size=45)(PAIR)
    np.testing.assert_array_equal(mixed["target"][:40], TARGET[:, 2:47])
    np.testing.assert_array_equal(mixed["size"], [40, 45])


def test_whole_images():
    result = EvalPair(size=None)(PAIR)
    np.testing.assert_array_equal(result["input"], PAIR["input"])
    np.testing.assert_array_equal(result["size"], [40, 50])


def test_clean_photos_are_degraded():
    crops = train(32, degrade=NOISE)(CLEAN, rng())
    assert crops["input"].dtype == np.float32 and crops["target"].dtype == np.uint8
    noise = crops["input"] * 255 - crops["target"]
    assert 23 < noise.std() < 27 and crops["input"].min() < 0
    for transform in (lambda x: train(32)(x, rng()), EvalPair(size=32, degrade=Compose())):
        with pytest.raises(UserError, match=r"config\.data\.degradations"):
            transform(CLEAN)


def test_inputs_can_be_degraded_further():
    result = EvalPair(size=32, degrade=NOISE)(PAIR)
    noise = result["input"] * 255 - result["target"] - 50
    assert 23 < noise.std() < 27 and abs(noise.mean()) < 2


def test_evaluation_degrades_alike_always_and_each_image_otherwise():
    degrade = Compose((MotionBlur(), Haze(), GaussianNoise()))
    crop, whole = (EvalPair(size=size, degrade=degrade)(CLEAN)["input"] for size in (20, None))
    np.testing.assert_array_equal(crop, whole[10:30, 15:35])
    again = pickle.loads(pickle.dumps(EvalPair(size=20, degrade=degrade)))(CLEAN)["input"]
    np.testing.assert_array_equal(crop, again)
    other = EvalPair(size=20, degrade=degrade)(CLEAN | {"name": "scene/2.png"})["input"]
    assert not np.array_equal(crop, other)


def test_the_degradation_of_evaluation_never_changes():
    """Published figures rest on it: first values of the noise for one name."""
    result = EvalPair(size=None, degrade=NOISE)(CLEAN)
    noise = (result["input"] * 255 - TARGET)[0, 0]
    np.testing.assert_allclose(noise, [38.19640, -38.68465, 6.46409], atol=1e-3)


def test_pairs_of_different_sizes():
    pair = PAIR | {"input": TARGET[1:]}
    for transform in (lambda x: train(16)(x, rng()), EvalPair(size=16)):
        with pytest.raises(CorruptImage, match="input is 50x39, target 50x40"):
            transform(pair)


def test_in_the_pipeline():
    source = photos_source("test")
    batches = train_batches(source, train(24, degrade=NOISE), batch_size=2, seed=0)
    batch = next(batches)
    batches.close()
    assert batch["input"].shape == batch["target"].shape == (2, 24, 24, 3)
    assert batch["input"].dtype == np.float32
    evaluated = list(eval_batches(source, EvalPair(size=64, degrade=NOISE), batch_size=2))
    assert [list(batch["mask"]) for batch in evaluated] == [[1, 1], [1, 0]]
    assert evaluated[0]["size"].tolist() == [[64, 64]] * 2
    pickle.loads(pickle.dumps((source, train(24, degrade=NOISE))))  # to workers
