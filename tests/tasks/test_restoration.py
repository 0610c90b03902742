"""The restoration task against independent computations, and whole small runs of it."""

import functools
import re

import jax
import numpy as np
import pytest
from PIL import Image

import maxim_jax
from common.errors import UserError
from maxim_jax.losses import multi_stage_loss
from maxim_jax.tasks.restoration import SHEET_ROWS, RestorationTask, mix_pairs
from tests.tasks import pairs
from tests.train import tiny


def make_task(changes=None, source=None, *, small=True):
    source = source or pairs.Pairs()
    task = RestorationTask(pairs.config(changes), train_source=source, eval_source=source)
    if small:
        task.model = pairs.Small()
    return task


def random_batch(dtype=np.uint8, count=3):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (2, count, pairs.SIDE, pairs.SIDE, 3), np.uint8)
    inputs = images[0] if dtype == np.uint8 else images[0].astype(dtype) / 200  # may exceed 1
    return {"input": inputs, "target": images[1]}


@pytest.fixture(scope="module")
def plain():
    """Without mixup; with its variables."""
    task = make_task({"task": {"charbonnier_eps": 0.01, "frequency_norm": "ortho"}})
    return task, jax.jit(task.init)(jax.random.key(0))


# ---------------------------------------------------------------- loss and evaluation


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_loss(plain, dtype):
    """Whole numbers are of 255, floats are of one."""
    task, variables = plain
    batch = random_batch(dtype)
    loss, (updates, metrics) = jax.jit(task.loss)(variables, batch, jax.random.key(0))
    inputs = batch["input"] / np.float32(255 if dtype == np.uint8 else 1)
    target = batch["target"] / np.float32(255)
    _, dropout = jax.random.split(jax.random.key(0))
    training = functools.partial(task.model.apply, train=True, rngs={"dropout": dropout})
    outputs = jax.jit(training)(variables, inputs)
    assert [x.shape[1] for x in outputs[1]] == [pairs.SIDE, pairs.SIDE // 2]
    expected = multi_stage_loss(outputs, target, eps=0.01, frequency_norm="ortho")
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert updates == {}
    restored = np.clip(np.asarray(outputs[-1][0], np.float64), 0, 1)
    errors = np.mean((restored - target) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(metrics["psnr"], np.mean(-10 * np.log10(errors)), rtol=1e-5)


def test_settings_reach_the_loss(plain):
    _, variables = plain

    def loss(**settings):
        task = make_task({"task": settings})
        run = jax.jit(task.loss)
        return run(variables, random_batch(), jax.random.key(0))[0]

    values = [loss(), loss(frequency_weight=0.0), loss(frequency_norm="ortho")]
    values += [loss(charbonnier_eps=0.1)]
    assert len({float(value) for value in values}) == len(values)


def test_dropout_is_that_of_the_step(plain):
    task, variables = plain
    run = jax.jit(task.loss)
    keys = [jax.random.key(i) for i in (0, 0, 1)]
    first, again, other = (run(variables, random_batch(), key)[0] for key in keys)
    assert first == again != other


def test_psnr_of_a_perfect_image_is_finite(plain, monkeypatch):
    """A metric that isn't ends the run."""
    task, variables = plain
    batch = random_batch()
    perfect = batch["target"] / np.float32(255)
    monkeypatch.setattr(type(task.model), "apply", lambda *_, **__: ((perfect,),))
    _, (_, metrics) = task.loss(variables, batch, jax.random.key(0))
    np.testing.assert_allclose(metrics["psnr"], 100, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_evaluation_step(plain, dtype):
    """The finest scale of the last stage, as it is: not clipped, not rounded."""
    task, variables = plain
    batch = random_batch(dtype)
    restored = jax.jit(task.predict)(variables, batch)["restored"]
    inputs = batch["input"] / np.float32(255 if dtype == np.uint8 else 1)
    expected = jax.jit(task.model.apply)(variables, inputs)[-1][0]
    np.testing.assert_allclose(restored, expected, atol=1e-6)
    assert restored.dtype == np.float32 and not np.array_equal(restored, np.clip(restored, 0, 1))


# ---------------------------------------------------------------- mixup


def test_mixup_blends_inputs_and_targets_alike():
    rng = np.random.default_rng(0)
    images, targets = rng.uniform(size=(2, 6, 4, 4, 3)).astype(np.float32)
    mixed, mixed_targets = mix_pairs(jax.random.key(0), images, targets, 1.0, 1.2)
    difference = images - images[::-1]
    share = ((mixed - images[::-1]) * difference).sum((1, 2, 3)) / (difference**2).sum((1, 2, 3))
    assert ((share > 0) & (share < 1)).all() and len(np.unique(share)) == 6
    share = share[:, None, None, None]
    np.testing.assert_allclose(mixed, share * images + (1 - share) * images[::-1], atol=1e-5)
    expected = share * targets + (1 - share) * targets[::-1]
    np.testing.assert_allclose(mixed_targets, expected, atol=1e-5)
    pixels = np.uint8(255 * images)  # moved between devices as they are, and blended as numbers
    found, _ = mix_pairs(jax.random.key(0), pixels, pixels, 1.0, 1.2)
    blended = share * pixels / 255 + (1 - share) * pixels[::-1] / 255
    np.testing.assert_allclose(found, blended, atol=1e-5)


def test_mixup_of_whole_batches_and_its_shares():
    images = np.zeros((4, 1, 1, 1), np.float32)
    images[:2] = 1  # beside their partners, zeros: the mixture is the share
    keys = jax.random.split(jax.random.key(0), 2000)
    mixed, _ = jax.vmap(lambda key: mix_pairs(key, images, images, 0.3, 1.2))(keys)
    mixed = np.asarray(mixed)[:, :2, 0, 0, 0]
    touched = mixed < 1
    assert (touched.all(1) == touched.any(1)).all()
    assert abs(touched.any(1).mean() - 0.3) < 0.04
    shares = mixed[touched]
    assert abs(shares.mean() - 0.5) < 0.03
    assert abs(shares.var() - 1 / (4 * (2 * 1.2 + 1))) < 0.01


def test_mixup_is_that_of_the_step():
    task = make_task({"task.mixup_probability": 1.0})
    batch = random_batch()
    first, again, other = (task._pairs(jax.random.key(i), batch)[0] for i in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    images, targets = make_task({"task": {}})._pairs(jax.random.key(0), batch)
    np.testing.assert_allclose(images, batch["input"] / 255, atol=1e-6)
    np.testing.assert_allclose(targets, batch["target"] / 255, atol=1e-6)


# ---------------------------------------------------------------- data


def test_training_pairs_are_crops_of_the_photos():
    changes = {"data.flip": False, "data.rotate": False}
    source, transform, _ = make_task(changes).train_data()
    example = source[1]
    result = transform(example, np.random.default_rng(0))
    for name in ("input", "target"):
        assert result[name].shape == (pairs.SIDE, pairs.SIDE, 3) and result[name].dtype == np.uint8
        windows = np.lib.stride_tricks.sliding_window_view(
            example[name], (pairs.SIDE, pairs.SIDE, 3)
        )
        found = np.argwhere((windows == result[name]).all((-3, -2, -1)))
        assert len(found) == 1
    turned = make_task().train_data().transform
    crops = [transform(example, np.random.default_rng(i))["target"] for i in range(8)]
    others = [turned(example, np.random.default_rng(i))["target"] for i in range(8)]
    assert any(not np.array_equal(a, b) for a, b in zip(crops, others, strict=True))


def test_clean_photos_are_degraded():
    noise = ({"kind": "gaussian_noise", "sigma": 25.0},)
    task = make_task({"data.degradations": noise}, source=pairs.Pairs(clean=True))
    source, transform, _ = task.train_data()
    trained = transform(source[0], np.random.default_rng(0))
    source, transform, _ = task.eval_data()["eval"]
    evaluated = transform(source[0])
    for result in (trained, evaluated):
        assert result["input"].dtype == np.float32 and result["target"].dtype == np.uint8
        error = result["input"] * 255 - result["target"]
        assert 20 < error.std() < 30
    np.testing.assert_array_equal(evaluated["input"], transform(source[0])["input"])
    assert not np.array_equal(
        trained["input"], task.train_data().transform(source[0], np.random.default_rng(1))["input"]
    )


# ---------------------------------------------------------------- weights, and mistakes


def test_weights_to_start_from(tmp_path):
    task = make_task(small=False)
    abstract = jax.eval_shape(task.init, jax.random.key(0))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), abstract)
    maxim_jax.save_pretrained(tmp_path / "own", task.model, variables)
    loaded = make_task({"init": {"weights": str(tmp_path / "own")}}, small=False).pretrained()
    assert jax.tree.structure(loaded["params"]) == jax.tree.structure(variables["params"])
    jax.tree.map(np.testing.assert_array_equal, loaded["params"], variables["params"])
    assert task.pretrained() is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.name": "maxim_s4"}, "unknown model 'maxim_s4'"),
        (
            {"data.crop_size": 18},
            "config.data.crop_size=18: the model takes multiples of 4; nearest valid: 16 or 20",
        ),
        ({"data.eval_crop_size": 3}, "config.data.eval_crop_size=3: .* nearest valid: 4"),
        ({"data.sorce": "pairs"}, "did you mean 'source'"),
        ({"data.degradations": ({"kind": "gausian_noise"},)}, "did you mean 'gaussian_noise'"),
        ({"data.holdout": 1.0}, "config.data.holdout"),
        ({"data.source": "photos"}, "'photos': set config.data.degradations"),
        ({"task.mixup_probability": 1.5}, "config.task.mixup_probability"),
        ({"task.mixup_alpha": 0.0}, "config.task.mixup_alpha"),
        ({"task.charbonnier_eps": 0.0}, "config.task.charbonnier_eps"),
        ({"task.frequency_weight": -0.1}, "config.task.frequency_weight"),
        ({"task.frequency_norm": "orto"}, "did you mean 'ortho'"),
    ],
)
def test_mistakes(changes, message):
    with pytest.raises(UserError, match=message):
        make_task(changes)


def test_weights_that_are_left_to_the_user():
    with pytest.raises(UserError, match=re.escape("needs --config.init.weights")):
        make_task({"init": {"weights": ""}}).pretrained()


# ---------------------------------------------------------------- pictures


def test_pictures():
    task = make_task({"task.mixup_probability": 1.0})
    batch = random_batch(count=SHEET_ROWS + 2)
    outputs = {"restored": batch["target"].astype(np.float32) / 255 + 1e-4}
    trained = task.visualise(batch, None)["pairs"]
    evaluated = task.visualise(batch, outputs)["pairs"]
    assert trained.dtype == evaluated.dtype == np.uint8
    assert trained.shape[0] == evaluated.shape[0] and evaluated.shape[1] * 2 == 3 * trained.shape[1]
    cell, row = evaluated.shape[1] // 3, evaluated.shape[0] // SHEET_ROWS
    enlarged = batch["input"][0].repeat(16, 0).repeat(16, 1)
    np.testing.assert_array_equal(evaluated[2:258, 2:258], enlarged)
    # Restored as the target: the same pixels in the second column and the third.
    np.testing.assert_array_equal(
        evaluated[2:258, cell + 2 : cell + 258], evaluated[2:258, 2 * cell + 2 : 2 * cell + 258]
    )
    assert not np.array_equal(trained[2:258, 2:258], enlarged)  # blended, as the network sees it
    assert row > 256


def test_pictures_show_no_filling():
    task = make_task()
    batch = random_batch() | {"size": np.array([[16, 8], [8, 16], [4, 4]], np.int32)}
    outputs = {"restored": np.zeros((3, 16, 16, 3), np.float32)}
    sheet = task.visualise(batch, outputs)["pairs"]
    # Rows as high as their images: 256, 128 and 256 pixels, and 20 for the line below.
    assert sheet.shape == (276 + 148 + 276, 3 * 260, 3)
    shown = batch["target"][2, :4, :4].repeat(64, 0).repeat(64, 1)
    np.testing.assert_array_equal(sheet[426 : 426 + 256, 522 : 522 + 256], shown)


# ---------------------------------------------------------------- whole runs


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Four steps of a MAXIM with mixup."""
    workdir = tmp_path_factory.mktemp("run")
    results = tiny.run(pairs.config(), workdir, task=make_task(small=False))
    return workdir, results


def test_what_a_run_leaves(uninterrupted):
    workdir, results = uninterrupted
    assert list(tiny.logged(workdir, "train/loss")) == [1, 2, 3, 4]
    assert list(tiny.logged(workdir, "train/psnr")) == [1, 2, 3, 4]
    assert list(tiny.logged(workdir, "eval/psnr")) == [2, 4]
    assert {"eval/psnr", "eval/ssim", "eval/psnr_input", "eval/ssim_input"} <= results.keys()
    names = ["eval_pairs_00000002", "eval_pairs_00000004", "train_pairs_00000000"]
    paths = sorted((workdir / "samples").iterdir())
    assert [path.stem for path in paths] == names
    for path, columns in zip(paths, (3, 3, 2), strict=True):
        with Image.open(path) as image:
            assert image.size[0] == columns * (256 + 4)


def test_evaluated_psnr_of_the_inputs(uninterrupted):
    """Central crops, every pair once."""
    _, results = uninterrupted
    source = pairs.Pairs()
    top, left = (24 - pairs.SIDE) // 2, (20 - pairs.SIDE) // 2
    crops = [
        images[:, top : top + pairs.SIDE, left : left + pairs.SIDE].astype(np.float64)
        for images in (source.inputs, source.targets)
    ]
    errors = np.mean((crops[0] - crops[1]) ** 2, axis=(1, 2, 3))
    expected = np.mean(10 * np.log10(255**2 / errors))
    np.testing.assert_allclose(results["eval/psnr_input"], expected, rtol=1e-6)


def test_resume_is_bit_identical(uninterrupted, tmp_path):
    """With mixup: crops and shares are functions of the step."""
    tiny.run(pairs.config({"train.num_steps": 2}), tmp_path, task=make_task(small=False))
    tiny.run(pairs.config(), tmp_path, task=make_task(small=False))
    tiny.assert_identical(tiny.stored(tmp_path, 4), tiny.stored(uninterrupted[0], 4))


def test_it_learns(tmp_path):
    """Brightening what was darkened, on two devices."""
    changes = {
        "task": {"frequency_norm": "ortho"},
        "optimizer.learning_rate": 3e-2,
        "schedule.decay_steps": 300,
        "train.num_steps": 150,
        "train.log_every": 50,
        "eval.every_steps": 150,
        "checkpoint.every_steps": 150,
        "train.sample_images": False,
    }
    results = tiny.run(pairs.config(changes), tmp_path, task=make_task(changes), devices=2)
    losses = list(tiny.logged(tmp_path, "train/loss").values())
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0] / 2
    assert results["eval/psnr"] > results["eval/psnr_input"] + 5
