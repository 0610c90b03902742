"""Photos of any size through a segmentation model: few programs, windows, scales, mirror images."""

import functools
import io
import itertools

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from PIL import Image

from common.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, normalize
from common.data.resized_crops import resize_image
from common.errors import UserError
from common.layers.resize import bilinear
from maxvit_jax import segmentation
from maxvit_jax.dense_weights import Preparation, normalized
from maxvit_jax.segmentation import Segmenter
from tests.golden.weights import make_variables
from tests.heads import micro

NATIVE = Preparation(mean=IMAGENET_MEAN, std=IMAGENET_STD)


@functools.cache
def model():
    return micro.create("poolformer_s12", "semantic_fpn")


@functools.cache
def variables():
    return make_variables(model(), jnp.zeros((1, 32, 32, 3)))


@functools.cache
def segmenter(**options):
    data = Preparation(mean=IMAGENET_MEAN, std=IMAGENET_STD, resize=options.pop("resize", None))
    return Segmenter(model(), variables(), data, **options)


def photo(height, width, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 5, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@jax.jit
def plain_logits(image):
    """Of the whole image, at its size, without anything of ours around it."""
    x = normalize(image[None], IMAGENET_MEAN, IMAGENET_STD)
    return bilinear(model().apply(variables(), x), *image.shape[:2])[0]


def test_a_photo_of_a_fitting_size_is_what_the_model_says():
    image = photo(64, 96)
    expected = jax.nn.softmax(plain_logits(image))
    found = segmenter()(image)
    assert found.label_map.dtype == np.uint8 and found.label_map.shape == (64, 96)
    np.testing.assert_array_equal(found.label_map, expected.argmax(-1))
    np.testing.assert_allclose(found.confidence, expected.max(-1), atol=1e-5)
    np.testing.assert_allclose(segmenter().probabilities(image), expected, atol=1e-5)


COMPILED = []  # one entry for each program that XLA compiles in this process


@jax.monitoring.register_event_duration_secs_listener
def count(event, seconds, **info):
    if event.endswith("backend_compile_duration"):
        COMPILED.append(seconds)


@pytest.mark.parametrize("options", [{"flip": True}, {"tile": 32}])
def test_few_programs_serve_many_sizes(options):
    fresh = Segmenter(model(), variables(), NATIVE, **options)
    for height in range(33, 64, 5):
        for width in range(65, 96, 11):
            found = fresh(photo(height, width))
            assert found.label_map.shape == found.confidence.shape == (height, width)
            assert fresh.probabilities(photo(height, width)).shape == (height, width, 4)
        if height == 33:
            first = len(COMPILED)
    assert first > 0 and len(COMPILED) == first  # nothing for the other sizes
    assert len(fresh.compiled) == 1


def test_padding_is_zero_after_normalisation_whatever_its_values():
    images = np.full((2, 4, 6, 3), 200, np.uint8)
    sizes = np.array([[2, 3], [4, 6]], np.int32)
    found = np.asarray(normalized(NATIVE, images, sizes))
    assert not found[0, 2:].any() and not found[0, :, 3:].any()
    assert (found[0, :2, :3] == found[1, 0, 0]).all() and (found[1] == found[1, 0, 0]).all()


def test_windows_of_the_whole_photo_are_the_whole_photo():
    image = photo(64, 64)
    whole, windows = segmenter()(image), segmenter(tile=64, overlap=0)(image)
    np.testing.assert_allclose(windows.confidence, whole.confidence, atol=1e-5)
    np.testing.assert_array_equal(windows.label_map, whole.label_map)


@jax.jit
def plain_map(image):
    """The head's map of an image."""
    return model().apply(variables(), normalize(image[None], IMAGENET_MEAN, IMAGENET_STD))[0]


def test_windows_are_averaged_where_they_overlap():
    image = photo(40, 100)  # smaller than a window one way, larger the other
    padded = np.full((64, 100, 3), IMAGENET_MEAN)
    padded[:40] = image
    sums, counts = np.zeros((16, 25, 4)), np.zeros((1, 25, 1))
    for left in (0, 36):  # the second ends with the photo
        part = slice(left // 4, left // 4 + 16)
        sums[:, part] += plain_map(padded[:, left : left + 64])
        counts[:, part] += 1
    logits = jax.image.resize((sums / counts)[:10], (40, 100, 4), "bilinear")
    expected = np.asarray(jax.nn.softmax(logits))
    found = segmenter(tile=64, overlap=16)
    np.testing.assert_allclose(found.probabilities(image), expected, atol=1e-5)
    assert (found(image).label_map == expected.argmax(-1)).all()
    assert found.compiled == {(64, 64)}


def test_windows_reach_every_pixel():
    for side, window, overlap in [(100, 64, 16), (97, 64, 60), (64, 64, 0), (30, 64, 5)]:
        starts = segmentation._starts(side, window, overlap, 4)
        covered = {x for start in starts for x in range(start, start + window)}
        assert covered >= set(range(side)) and all(start % 4 == 0 for start in starts)
        assert all(b - a <= window - overlap + 3 for a, b in itertools.pairwise(starts))


def test_a_window_larger_than_the_photo_is_no_larger_than_need_be():
    found = segmenter(tile=256)
    found(photo(40, 100))
    assert found.compiled == {(64, 128)}


def test_strips_are_of_the_same_photo(monkeypatch):
    image = photo(90, 70)
    whole = segmenter().probabilities(image)
    monkeypatch.setattr(segmentation, "_STRIP_VALUES", 16 * 96 * 4)
    assert [strip.shape[:2] for strip in segmenter()._strips(image)] == [(16, 96)] * 6
    np.testing.assert_allclose(segmenter().probabilities(image), whole, atol=1e-6)
    assert (segmenter()(image).label_map == whole.argmax(-1)).all()


@jax.jit
def logits_at_64(image):
    """The head's map of an image, interpolated at once to a photo of 64 pixels."""
    x = normalize(image[None], IMAGENET_MEAN, IMAGENET_STD)
    return jax.image.resize(model().apply(variables(), x)[0], (64, 64, 4), "bilinear")


def test_scales_and_mirror_images_are_averaged():
    image = photo(64, 64)
    images = [image, resize_image(image, (96, 96))]
    views = [jax.nn.softmax(logits_at_64(x[:, ::s])[:, ::s]) for x in images for s in (1, -1)]
    flipped = segmenter(flip=True).probabilities(image)
    np.testing.assert_allclose(flipped, np.mean(views[:2], 0), atol=1e-5)
    found = segmenter(scales=(1.0, 1.5), flip=True)
    np.testing.assert_allclose(found.probabilities(image), np.mean(views, 0), atol=1e-5)
    np.testing.assert_allclose(found(image).confidence, np.mean(views, 0).max(-1), atol=1e-5)


def test_a_photo_is_resized_as_it_was_in_training_and_answered_at_its_own_size():
    image = photo(50, 75)
    found = segmenter(resize=(256, 64))
    result = found(image)
    assert result.label_map.shape == (50, 75)
    padded_height, padded_width, *_ = next(iter(found.compiled))
    assert (padded_height, padded_width) == (64, 96)  # 64 by 96, rounded up to 32


def test_files_arrays_and_pillow_images_are_photos():
    image = photo(32, 32)
    data = io.BytesIO()
    Image.fromarray(image).save(data, "PNG")
    for kind in (data.getvalue(), image, Image.fromarray(image)):
        np.testing.assert_array_equal(segmenter()(kind).label_map, segmenter()(image).label_map)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"tile": 0}, "tile 0"),
        ({"tile": 64, "overlap": 64}, "overlap 64 is not in 0 to 63"),
        ({"overlap": 8}, "give tile"),
        ({"tile": 65}, "nearest valid: 64 or 96"),
        ({"scales": (0.0,)}, "positive numbers"),
        ({"scales": (1.0, float("nan"))}, "positive numbers"),
        ({"class_names": ["a"]}, "1 class names for 4 classes"),
    ],
)
def test_mistakes(options, words):
    with pytest.raises(UserError, match=words):
        Segmenter(model(), variables(), NATIVE, **options)


def test_no_image_and_no_finite_result_are_said():
    with pytest.raises(UserError, match="can't segment what is no image"):
        segmenter()(b"GIF")
    broken = jax.tree.map(lambda x: np.full_like(x, np.nan), variables())
    with pytest.raises(UserError, match="are these weights trained"):
        Segmenter(model(), broken, NATIVE)(photo(32, 32))


def test_a_model_of_one_size_is_given_windows():
    fields = {"backbone_fields": {"mixers": ("pool",) * 3 + ("spatial_fc",), "image_size": 64}}
    one_size = micro.create("poolformer_s12", "fpn_concat", **fields)
    weights = make_variables(one_size, jnp.zeros((1, 64, 64, 3)))
    assert Segmenter(one_size, weights, NATIVE)(photo(70, 90)).label_map.shape == (70, 90)
    with pytest.raises(UserError, match="takes 64x64 alone"):
        Segmenter(one_size, weights, NATIVE, tile=96)
