"""Names of published weights, and what a file says about itself, is followed or refused."""

import contextvars
import functools
import json

import jax
import numpy as np
import pytest

import maxim_jax
import maxvit_jax
from common import advice
from common.data.preprocess import HALF_RANGE, IMAGENET_MEAN
from common.errors import UserError
from common.weights import io
from common.weights.mapping import flatten
from maxvit_jax.checkpoints import CHECKPOINTS, find_checkpoint
from maxvit_jax.data_defaults import data_of_weights, stored_info
from tests.golden.cases import write_arrays

FIELDS = {"stem_widths": (8, 8), "widths": (32,), "depths": (1,)}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """MaxViT-B with few weights: its rows of the table stay."""
    monkeypatch.setitem(maxvit_jax.FAMILIES["maxvit"].variants, "maxvit_base", FIELDS)


def variables_of(model):
    shapes = jax.eval_shape(model.init, jax.random.key(0), maxvit_jax.example_images(model))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda a: rng.normal(size=a.shape).astype(np.float32), shapes)


def state(**fields):
    """timm's names and arrays of a tiny MaxViT-B."""
    model = maxvit_jax.create_model("maxvit_base", **fields)
    return maxvit_jax.export_weights(model, variables_of(model), "timm")


def problem(function, *args, **kwargs):
    with pytest.raises(UserError) as info:
        function(*args, **kwargs)
    assert "\n" not in str(info.value)
    return str(info.value)


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "model", "fields"),
    [
        ("maxvit_tiny_tf_384.in1k", "maxvit_tiny", {"window_size": 12}),
        ("maxvit_tiny_tf_512", "maxvit_tiny", {"window_size": 16}),
        ("maxvit_large_tf_224.in21k", "maxvit_large", {"num_classes": 21843}),
        ("maxvit_xlarge_tf_512.in21k_ft_in1k", "maxvit_xlarge", {"window_size": 16}),
        ("caformer_s18.sail_in22k", "caformer_s18", {"num_classes": 21841}),
        ("caformer_s18.sail_in22k_ft_in1k_384", "caformer_s18", {}),
        ("poolformerv2_s12.sail_in1k", "poolformerv2_s12", {}),
    ],
)
def test_published_names_bring_their_fields(name, model, fields):
    assert maxvit_jax.create_model(name) == maxvit_jax.create_model(model, **fields)
    assert maxvit_jax.create_model(name, num_classes=3).num_classes == 3


def test_lists_of_names():
    assert maxvit_jax.list_models("maxvit_*") == [f"maxvit_{s}" for s in maxvit_sizes()]
    assert maxvit_jax.list_models("maxvit_*.in21k") == [
        f"maxvit_{size}_tf_224.in21k" for size in ("base", "large", "xlarge")
    ]
    assert len(maxvit_jax.list_models("caformer_s18.sail_*")) == 5
    assert len(maxvit_jax.list_models("caformer_s18.official_*")) == 5
    assert maxvit_jax.knows("caformer_s18.sail_in1k") and not maxvit_jax.knows("caformer_s18.x")
    message = problem(maxvit_jax.create_model, "maxvit_tiny_tf_38.in1k")
    assert (
        "unknown model 'maxvit_tiny_tf_38.in1k': did you mean 'maxvit_tiny_tf_384.in1k'" in message
    )
    assert "'caformer_s18.sail_in1k'" in problem(maxvit_jax.data_defaults, "caformer_s18.sail_in2k")
    assert "choose from" in problem(maxvit_jax.create_model, "resnet50")


def maxvit_sizes():
    return "tiny", "small", "base", "large", "xlarge"


def test_every_row_is_found_and_prepared():
    assert len({row.name for row in CHECKPOINTS if row.name}) == len(
        [row for row in CHECKPOINTS if row.name]
    )
    for row in CHECKPOINTS:
        assert row.model in maxvit_jax.list_models()
        if row.name:
            assert find_checkpoint(row.name) is row
            data = maxvit_jax.data_defaults(row.name)
            assert (data.image_size, data.mean == HALF_RANGE) == (row.image_size, row.half_range)


@pytest.mark.parametrize(
    ("name", "size", "half_range", "method", "crop"),
    [
        ("maxvit_base_tf_224.in1k", 224, False, "standard", 0.95),
        ("maxvit_base_tf_224.in21k", 224, True, "standard", 0.95),
        ("maxvit_base_tf_384", 384, True, "resize", 1.0),
        ("maxvit_base_tf_512.in21k_ft_in1k", 512, True, "resize", 1.0),
        ("poolformer_m36.sail_in1k", 224, False, "standard", 0.95),
        ("convformer_b36.sail_in1k_384", 384, False, "standard", 1.0),
    ],
)
def test_published_names_are_prepared_as_timm_does(name, size, half_range, method, crop):
    data = maxvit_jax.data_defaults(name)
    assert (data.image_size, data.mean) == (size, HALF_RANGE if half_range else IMAGENET_MEAN)
    assert (data.eval_method, data.eval_crop_fraction) == (method, crop)
    assert maxvit_jax.data_defaults(name, 96).image_size == 96


# ---------------------------------------------------------------- fields


@pytest.mark.parametrize(
    ("field", "explanation"),
    [
        ("drop_path", "called drop_path_rate here"),
        ("in_chans", "called in_channels here"),
        ("img_size", "data_defaults(name, image_size)"),
        ("features_only", 'method="features"'),
        ("pretrained", "load_pretrained(name, path)"),
        ("reset_classifier", "num_classes=n"),
        ("global_pool", "num_classes=0"),
        ("num_clases", "did you mean 'num_classes'"),
    ],
)
def test_words_of_other_libraries_are_explained(field, explanation):
    message = problem(maxvit_jax.create_model, "maxvit_tiny", **{field: 1})
    assert message.startswith(f"MaxViT has no field '{field}': ") and explanation in message


def test_words_are_of_the_model_s_own_fields():
    message = problem(maxvit_jax.create_model, "caformer_s18", drop_rate=0.1)
    assert message.endswith("called head_dropout here")
    message = problem(maxim_jax.create_model, "maxim_s2", drop_rate=0.1)
    assert message.endswith("called dropout_rate here")


def test_models_are_checked_at_once(tmp_path):
    message = problem(maxvit_jax.create_model, "maxvit_tiny", depths=(1, 2))
    assert "one positive number per stage" in message
    path = write_arrays(tmp_path / "w.npz", state(), "npz")
    assert "drop_path_rate=2" in problem(
        maxvit_jax.load_pretrained, "maxvit_base", path, drop_path_rate=2
    )
    # Fields that only go together with what the file says are no mistake.
    small = {"widths": (8,), "depths": (1,), "mixers": ("pool",)}
    dense = maxvit_jax.create_model("poolformer_s12", feature_norms=True, num_classes=0, **small)
    arrays = maxvit_jax.export_weights(dense, variables_of(dense), "official")
    path = write_arrays(tmp_path / "d.npz", arrays, "npz")
    model, _ = maxvit_jax.load_pretrained("poolformer_s12", path, feature_norms=True, **small)
    assert model == dense


def test_numbers_of_numpy_are_numbers():
    model = maxvit_jax.create_model(
        "maxvit_tiny",
        num_classes=np.int64(3),
        widths=np.array([32, 64]),
        depths=[np.int32(1), 2],
        drop_path_rate=np.float32(0.5),
        pad_inputs=np.bool_(True),
    )
    plain = {"num_classes": 3, "widths": (32, 64), "depths": (1, 2), "drop_path_rate": 0.5}
    assert model == maxvit_jax.create_model("maxvit_tiny", **plain, pad_inputs=True)
    assert type(model.num_classes) is int and type(model.widths[0]) is int
    windows = maxvit_jax.create_model("moat_0", window_size=[None, None, [7, 14], 7]).window_size
    assert windows == (None, None, (7, 14), 7)
    assert "num_classes=1.5" in problem(
        maxvit_jax.create_model, "maxvit_tiny", num_classes=np.float64(1.5)
    )


# ---------------------------------------------------------------- what a file says


@pytest.mark.parametrize(
    ("made", "said", "size", "half_range"),
    [
        ({}, {"window_size": 7, "num_classes": 1000}, 224, False),
        ({"num_classes": 21843}, {"window_size": 7, "num_classes": 21843}, 224, True),
        ({"window_size": 12}, {"window_size": 12, "num_classes": 1000}, 384, True),
        ({"window_size": 16, "num_classes": 5}, {"window_size": 16}, 512, True),
        ({"window_size": 8}, {"window_size": 8, "grid_size": None}, 16, False),
        ({"window_size": 7, "grid_size": 2}, {"window_size": 7, "grid_size": 2}, 28, False),
    ],
)
def test_windows_classes_and_preprocessing_follow_the_file(made, said, size, half_range, tmp_path):
    path = write_arrays(tmp_path / "w.safetensors", state(**made), "safetensors")
    model, _, report = maxvit_jax.load_with_report("maxvit_base", path)
    assert {name: getattr(model, name) for name in said} == said
    assert not report.resized and not report.fresh
    data, _ = data_of_weights("maxvit_base", path)
    assert data.mean == (HALF_RANGE if half_range else IMAGENET_MEAN)
    # This tiny model ends at stride 4: published sizes that its windows fit stay.
    assert data.image_size % size == 0
    assert data_of_weights("maxvit_base", path, 96)[0].image_size == 96
    maxvit_jax.save_pretrained(tmp_path / "own", model, variables_of(model))
    assert data_of_weights("maxvit_base", tmp_path / "own")[0] == data


def test_what_is_asked_wins_over_the_file(tmp_path):
    path = write_arrays(tmp_path / "w.safetensors", state(window_size=12), "safetensors")
    model, _, report = maxvit_jax.load_with_report("maxvit_base", path, window_size=7)
    assert model.window_size == 7 and "resized from 23x23 to 13x13" in str(report)
    small = write_arrays(tmp_path / "s.safetensors", state(), "safetensors")
    model, _, report = maxvit_jax.load_with_report("maxvit_base_tf_384", small)
    assert model.window_size == 12 and "resized from 13x13 to 23x23" in str(report)


def test_directories_and_runs_under_published_names(tmp_path):
    model = maxvit_jax.create_model("maxvit_base_tf_384")
    maxvit_jax.save_pretrained(tmp_path / "own", model, variables_of(model))
    for name in ("maxvit_base", "maxvit_base_tf_224.in1k"):
        assert maxvit_jax.load_pretrained(name, tmp_path / "own")[0] == model
    message = problem(maxvit_jax.load_pretrained, "maxvit_tiny_tf_384", tmp_path / "own")
    assert "holds maxvit_base, not maxvit_tiny" in message


def test_folders_of_timm_are_no_damaged_directories_of_ours(tmp_path):
    config = {
        "architecture": "maxvit_base_tf_384",
        "num_classes": 10,
        "pretrained_cfg": {
            **{"mean": [0.5] * 3, "std": [0.25] * 3, "input_size": [3, 64, 64]},
            **{"crop_pct": 1.0, "crop_mode": "squash", "interpolation": "bilinear"},
        },
        "label_names": list("abcdefghij"),
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    write_arrays(tmp_path / "model.safetensors", state(num_classes=10), "safetensors")
    model, _ = maxvit_jax.load_pretrained("maxvit_base", tmp_path)
    assert model.num_classes == 10
    info = stored_info("maxvit_base", tmp_path, model)
    assert info["class_names"] == list("abcdefghij")
    assert info["preprocessing"] == {
        **{"image_size": 64, "mean": HALF_RANGE, "std": (63.75,) * 3},
        **{"eval_method": "resize", "eval_crop_fraction": 1.0, "interpolation": "bilinear"},
    }
    config["pretrained_cfg"]["mean"] = 3
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "pretrained_cfg" in problem(data_of_weights, "maxvit_base", tmp_path)


# ---------------------------------------------------------------- heads


@pytest.mark.parametrize("lacks", ["head.fc.", "head."])
@pytest.mark.parametrize("source", ["timm", "ours"])
def test_files_without_a_head_make_models_without(lacks, source, tmp_path):
    arrays = {n: a for n, a in state().items() if not n.startswith(lacks)}
    if source == "timm":
        path = write_arrays(tmp_path / "w.safetensors", arrays, "safetensors")
    else:
        path, model = tmp_path / "own", maxvit_jax.create_model("maxvit_base", num_classes=0)
        variables = variables_of(model)
        if lacks == "head.":
            del variables["params"]["head"]
        maxvit_jax.save_pretrained(path, model, variables)
    model, variables, report = maxvit_jax.load_with_report("maxvit_base", path)
    inner = (lacks, source) == ("head.fc.", "timm")  # timm's embedding ends after it
    kept = {"norm", "inner"} if inner else {"norm"}
    assert model.num_classes == 0 and variables["params"]["head"].keys() == kept
    assert model.pre_logits is inner
    norm = {"params/head/norm/scale", "params/head/norm/bias"} if lacks == "head." else set()
    assert set(report.fresh) == norm
    model, variables, report = maxvit_jax.load_with_report("maxvit_base", path, num_classes=5)
    assert variables["params"]["head"]["logits"]["bias"].shape == (5,)
    kept = {"head/norm", "head/inner"} if (lacks, source) == ("head.fc.", "timm") else set()
    kept |= {"head/norm"} if lacks == "head.fc." else set()
    everything = {n.split("/", 1)[1] for n in flatten(variables) if "/head/" in n}
    fresh = {n.split("/", 1)[1] for n in report.fresh}
    assert fresh == {n for n in everything if n.rpartition("/")[0] not in kept}
    assert "freshly initialised" in str(report)


def test_embeddings_as_timm_defines_them(tmp_path):
    """Its MaxViT without classes ends after the dense layer and tanh of its head."""
    path = write_arrays(tmp_path / "w.safetensors", state(num_classes=5), "safetensors")
    model, variables = maxvit_jax.load_pretrained("maxvit_base", path)
    timm = maxvit_jax.load_pretrained("maxvit_base", path, num_classes=0, pre_logits=True)
    ours = maxvit_jax.load_pretrained("maxvit_base", path, num_classes=0)
    images = np.random.default_rng(0).normal(size=(1, 28, 28, 3)).astype(np.float32)

    @jax.jit
    def run(variables, with_inner, without):
        logits = model.apply(variables, images)
        return logits, timm[0].apply(with_inner, images), ours[0].apply(without, images)

    logits, embedding, plain = run(variables, timm[1], ours[1])
    head = variables["params"]["head"]
    inner = np.tanh(plain @ head["inner"]["kernel"] + head["inner"]["bias"])
    np.testing.assert_allclose(embedding, inner, rtol=1e-4, atol=1e-5)
    expected = embedding @ head["logits"]["kernel"] + head["logits"]["bias"]
    np.testing.assert_allclose(expected, logits, rtol=1e-4, atol=1e-4)
    maxvit_jax.save_pretrained(tmp_path / "own", *timm)
    assert maxvit_jax.load_pretrained("maxvit_base", tmp_path / "own")[0] == timm[0]


def test_stems_and_numbers_of_half_precision_follow_the_file(tmp_path):
    path = write_arrays(tmp_path / "w.npz", state(stem_widths=(4, 12)), "npz")
    assert maxvit_jax.load_pretrained("maxvit_base", path)[0].stem_widths == (4, 12)
    message = problem(maxvit_jax.load_pretrained, "maxvit_base", path, stem_widths=(8, 8))
    assert "custom model" in message and "stem_widths (4, 12)" in message
    model = maxvit_jax.create_model("maxvit_base", num_classes=2)
    halves = jax.tree.map(lambda a: a.astype(jax.numpy.bfloat16), variables_of(model))
    maxvit_jax.save_pretrained(tmp_path / "half", model, halves)
    _, found = maxvit_jax.load_pretrained("maxvit_base", tmp_path / "half")
    jax.tree.map(np.testing.assert_array_equal, found, halves)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(np.float32)}


def test_advice_is_in_the_words_of_who_asks(tmp_path, monkeypatch):
    path = write_arrays(tmp_path / "w.npz", state(num_classes=4), "npz")
    model = maxvit_jax.create_model("maxvit_base", num_classes=7)
    ask = functools.partial(problem, maxvit_jax.load_pretrained, model, path)
    assert ask().endswith("4 classes: num_classes=7 as an argument starts the last layer fresh")
    with advice.for_config():
        assert ask().endswith("classes: config.init.reset_head=true starts the last layer fresh")
        monkeypatch.setattr(advice, "_in_command", contextvars.ContextVar("x", default=True))
        assert ask().endswith("classes: --config.init.reset_head=true starts the last layer fresh")
    assert ask().endswith("4 classes: num_classes=7 in Python starts the last layer fresh")


def test_fields_that_no_such_file_has_are_refused_at_once(tmp_path):
    """Making a model of them would take all memory, or for ever."""
    model = maxvit_jax.create_model("maxvit_base", num_classes=2)
    maxvit_jax.save_pretrained(tmp_path / "own", model, variables_of(model))
    place = tmp_path / "own" / "config.json"
    config = json.loads(place.read_text())
    for field, value in (
        ("depths", [10**9]),
        ("depths", [1e308]),
        ("widths", [32 * 10**9]),
        ("widths", [32 * 10**4]),
        ("window_size", 10**15),
        ("window_size", 1000),
        ("drop_path_rate", float("nan")),
    ):
        changed = config | {"fields": config["fields"] | {field: value}}
        place.write_text(json.dumps(changed))
        message = problem(maxvit_jax.load_pretrained, "maxvit_base", tmp_path / "own")
        assert field in message or "mis-shaped" in message
        assert str(tmp_path) in message


def test_dense_poolformers_become_classifiers(tmp_path):
    fields = {"widths": (8, 16), "depths": (1, 1), "mixers": ("pool", "pool")}
    dense = maxvit_jax.create_model("poolformer_s12", feature_norms=True, num_classes=0, **fields)
    arrays = maxvit_jax.export_weights(dense, variables_of(dense), "official")
    path = write_arrays(tmp_path / "w.npz", arrays, "npz")
    model, variables, report = maxvit_jax.load_with_report(
        "poolformer_s12", path, num_classes=3, **fields
    )
    assert model.num_classes == 3 and not model.feature_norms
    assert len(report.left) == 4 and len(report.fresh) == 4
    assert variables["params"]["head"].keys() == {"norm", "logits"}


# ---------------------------------------------------------------- channels

FAMILIES_BY_STEM = {
    "maxvit_base": ("stem/conv_0/kernel", {}),
    "moat_0": (
        "stem/conv_0/kernel",
        {
            **{"stem_widths": (8, 8), "widths": (8, 32), "depths": (1, 1)},
            **{"block_kinds": ("mbconv", "moat"), "bias_window_size": (None, 2)},
        },
    ),
    "caformer_s18": (
        "stem/conv/kernel",
        {"widths": (8,), "depths": (1,), "mixers": ("sep_conv",), "scaled_residuals": ()},
    ),
    "aewin_tiny": ("stem/conv/kernel", {"widths": (16,), "depths": (1,), "heads": (4,)}),
    "maxim_s1": (
        "stage_1/input_conv_0/kernel",
        {
            **{"features": 4, "depth": 1, "num_bottleneck_blocks": 1, "num_groups": 1},
            **{"num_supervision_scales": 1, "high_res_stages": 0},
        },
    ),
}


@pytest.mark.parametrize("name", FAMILIES_BY_STEM)
def test_stems_are_adapted_to_other_channels_as_timm_does(name, tmp_path):
    stem, fields = FAMILIES_BY_STEM[name]
    package = maxvit_jax if maxvit_jax.knows(name) else maxim_jax
    model = package.create_model(name, **fields)
    shapes = jax.eval_shape(model.init, jax.random.key(0), package.example_images(model))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda a: rng.normal(size=a.shape).astype(np.float32), shapes)
    kernel = flatten(variables)[f"params/{stem}"]

    package.save_pretrained(tmp_path / "ours", model, variables)
    paths = {"ours": tmp_path / "ours"}
    for source in package.exports(name):
        arrays = package.export_weights(model, variables, source)
        paths[source] = write_arrays(tmp_path / source, arrays, "safetensors")
    four = np.concatenate([kernel, kernel[:, :, :1]], axis=2) * np.float32(0.75)
    wanted = {1: kernel.sum(axis=2, keepdims=True), 4: four}
    cases = [*((source, 1) for source in paths), ("ours", 4)]
    for source, channels in cases:
        asked = {**fields, "in_channels": channels}
        got, loaded, report = package.load_with_report(name, paths[source], **asked)
        assert got.in_channels == channels
        np.testing.assert_array_equal(flatten(loaded)[f"params/{stem}"], wanted[channels])
        assert f"{stem} adapted from 3 to {channels} input channels" in str(report)
        for key in set(flatten(loaded)) - set(report.adapted):
            np.testing.assert_array_equal(flatten(loaded)[key], flatten(variables)[key])


@pytest.mark.parametrize("channels", [1, 5])
def test_channels_follow_the_file(channels, tmp_path):
    path = write_arrays(tmp_path / "w.npz", state(in_channels=channels), "npz")
    model, variables, report = maxvit_jax.load_with_report("maxvit_base", path)
    assert model.in_channels == channels and not report.adapted
    assert variables["params"]["stem"]["conv_0"]["kernel"].shape[2] == channels
    message = problem(maxvit_jax.load_pretrained, "maxvit_base", path, in_channels=3)
    assert message.endswith(
        f"the file is for images of {channels} channels: in_channels={channels} as an argument"
    )
    images = maxvit_jax.example_images(model)
    assert jax.eval_shape(model.apply, variables, images).shape == (1, 1000)


# ---------------------------------------------------------------- runs of other jobs


def test_a_run_with_a_head_on_a_backbone_is_read_as_the_backbone(monkeypatch, tmp_path):
    from common.train import checkpoint

    model = maxvit_jax.create_model("maxvit_base", num_classes=0, window_size=2)
    variables = variables_of(model)
    run = {name: {"backbone": tree} for name, tree in variables.items()}
    run["params"]["decoder"] = {"conv": {"kernel": np.zeros(3, np.float32)}}
    monkeypatch.setattr(checkpoint, "restore_variables", lambda path: (7, run))
    (tmp_path / "checkpoints").mkdir()
    section = {"name": "maxvit_base", "num_classes": 150, "window_size": 2, "grid_size": None}
    config = {"train": {}, "model": section, "task": {"kind": "anything"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    again, loaded, report = maxvit_jax.load_with_report("maxvit_base", tmp_path)
    assert again == model and report.left == ("decoder/conv/kernel",) and not report.fresh
    assert "left in the file: decoder/conv/kernel" in str(report)
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)


# ---------------------------------------------------------------- what is refused


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that notes that it was imported, beside the weights."""
    (tmp_path / "evil.py").write_text("from common.layers.token_mixers import IdentityMixer as s")
    monkeypatch.syspath_prepend(tmp_path)


def test_files_name_no_code(module, tmp_path):
    import sys

    mixers = ["pool", "evil:s", "pool", "pool"]
    small = {"widths": (8,) * 4, "depths": (1,) * 4}
    model = maxvit_jax.create_model("poolformerv2_s12", **small)
    maxvit_jax.save_pretrained(tmp_path / "own", model, variables_of(model))
    config = json.loads((tmp_path / "own" / io.CONFIG).read_text())
    config["fields"]["mixers"] = mixers
    (tmp_path / "own" / io.CONFIG).write_text(json.dumps(config))
    run = {"train": {}, "model": {"name": "poolformerv2_s12", **small, "mixers": mixers}}
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text(json.dumps(run))
    for path in (tmp_path / "own", tmp_path / "run"):
        message = problem(maxvit_jax.load_pretrained, "poolformerv2_s12", path)
        assert "mixers='evil:s'" in message and "mixers=..." in message
    assert data_of_weights("poolformerv2_s12", tmp_path / "own")[0].image_size == 224
    assert "evil" not in sys.modules
    loaded, _ = maxvit_jax.load_pretrained(
        "poolformerv2_s12", tmp_path / "own", mixers=("pool", "evil:s", "pool", "pool")
    )
    assert loaded.mixers[1] == "evil:s"
    sys.modules.pop("evil", None)


@pytest.mark.parametrize(
    "path",
    ["hf://x/y", "file:///tmp/x", "what://x"],
)
def test_other_addresses_are_no_paths(path):
    message = problem(maxvit_jax.load_pretrained, "maxvit_tiny", path)
    assert path in message and "download" in message
    assert "download" in problem(data_of_weights, "maxvit_tiny", path)


def test_integers_are_no_weights(tmp_path):
    arrays = state()
    arrays["stem.conv1.weight"] = arrays["stem.conv1.weight"].astype(np.int8)
    path = write_arrays(tmp_path / "w.safetensors", arrays, "safetensors")
    message = problem(maxvit_jax.load_pretrained, "maxvit_base", path)
    assert "1 not of floating-point numbers (stem.conv1.weight int8)" in message
    arrays = state() | {"n_averaged": np.int64(3), "index": np.zeros((2, 2), np.int64)}
    path = write_arrays(tmp_path / "w.npz", arrays, "npz")
    _, _, report = maxvit_jax.load_with_report("maxvit_base", path)
    assert report.left == ("index", "n_averaged")


def test_what_a_family_always_does_may_be_asked_for():
    """A caller need not know which family has a choice."""
    model = maxvit_jax.create_model("aewin_tiny", pad_inputs=True, frozen_norm=True)
    assert model.pad_inputs and model == maxvit_jax.create_model("aewin_tiny")
    assert maxvit_jax.create_model("maxvit_tiny", pad_inputs=True).size_multiple == 1
    with pytest.raises(UserError, match="AEWin always has pad_inputs=True"):
        maxvit_jax.create_model("aewin_tiny", pad_inputs=False)
