"""How images are prepared: as published, and as weights say themselves."""

import dataclasses
import json

import numpy as np
import pytest

import maxvit_jax
from common.data.preprocess import HALF_RANGE, IMAGENET_MEAN, IMAGENET_STD
from common.data.sources import make_source
from common.errors import UserError
from common.weights import io
from maxvit_jax.data_defaults import DataDefaults, data_of_weights, published_fields
from maxvit_jax.tasks.classification import ClassificationData

# Model, size asked for: size, whether images see -1..1, method, crop of "standard".
PUBLISHED = {
    ("maxvit_tiny", None): (224, False, "official", None),
    ("maxvit_base", 384): (384, True, "official", None),
    ("maxvit_large", 512): (512, True, "official", None),
    ("maxvit_base", 448): (448, False, "official", None),  # weights of 224
    ("maxvit_xlarge", None): (224, True, "official", None),  # ImageNet-21k alone
    ("moat_0", None): (224, False, "official", None),
    ("moat_2", None): (384, True, "official", None),
    ("moat_3", None): (512, True, "official", None),
    ("moat_4", 224): (224, True, "official", None),
    ("tiny_moat_3", None): (256, False, "official", None),
    ("poolformer_s36", None): (224, False, "standard", 0.9),
    ("poolformer_m36", None): (224, False, "standard", 0.95),
    ("metaformer_pppf_s12_224", None): (224, False, "standard", 0.9),
    ("metaformer_pppa_s12_224", None): (224, False, "standard", 0.95),
    ("metaformer_ppff_s12_224", None): (224, False, "standard", 0.95),
    ("poolformerv2_m36", None): (224, False, "standard", 1.0),
    ("caformer_s18", 384): (384, False, "standard", 1.0),
    ("randformer_s12", None): (224, False, "standard", 1.0),
    ("aewin_small", None): (224, False, "standard", 0.875),
}


@pytest.mark.parametrize(("name", "asked"), PUBLISHED)
def test_published(name, asked):
    size, half_range, method, crop = PUBLISHED[name, asked]
    data = maxvit_jax.data_defaults(name, asked)
    assert (data.image_size, data.eval_method, data.interpolation) == (size, method, "bicubic")
    expected = (HALF_RANGE, HALF_RANGE) if half_range else (IMAGENET_MEAN, IMAGENET_STD)
    assert (data.mean, data.std) == expected
    assert crop in (None, data.eval_crop_fraction)


def test_every_model_has_fields_of_the_data_section():
    for name in maxvit_jax.list_models():
        fields = dataclasses.asdict(maxvit_jax.data_defaults(name))
        ClassificationData(source="tfds", batch_size=8, **fields)
    with pytest.raises(UserError, match=r"unknown model 'caformer_s19': did you mean .*'caformer_"):
        maxvit_jax.data_defaults("caformer_s19")


def test_windows_grow_with_finetuned_images():
    assert published_fields("maxvit_tiny", 384) == {"window_size": 12}
    assert published_fields("maxvit_tiny", 512) == {"window_size": 16}
    for name, size in (("maxvit_tiny", None), ("maxvit_tiny", 448), ("caformer_s18", 384)):
        assert published_fields(name, size) == {}


def own(path, **info):
    io.save(path, {"params/x": np.zeros(1, np.float32)}, {"model": "caformer_s18", **info})
    return path


def test_directories_say_what_was_stored(tmp_path):
    stored = {"image_size": 64, "mean": [1, 2, 3], "std": [4, 5, 6], "eval_method": "resize"}
    path = own(tmp_path / "own", preprocessing=stored, class_names=["a", "b"])
    data, names = data_of_weights("caformer_s18", path)
    assert data == DataDefaults(
        image_size=64, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0), eval_method="resize"
    )
    assert names == ["a", "b"]
    assert data_of_weights("caformer_s18", path, 96)[0].image_size == 96
    oblong = own(tmp_path / "oblong", preprocessing=stored | {"image_size": [64, 48]})
    assert data_of_weights("caformer_s18", oblong)[0].image_size == (64, 48)
    plain = own(tmp_path / "plain")
    assert data_of_weights("moat_2", plain) == (maxvit_jax.data_defaults("moat_2"), None)
    foreign = data_of_weights("maxvit_tiny", tmp_path / "file.npz", 384)
    assert foreign == (maxvit_jax.data_defaults("maxvit_tiny", 384), None)


def test_gray_and_alpha_are_normalised_as_the_average_unless_said(tmp_path):
    stored = {"image_size": 64, "mean": [10, 20, 60], "std": [40, 50, 60]}
    path = own(tmp_path / "own", preprocessing=stored)
    gray, _ = data_of_weights("caformer_s18", path, channels=1)
    alpha, _ = data_of_weights("caformer_s18", path, channels=4)
    assert (gray.mean, gray.std) == ((30,), (50,))
    assert (alpha.mean, alpha.std) == ((10, 20, 60, 30), (40, 50, 60, 50))
    said = own(tmp_path / "said", preprocessing=stored | {"mean": [7], "std": [9]})
    found, _ = data_of_weights("caformer_s18", said, channels=1)
    assert (found.mean, found.std) == ((7,), (9,))


def test_content_chooses_among_published_weights():
    base = {"name": "maxvit_base"}
    plain = maxvit_jax.data_defaults(**base)
    assert (plain.image_size, plain.mean) == (224, IMAGENET_MEAN)
    for classes in (21841, 21843):
        data = maxvit_jax.data_defaults(**base, found={"num_classes": classes, "window_size": 7})
        assert (data.image_size, data.mean) == (224, HALF_RANGE)
    data = maxvit_jax.data_defaults(**base, found={"num_classes": 3, "window_size": 16})
    assert (data.image_size, data.mean) == (512, HALF_RANGE)
    # What the file says of windows weighs more than the size that is asked for.
    data = maxvit_jax.data_defaults(**base, image_size=384, found={"window_size": 7})
    assert (data.image_size, data.mean) == (384, IMAGENET_MEAN)
    assert maxvit_jax.data_defaults(**base, image_size=384, found={}).mean == HALF_RANGE


@pytest.mark.parametrize(
    "change",
    [
        *({"mean": [1, 2]}, {"std": [0, 1, 1]}, {"size": 3}, {"mean": 1}, {"image_size": "64"}),
        *({"interpolation": 3}, {"eval_method": "none"}, {"eval_crop_fraction": 0}),
        *({"eval_crop_fraction": 1e-9}, {"std": [float("inf")] * 3}, {"mean": [float("nan")] * 3}),
    ],
)
def test_damaged_directories_are_named(tmp_path, change):
    stored = {"image_size": 64, "mean": [1, 2, 3], "std": [4, 5, 6]} | change
    path = own(tmp_path / "own", preprocessing=stored)
    with pytest.raises(UserError, match=rf"stored in {path} is damaged"):
        data_of_weights("caformer_s18", path)
    for names in ("ab", [1], {"a": 0}):
        path = own(tmp_path / f"own {names}", class_names=names)
        with pytest.raises(UserError, match=r"names of classes .* damaged"):
            data_of_weights("caformer_s18", path)
    (path / io.CONFIG).write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"is damaged"):
        data_of_weights("caformer_s18", path)


@pytest.mark.parametrize("moved", [False, True])
def test_runs_say_what_they_were_trained_with(tmp_path, moved):
    """Names of classes need the data, preprocessing does not."""
    section = {"source": "digits", "eval_split": "test", "batch_size": 8, "image_size": 32}
    section |= {"eval_method": "standard", "interpolation": "random", "eval_crop_fraction": 0.95}
    section |= {"mean": [127.5] * 3, "std": [127.5] * 3}
    if moved:
        section |= {"source": "folder", "root": str(tmp_path / "moved")}
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    config = {"train": {}, "model": {"name": "moat_0"}, "data": section}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    data, names = data_of_weights("moat_0", tmp_path / "run")
    assert data == DataDefaults(
        image_size=32, mean=HALF_RANGE, std=HALF_RANGE, eval_crop_fraction=0.95
    )
    expected = None if moved else list(make_source("digits", split="test").class_names)
    assert names == expected


def test_runs_of_other_jobs_say_it_by_the_same_names(tmp_path):
    section = {"source": "scenes", "scales": [0.5, 2], "crop": [64, 96], "batch_size": 8}
    half = {"image_size": 64, "mean": [127.5] * 3, "std": [127.5] * 3}
    (tmp_path / "checkpoints").mkdir()
    for data, expected in (
        (section | half, DataDefaults(image_size=64, mean=HALF_RANGE, std=HALF_RANGE)),
        (section, maxvit_jax.data_defaults("moat_0")),
    ):
        config = {"train": {}, "model": {"name": "moat_0"}, "data": data}
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert data_of_weights("moat_0", tmp_path) == (expected, None)
