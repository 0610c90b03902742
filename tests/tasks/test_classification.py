"""The classification task against independent computations, and where its weights come from."""

import functools

import jax
import numpy as np
import pytest
from scipy.special import log_softmax

import maxvit_jax
from common.data.augment_increasing import IncreasingRandAugment
from common.data.preprocess import eval_official
from common.data.sources import ArraySource
from common.errors import UserError
from common.layers.token_mixers import PoolMixer
from configs import evaluate
from maxvit_jax.data_defaults import DataDefaults
from maxvit_jax.inference import Classifier
from maxvit_jax.tasks.classification import SHEET_IMAGES, ClassificationTask
from tests.train import tiny

MICRO = {"stem_widths": (4, 8), "widths": (32, 32), "depths": (1, 1)}
HEAD_DENSE = ("head/inner", "head/logits")


def photos(count=6, classes=3, sides=(40, 48)):
    """Larger than the model's input, and not square."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *sides, 3), np.uint8)
    return ArraySource(images, np.arange(count) % classes, [f"class {i}" for i in range(classes)])


def make_task(changes=None, source=None, **model):
    changes = {"model": {"name": "maxvit_tiny", "window_size": 2} | MICRO | model} | (changes or {})
    source = source or tiny.source()
    return ClassificationTask(tiny.config(changes), train_source=source, eval_source=source)


def flat(variables):
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    }


@pytest.fixture(scope="module")
def plain():
    """Without stochastic depth and mixing; with its variables and a batch."""
    changes = {"task": {"label_smoothing": 0.1}, "data.image_size": 16}
    task = make_task(changes, num_classes=3)
    variables = jax.jit(task.init)(jax.random.key(0))
    rng = np.random.default_rng(1)
    batch = {
        "image": rng.integers(0, 256, (5, 16, 16, 3), np.uint8),
        "label": np.array([0, 2, 1, 1, 0], np.int32),
    }
    return task, variables, batch


# ---------------------------------------------------------------- loss and evaluation


def test_loss(plain):
    """Cross entropy with 0.1 of the target spread over all classes, in plain NumPy."""
    task, variables, batch = plain
    loss, (updates, metrics) = jax.jit(task.loss)(variables, batch, jax.random.key(0))
    mean, std = np.array(task.data.mean), np.array(task.data.std)
    images = ((batch["image"] - mean) / std).astype(np.float32)
    _, dropout = jax.random.split(jax.random.key(0))
    training = functools.partial(task.model.apply, train=True, mutable=["batch_stats"])
    logits, statistics = jax.jit(training)(variables, images, rngs={"dropout": dropout})
    logits = np.asarray(logits, np.float64)
    targets = np.full((5, 3), 0.1 / 3)
    targets[np.arange(5), batch["label"]] += 0.9
    expected = -(targets * log_softmax(logits, axis=1)).sum(1).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    for name, array in flat(statistics["batch_stats"]).items():
        np.testing.assert_allclose(flat(updates)[name], array, 1e-5, 1e-6, err_msg=name)
    right = np.mean(logits.argmax(1) == batch["label"])
    np.testing.assert_allclose(metrics["accuracy_top1"], right, rtol=1e-6)
    logits = jax.jit(task.model.apply)(variables, images)
    outputs = jax.jit(task.predict)(variables, batch)
    np.testing.assert_allclose(outputs["logits"], logits, atol=1e-5)


def test_training_updates_batch_statistics(plain):
    task, variables, batch = plain
    loss = jax.jit(task.loss)
    _, (updates, _) = loss(variables, batch, jax.random.key(0))
    old, new = flat(variables["batch_stats"]), flat(updates)
    assert old.keys() == new.keys()
    assert all(not np.array_equal(old[name], new[name]) for name in old)


def test_mixed_images_have_mixed_targets():
    task = make_task({"task": {"mixup_alpha": 1.0}}, num_classes=3)
    images = np.zeros((4, 8, 8, 3), np.uint8) + np.arange(4, dtype=np.uint8)[:, None, None, None]
    labels = np.array([0, 1, 2, 0], np.int32)
    _, targets = task._inputs(jax.random.key(0), images, labels)
    _, plain_targets = make_task({"task": {}}, num_classes=3)._inputs(
        jax.random.key(0), images, labels
    )
    np.testing.assert_array_equal(plain_targets, np.eye(3)[labels])
    np.testing.assert_allclose(np.sum(targets, axis=1), 1, rtol=1e-6)
    assert not np.array_equal(targets, plain_targets)


def test_erasing_comes_after_mixing():
    """Mixed pixels stay as they are without it, targets in any case; noise is never mixed."""
    mixing = {"mixup_alpha": 1.0}
    task, erasing = (
        make_task({"task": mixing | changes, "data.image_size": 16}, num_classes=3)
        for changes in ({}, {"erase_probability": 1.0})
    )
    images = np.full((4, 16, 16, 3), 255, np.uint8)
    labels = np.array([0, 1, 2, 0], np.int32)
    plain, targets = task._inputs(jax.random.key(0), images, labels)
    erased, same_targets = erasing._inputs(jax.random.key(0), images, labels)
    np.testing.assert_array_equal(targets, same_targets)
    noise = np.asarray(erased != plain)
    for image in noise:
        rows, columns = image.any((1, 2)), image.any((0, 2))
        assert 0 < image[..., 0].sum() == rows.sum() * columns.sum() < 256  # one rectangle
    batch = {"image": images, "label": labels}
    assert not np.array_equal(erasing._inputs(jax.random.key(1), images, labels)[0], erased)
    variables = jax.jit(task.init)(jax.random.key(0))
    evaluated = [jax.jit(t.predict)(variables, batch)["logits"] for t in (task, erasing)]
    np.testing.assert_array_equal(*evaluated)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"erase_probability": 1.5}, r"config\.task\.erase_probability must be in \[0, 1\]"),
        ({"label_smoothing": -0.1}, r"config\.task\.label_smoothing must be in \[0, 1\]"),
        ({"mixup_alpha": -1.0}, r"config\.task\.mixup_alpha must not be negative"),
    ],
)
def test_wrong_loss(values, message):
    with pytest.raises(UserError, match=message):
        make_task({"task": values}, num_classes=3)


def test_config_holds_no_code():
    with pytest.raises(UserError, match=r"config\.model\.mixers: a config holds no code"):
        make_task({"model": {"name": "poolformerv2_s12", "mixers": ("pool", PoolMixer) * 2}})


# ---------------------------------------------------------------- classes of unlike sizes


def uneven():
    """Of its three classes one has six images, the others two each."""
    pixels = np.arange(10, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2)
    return ArraySource(pixels.repeat(3, -1), [0] * 6 + [1] * 2 + [2] * 2, list("abc"))


def test_class_weights_make_up_for_frequencies():
    """The mean of `examples / (classes * examples of the class)` times the cross entropy."""
    config = tiny.quick({"task": {"class_weights": "balanced", "label_smoothing": 0.1}})
    task = tiny.make_task(config, small=True, train_source=uneven(), eval_source=uneven())
    variables = jax.jit(task.init)(jax.random.key(0))
    labels = np.array([0, 1, 2, 0], np.int32)
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)

    @jax.jit
    def both(batch, rng):
        inputs = (batch["image"] - np.float32(task.data.mean)) / np.float32(task.data.std)
        _, dropout = jax.random.split(rng)
        settings = {"train": True, "mutable": ["batch_stats"], "rngs": {"dropout": dropout}}
        return task.loss(variables, batch, rng)[0], task.model.apply(variables, inputs, **settings)

    loss, (logits, _) = both({"image": images, "label": labels}, jax.random.key(0))
    targets = np.full((4, 3), 0.1 / 3) + 0.9 * np.eye(3)[labels]
    weights = np.array([10 / (3 * 6), 10 / (3 * 2), 10 / (3 * 2)])
    expected = -(weights * targets * log_softmax(np.float64(logits), axis=1)).sum(1).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_balanced_sampling_shows_classes_equally_often():
    task = make_task({"data.sampling": "balanced"}, source=uneven(), num_classes=3)
    source = task.train_data().source
    assert np.bincount([source[i]["label"] for i in range(len(source))]).tolist() == [6, 6, 6]
    assert len(task.eval_data()["eval"].source) == 10  # evaluation sees each image once


def test_one_way_to_balance_is_enough():
    changes = {"data.sampling": "balanced", "task": {"class_weights": "balanced"}}
    with pytest.raises(UserError, match=r"both balance classes: .* choose one"):
        make_task(changes, num_classes=3)


# ---------------------------------------------------------------- classes


def test_classes_follow_the_data():
    task = make_task(source=photos(classes=3))
    assert task.model.num_classes == 3
    assert task.class_names == ["class 0", "class 1", "class 2"]
    assert make_task(source=photos(classes=2), num_classes=None).model.num_classes == 2


def test_one_class_is_nothing_to_learn():
    with pytest.raises(UserError, match="one class, class 0: nothing to tell apart"):
        make_task(source=photos(classes=1), num_classes=None).train_data()


def test_listed_classes_are_those_of_folders():
    with pytest.raises(UserError, match=r"config\.data\.classes has no use for source 'digits'"):
        ClassificationTask(tiny.config({"data.classes": ["a", "b"]}))


def test_digits_have_ten_classes():
    config = tiny.config()
    del config["model"]["num_classes"]
    config["data"]["eval_split"] = "test"
    assert ClassificationTask(config).model.num_classes == 10


@pytest.mark.parametrize("part", ["train_data", "eval_data"])
def test_other_number_of_classes_is_refused(part):
    task = ClassificationTask(tiny.config({"model.num_classes": 7, "data.eval_split": "test"}))
    with pytest.raises(UserError, match=r"config\.model\.num_classes=7, but .* has 10 classes"):
        getattr(task, part)()


@pytest.mark.parametrize(
    ("train", "evaluation", "message"),
    [
        (["a", "b", "c"], ["a", "b"], "has 3 classes, the evaluation data 2: only in training: c"),
        (["a", "b"], ["a", "d"], "only in training: b; only in evaluation: d"),
    ],
)
def test_classes_that_differ_between_training_and_evaluation(train, evaluation, message):
    """Also when their number is open: a label has one name."""
    pixels = np.zeros((2, 8, 8, 3), np.uint8)
    sources = [ArraySource(pixels, [0, 1], names) for names in (train, evaluation)]
    config = tiny.config({"model.num_classes": None})
    task = ClassificationTask(config, train_source=sources[0], eval_source=sources[1])
    with pytest.raises(UserError, match=message):
        task.train_data()


def test_training_data_is_matched_to_evaluation_data_by_name():
    pixels = np.zeros((2, 8, 8, 3), np.uint8)
    train, evaluation = (ArraySource(pixels, [0, 1], names) for names in ("ab", "ba"))
    task = ClassificationTask(
        tiny.config({"model.num_classes": 2}), train_source=train, eval_source=evaluation
    )
    source = task.train_data().source
    assert [source[i]["label"] for i in range(2)] == source.labels.tolist() == [1, 0]
    assert source.class_names == task.class_names == ["b", "a"]


# ---------------------------------------------------------------- weights to start from


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """Weights of window 7 and 5 classes, as our directory; no array is as initialised."""
    model = maxvit_jax.create_model("maxvit_tiny", **MICRO, num_classes=5)
    variables = jax.jit(model.init)(jax.random.key(1), np.zeros((1, 56, 56, 3), np.float32))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: rng.uniform(0.5, 1, x.shape).astype(np.float32), variables)
    path = tmp_path_factory.mktemp("weights") / "own"
    maxvit_jax.save_pretrained(path, model, variables)
    return str(path), variables


def test_reset_head_keeps_all_but_the_dense_layers(pretrained):
    path, stored = pretrained
    task = make_task(
        {"init": {"weights": path, "reset_head": True}, "data.image_size": 56},
        num_classes=3,
        window_size=7,
    )
    loaded, all_names = flat(task.pretrained()), flat(jax.eval_shape(task.init, jax.random.key(0)))
    stored = flat(stored)
    reset = {name for name in all_names if any(f"/{part}/" in name for part in HEAD_DENSE)}
    assert len(reset) == 4  # they follow the run's seed
    assert loaded.keys() == all_names.keys() - reset
    for name in loaded:
        np.testing.assert_array_equal(loaded[name], stored[name], err_msg=name)


def test_without_reset_everything_is_kept(pretrained):
    path, stored = pretrained
    changes = {"init": {"weights": path}, "data.image_size": 56}
    loaded = flat(
        make_task(changes, source=photos(classes=5), num_classes=5, window_size=7).pretrained()
    )
    for name, array in flat(stored).items():
        np.testing.assert_array_equal(loaded[name], array, err_msg=name)
    with pytest.raises(UserError, match=r"has 5 classes: config\.init\.reset_head=true"):
        make_task(changes, num_classes=3, window_size=7).pretrained()


def test_fine_tuning_keeps_the_tables_of_window_seven(pretrained):
    """Windows of 12 with 13x13 tables, as the official fine-tuning; resized in the forward pass.
    Without `bias_window_size` the tables are resized once, when loaded."""
    path, stored = pretrained
    table = "params/stage_1_block_0/window/attention/relative_bias/table"
    changes = {"init": {"weights": path}, "data.image_size": 96}
    source = photos(classes=5)
    task = make_task(changes, source, num_classes=5, window_size=12, bias_window_size=7)
    variables = task.pretrained()
    np.testing.assert_array_equal(flat(variables)[table], flat(stored)[table])
    batch = {"image": np.zeros((1, 96, 96, 3), np.uint8)}
    kept = jax.jit(task.predict)(variables, batch)["logits"]

    task = make_task(changes, source, num_classes=5, window_size=12)
    variables = task.pretrained()
    assert flat(variables)[table].shape[1:] == (23, 23)
    resized = jax.jit(task.predict)(variables, batch)["logits"]
    np.testing.assert_allclose(kept, resized, atol=1e-5)


def test_nothing_to_start_from():
    assert make_task(num_classes=3).pretrained() is None
    with pytest.raises(UserError, match=r"needs --config\.init\.weights"):
        make_task({"init": {"weights": ""}}, num_classes=3).pretrained()
    with pytest.raises(UserError, match="does not exist"):
        make_task({"init": {"weights": "/nowhere"}}, num_classes=3).pretrained()


# ---------------------------------------------------------------- weights evaluated on data


@pytest.fixture(scope="module")
def evaluated(pretrained, tmp_path_factory):
    """Evaluates the weights with some names of their classes on folders called by letters."""
    folder = tmp_path_factory.mktemp("evaluated")
    model, variables = maxvit_jax.load_pretrained("maxvit_tiny", pretrained[0])
    for name in "abcde":
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(2):
            (folder / "photos" / name / f"{number}.png").touch()  # never read

    def task_of(class_names):
        path = str(folder / (class_names or "none"))
        info = {"class_names": list(class_names)} if class_names else {}
        maxvit_jax.save_pretrained(path, model, variables, **info)
        config = evaluate.get_config("model=maxvit_tiny")
        config.data.update(source="folder", root=str(folder / "photos"), eval_split="val")
        task, _ = ClassificationTask.of_weights("maxvit_tiny", path, config, {}, None)
        return task

    return task_of


def test_data_is_matched_to_weights_by_name(evaluated, caplog):
    with caplog.at_level("INFO"):
        task = evaluated("badce")
    assert task.labels()["class_names"] == list("badce")
    source = task.eval_data()["eval"].source
    found = {source.name(i).split("/")[-2]: source[i]["label"] for i in range(len(source))}
    assert found == {"a": 1, "b": 0, "c": 3, "d": 2, "e": 4}
    assert "badce: matched by name" in caplog.text
    assert [*evaluated("abcde").eval_source().labels] == [0, 1, 2, 3, 4]
    evaluated("")  # which names nothing


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("abcdf", "the data lacks 'f', and the data has 'e' besides"),
        ("abcd", "4 there and 5 here; the data has 'e' besides"),
    ],
)
def test_weights_of_other_classes_are_refused(evaluated, names, said):
    with pytest.raises(UserError, match=f"{names} has other classes than the data: .*{said}"):
        evaluated(names)


# ---------------------------------------------------------------- images


def transformed(field, *args, **data):
    changes = {f"data.{name}": value for name, value in data.items()}
    dataset = getattr(make_task(changes, source=photos(), num_classes=3), field)()
    source, transform, _ = dataset["eval"] if isinstance(dataset, dict) else dataset
    example = source[1]
    return example["image"], transform(example, *args)


@pytest.mark.parametrize(
    ("crop", "interpolation"),
    [("inception", "legacy_bicubic"), ("random_resized", "random"), ("resize", "bicubic")],
)
def test_training_images(crop, interpolation):
    settings = {"crop": crop, "image_size": 24, "interpolation": interpolation}
    _, result = transformed("train_data", np.random.default_rng(0), **settings)
    assert result["image"].dtype == np.uint8 and result["image"].shape == (24, 24, 3)
    assert result["label"] == 1 and result["label"].dtype == np.int32
    _, again = transformed("train_data", np.random.default_rng(0), **settings)
    np.testing.assert_array_equal(result["image"], again["image"])
    _, other = transformed("train_data", np.random.default_rng(1), **settings)
    assert not np.array_equal(result["image"], other["image"])


@pytest.mark.parametrize("method", ["official", "standard", "resize"])
def test_images_of_a_height_and_a_width(method):
    """In training and evaluation, also where the config came from JSON; what is left of a photo of
    that aspect is not squeezed."""
    settings = {"image_size": [16, 24], "crop": "inception", "eval_method": method}
    _, trained = transformed("train_data", np.random.default_rng(0), **settings)
    _, evaluated = transformed("eval_data", **settings)
    assert trained["image"].shape == evaluated["image"].shape == (16, 24, 3)
    task = make_task({f"data.{n}": v for n, v in settings.items()}, num_classes=3)
    assert task.abstract_batch(2)["image"].shape == (2, 16, 24, 3)


@pytest.mark.parametrize("size", [0, [16], [16, 0], [16, 16, 16], []])
def test_sizes_that_are_none(size):
    with pytest.raises(UserError, match=r"config\.data\.image_size=.*a height and a width"):
        make_task({"data.image_size": size}, num_classes=3)


def test_small_images_survive_randaugment():
    """The published shifts and cuts in pixels would leave nothing of them."""
    source = tiny.source()
    changes = {"data.randaugment_layers": 2, "data.randaugment_magnitude": 10.0}
    transform = make_task(changes, num_classes=3, source=source).train_data().transform
    randaugment = transform.randaugment
    assert randaugment.translate_const < tiny.SIDE / 2 and randaugment.cutout_const < tiny.SIDE / 4
    for size in (224, 384):
        task = make_task(changes | {"data.image_size": size}, num_classes=3, source=source)
        published = task.train_data().transform.randaugment
        assert (published.translate_const, published.cutout_const) == (100, 40)


def test_increasing_randaugment_follows_the_data():
    changes = {"data.randaugment_layers": 2, "data.randaugment_magnitude": 9.0}
    changes |= {"data.randaugment": "increasing", "data.interpolation": "random"}
    changes |= {"data.mean": (123.675, 116.28, 103.53)}
    transform = make_task(changes, num_classes=3).train_data().transform
    assert transform.randaugment == IncreasingRandAugment(2, 9.0, fill=(124, 116, 104))
    changes["data.interpolation"] = "lanczos"
    transform = make_task(changes, num_classes=3).train_data().transform
    assert transform.randaugment.interpolation == "lanczos"


def test_legacy_resize_is_for_inception_crops():
    for crop in ("resize", "random_resized"):
        with pytest.raises(UserError, match="legacy_bicubic is for inception crops"):
            transformed("train_data", crop=crop, interpolation="legacy_bicubic")


@pytest.mark.parametrize("training", ["legacy_bicubic", "random"])
@pytest.mark.parametrize(
    ("method", "dtype"), [("official", np.float32), ("standard", np.uint8), ("resize", np.uint8)]
)
def test_evaluation_images(method, dtype, training):
    """Also in recipes that train with the legacy resize, which only the official one has, or draw
    theirs: bicubic."""
    settings = {"eval_method": method, "crop": "inception", "interpolation": training}
    settings["image_size"] = 24
    image, result = transformed("eval_data", **settings)
    assert result["image"].dtype == dtype and result["image"].shape == (24, 24, 3)
    assert result["label"] == 1
    if method == "official":
        np.testing.assert_array_equal(result["image"], eval_official(image, 24))


@pytest.mark.parametrize("channels", [1, 4])
def test_gray_images_and_those_with_alpha(channels):
    """As many as `mean` has numbers: in training, evaluation, pictures and `Classifier`."""
    normal = {"mean": [100.0] * channels, "std": [50.0] * channels}
    layers = {"randaugment_layers": 2 if channels == 1 else 0}
    settings = {f"data.{n}": v for n, v in (normal | layers | {"image_size": 16}).items()}
    task = make_task(settings, source=photos(), num_classes=3, in_channels=channels)
    shape = (16, 16, channels)
    source, transform, _ = task.train_data()
    trained = transform(source[0], np.random.default_rng(0))
    evaluated = task.eval_data()["eval"].transform(source[0])
    assert trained["image"].shape == evaluated["image"].shape == shape
    assert task.abstract_batch(2)["image"].shape == (2, *shape)
    assert task.visualise({"image": trained["image"][None], "label": np.zeros(1, int)}, None)
    variables = jax.eval_shape(task.init, jax.random.key(0))
    logits = jax.eval_shape(task.predict, variables, {"image": np.zeros((2, *shape), np.uint8)})
    assert logits["logits"].shape == (2, 3)
    data = DataDefaults(image_size=16, **{n: tuple(v) for n, v in normal.items()})
    assert Classifier(task.model, {}, data).prepare(source[0]["image"]).shape == shape
    with pytest.raises(UserError, match="mean and std have 3 numbers, the model's images"):
        Classifier(task.model, {}, maxvit_jax.data_defaults("maxvit_tiny"))


def test_channels_that_fit_nothing():
    with pytest.raises(UserError, match=r"in_channels=1, but config\.data\.mean and std have 3"):
        make_task(num_classes=3, in_channels=1)
    alpha = {"data.mean": [1.0] * 4, "data.std": [1.0] * 4}
    with pytest.raises(UserError, match="randaugment_layers: images with alpha need 0"):
        make_task(alpha, num_classes=3, in_channels=4)
    with pytest.raises(UserError, match="1, 3 or 4 finite numbers each"):
        make_task({"data.mean": [1.0] * 2, "data.std": [1.0] * 2}, num_classes=3)
    model = maxvit_jax.create_model("maxvit_tiny", in_channels=13)
    with pytest.raises(UserError, match=r"takes images of 13 channels; photos have 1 \(gray\)"):
        Classifier(model, {}, maxvit_jax.data_defaults("maxvit_tiny"))


# ---------------------------------------------------------------- pictures


def test_pictures():
    task = make_task(num_classes=3)
    rng = np.random.default_rng(0)
    count = SHEET_IMAGES + 3
    batch = {
        "image": rng.integers(0, 256, (count, 8, 8, 3), np.uint8),
        "label": rng.integers(3, size=count).astype(np.int32),
    }
    training = task.visualise(batch, None)["images"]
    logits = np.eye(3)[batch["label"]]
    right = task.visualise(batch, {"logits": logits})["images"]
    wrong = task.visualise(batch, {"logits": -logits})["images"]
    for sheet in (training, right, wrong):
        assert sheet.dtype == np.uint8 and sheet.shape == (5 * 148, 5 * 132, 3)
    red = np.array([255, 0, 0])
    captions = np.arange(len(right)) % 148 >= 2 + 128  # the lines below the images

    def reds(sheet):
        return np.all(sheet[captions] == red, axis=-1).sum()

    assert reds(wrong) > 0 == reds(right)
    assert not np.array_equal(training, right)  # mixed, as the network sees them
    np.testing.assert_array_equal(
        right[2:130, 2:130], batch["image"][0].repeat(16, 0).repeat(16, 1)
    )
