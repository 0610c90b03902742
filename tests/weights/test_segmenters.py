"""Segmenters' weights: mmsegmentation's names both ways, our directories, and backbones alone."""

import functools
import json

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import maxvit_jax
from common.errors import UserError
from common.weights.mapping import flatten
from maxvit_jax import segmenters
from maxvit_jax.dense_weights import holds_head, info_of_weights
from maxvit_jax.segmenter_info import meaning_of_weights
from tests.golden.cases import load_module_case, write_arrays
from tests.golden.weights import make_variables
from tests.heads import micro
from tests.tasks.label_maps import make_task

IMAGES = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)


@functools.cache
def made(backbone, head, **fields):
    model = micro.create(backbone, head, **fields)
    return model, make_variables(model, IMAGES)


def assert_same(got, want):
    got, want = flatten(got), flatten(want)
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_array_equal(got[name], want[name])


@pytest.fixture
def mmsegmentation(tmp_path):
    """A file under mmsegmentation's names, with an auxiliary head."""
    model, variables = made("poolformer_s12", "upernet", auxiliary_channels=4)
    arrays = segmenters.export_weights(model, variables, "official")
    return write_arrays(tmp_path / "upernet.pth", arrays, "pth")


@pytest.mark.parametrize("head", ["semantic_fpn", "upernet"])
def test_mmsegmentations_names_go_both_ways(head, tmp_path):
    auxiliary = {"auxiliary_channels": 4} if head == "upernet" else {}
    model, variables = made("poolformer_s12", head, **auxiliary)
    arrays = segmenters.export_weights(model, variables, "official")
    assert {name.split(".")[0] for name in arrays} == {
        "backbone",
        "decode_head",
        *({"neck"} if head == "semantic_fpn" else {"auxiliary_head"}),
    }
    assert "backbone.network.2.0.mlp.fc1.weight" in arrays and "backbone.norm6.weight" in arrays
    if head == "semantic_fpn":
        assert "decode_head.scale_heads.3.4.bn.running_var" in arrays
        assert "neck.lateral_convs.0.conv.weight" in arrays
    for start in ("", "model."):  # Lightning's
        named = {start + name: array for name, array in arrays.items()}
        path = write_arrays(tmp_path / "model.pth", named, "pth")
        _, loaded, report = segmenters.load_with_report(model, path)
        assert report.used == len(arrays) and not report.left and not report.fresh
        assert report.file.prefix == start
        assert_same(loaded, variables)


def test_a_missing_and_an_odd_array_are_named(tmp_path):
    model, variables = made("poolformer_s12", "semantic_fpn")
    arrays = segmenters.export_weights(model, variables, "official")
    arrays["decode_head.odd.weight"] = arrays.pop("neck.fpn_convs.1.conv.bias")
    path = write_arrays(tmp_path / "model.npz", arrays, "npz")
    with pytest.raises(UserError) as info:
        segmenters.load_pretrained(model, path)
    assert "neck.fpn_convs.1.conv.bias" in str(info.value)
    assert "decode_head.odd.weight" in str(info.value)


def test_the_number_of_classes_follows_the_file_and_asking_starts_the_last_layer_fresh(tmp_path):
    model, variables = made("poolformer_s12", "semantic_fpn", num_classes=7)
    path = tmp_path / "own"
    segmenters.save_pretrained(path, model, variables)
    loaded, _ = segmenters.load_pretrained("poolformer_s12+semantic_fpn", path)
    assert loaded.num_classes == 7 and loaded.head_fields == model.head_fields
    _, other, report = segmenters.load_with_report(
        "poolformer_s12+semantic_fpn", path, num_classes=3
    )
    assert all("classifier/logits" in name for name in report.fresh) and len(report.fresh) == 2
    assert other["params"]["head"]["classifier"]["logits"]["bias"].shape == (3,)
    with pytest.raises(UserError, match="the file has 7 classes"):
        segmenters.load_pretrained(micro.create(num_classes=3), path)


def test_an_auxiliary_head_is_left_where_the_model_has_none(mmsegmentation):
    model, _ = made("poolformer_s12", "upernet")
    _, loaded, report = segmenters.load_with_report(model, mmsegmentation)
    assert report.left and all(name.startswith("auxiliary_head") for name in report.left)
    assert "auxiliary" not in loaded["params"]


def test_the_backbone_of_any_segmenter_is_a_backbone(mmsegmentation, tmp_path):
    model, variables = made("poolformer_s12", "upernet", auxiliary_channels=4)
    segmenters.save_pretrained(tmp_path / "own", model, variables)
    for path in (mmsegmentation, tmp_path / "own"):
        _, loaded, report = maxvit_jax.load_with_report(model.make_backbone(), path)
        assert_same(loaded["params"], variables["params"]["backbone"])
        assert any("head" in name for name in report.left)
    classifier, _ = maxvit_jax.load_pretrained("poolformer_s12", tmp_path / "own", num_classes=5)
    assert classifier.widths == (8, 16, 16, 32) and classifier.num_classes == 5


def test_what_numbers_mean_stands_with_the_weights(tmp_path):
    model, variables = made("poolformer_s12", "semantic_fpn")
    info = {
        "preprocessing": {"mean": [1.0] * 3, "std": [2.0] * 3, "resize": [64, 32]},
        "class_names": list("abcd"),
        "palette": [[0, 0, 0], [1, 1, 1], [2, 2, 2], [3, 3, 3]],
    }
    segmenters.save_pretrained(tmp_path / "own", model, variables, **info)
    assert info_of_weights(tmp_path / "own") == info
    data, names, palette = meaning_of_weights(tmp_path / "own", 4)
    assert data.resize == (64, 32) and names == list("abcd") and palette[3, 0] == 3
    stored = segmenters.stored_info("poolformer_s12+semantic_fpn", tmp_path / "own", model)
    assert json.loads(json.dumps(stored)) == info
    with pytest.raises(UserError, match="damaged"):
        meaning_of_weights(tmp_path / "own", 5)


def test_which_files_have_a_head(mmsegmentation, tmp_path):
    model, variables = made("poolformer_s12", "semantic_fpn")
    segmenters.save_pretrained(tmp_path / "own", model, variables)
    backbone = {n: v["backbone"] for n, v in variables.items() if "backbone" in v}
    maxvit_jax.save_pretrained(tmp_path / "backbone", model.make_backbone(), backbone)
    assert holds_head(mmsegmentation, "upernet") and holds_head(tmp_path / "own", "semantic_fpn")
    assert not holds_head(tmp_path / "own", "upernet")
    assert not holds_head(tmp_path / "backbone", "semantic_fpn")


def tree_of(arrays, names=None):
    """Nested objects with a variable per path, named after it unless `names` says otherwise."""
    import tensorflow as tf

    tree = tf.train.Checkpoint()
    for path, array in arrays.items():
        *parents, leaf = path.split("/")
        place = tree
        for part in parents:
            if not hasattr(place, part):
                setattr(place, part, tf.train.Checkpoint())
            place = getattr(place, part)
        setattr(place, leaf, tf.Variable(array, name=(names or {}).get(path, path)))
    return tree


def write_deeplab2(path, encoder, decoder, kind):
    """What deeplab2 stores of a dense model: encoder, decoder, and a count of steps."""
    if kind == "by name":
        arrays = encoder | decoder | {"global_step": np.int64(7)}
        return write_arrays(path, arrays, "tf")
    # Its trainer's: keys are paths of objects, names of layers stand beside them.
    layers = {f"_blocks/{i}/_layer/weight": a for i, a in enumerate(encoder.values())}
    names = dict(zip(layers, encoder, strict=True))
    parts = {f"deeplab_v3plus{name}": array for name, array in decoder.items()}
    layer = {name: "/".join(name.split("/")[-2:]) for name in parts}
    tree = tree_of(parts, layer)
    tree.encoder = tree_of(layers, names)
    return tree.save(str(path))


@pytest.mark.parametrize("kind", ["by name", "by object"])
def test_of_deeplab2s_dense_moat_the_encoder_is_read(kind, tmp_path):
    name = "tiny_moat_0+deeplabv3plus"
    model, variables = made("tiny_moat_0", "deeplabv3plus")
    wanted = {n: v["backbone"] for n, v in variables.items() if "backbone" in v}
    encoder = maxvit_jax.export_weights(model.make_backbone(), wanted, "official")
    decoder = load_module_case("deeplabv3plus")[0].variables()
    path = write_deeplab2(tmp_path / "model", encoder, decoder, kind)

    _, loaded, report = maxvit_jax.load_with_report(model.make_backbone(), path)
    assert set(report.fresh) == {"params/head/norm/scale", "params/head/norm/bias"}
    del loaded["params"]["head"]  # of a classifier: deeplab2 stores none, and no segmenter has it
    assert_same(loaded, wanted)
    assert report.used == len(encoder) and len(report.left) == len(decoder)
    assert "left in the file: " in str(report) and "aspp" in str(report)

    section = {n: getattr(model, n) for n in ("num_classes", "backbone_fields", "head_fields")}
    changes = {"model": {"name": name} | section, "init": {"weights": path}}
    found = make_task(changes).pretrained()
    assert_same(found, {n: {"backbone": v} for n, v in wanted.items()})


def test_a_part_of_the_encoder_that_is_missing_is_named(tmp_path):
    model, variables = made("tiny_moat_0", "deeplabv3plus")
    backbone = {n: v["backbone"] for n, v in variables.items() if "backbone" in v}
    encoder = maxvit_jax.export_weights(model.make_backbone(), backbone, "official")
    lacking = "moat/block_03_00/attention/o/bias"
    del encoder[lacking]
    decoder = load_module_case("deeplabv3plus")[0].variables()
    path = write_arrays(tmp_path / "model.npz", encoder | decoder, "npz")
    with pytest.raises(UserError, match=rf"1 missing \({lacking}\)$"):
        maxvit_jax.load_pretrained(model.make_backbone(), path)
