"""Weights by name and address: the table, what it leads to, and folders as on the Hub."""

import json

import jax
import numpy as np
import pytest
from huggingface_hub import constants

import maxim_jax
import maxvit_jax
from common.errors import UserError
from common.task import Task
from common.weights import addresses, download
from launch.tasks import model_and_weights, task_of_weights
from maxvit_jax.checkpoints import CHECKPOINTS
from maxvit_jax.data_defaults import data_of_weights, stored_info
from maxvit_jax.dense_weights import holds_head
from maxvit_jax.imagenet_classes import imagenet_class_names, imagenet_synsets, in_words_of
from tests.golden.cases import write_arrays
from tests.golden.weights import make_variables
from tests.weights.web import serving

FIELDS = {"stem_widths": (8, 8), "widths": (32,), "depths": (1,)}
FAMILY = maxvit_jax.FAMILIES["maxvit"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    """MaxViT-B with few weights, caches of its own, and no way to the Hub."""
    monkeypatch.setitem(FAMILY.variants, "maxvit_base", FIELDS)
    monkeypatch.setenv(download.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    addresses.local_path.cache_clear()


def state(**fields):
    """timm's names and arrays of a tiny MaxViT-B."""
    model = maxvit_jax.create_model("maxvit_base", **fields)
    variables = make_variables(model, maxvit_jax.example_images(model))
    return maxvit_jax.export_weights(model, variables, "timm")


def folder_on_hub(tmp_path, repository, config, arrays=None, parts=1):
    """What the Hub's library keeps of a folder that was downloaded."""
    root = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    folder = root / "snapshots" / COMMIT
    return write_folder(folder, config, arrays, parts)


def write_folder(folder, config, arrays, parts=1):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    names, weight_map = list(arrays or ()), {}
    for part in range(parts if parts > 1 else 0):
        file = f"model-{part + 1:05}-of-{parts:05}.safetensors"
        held = names[part::parts]
        write_arrays(folder / file, {name: arrays[name] for name in held}, "safetensors")
        weight_map |= dict.fromkeys(held, file)
    if weight_map:
        index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    elif arrays:
        write_arrays(folder / "model.safetensors", arrays, "safetensors")
    return folder


def timm_config(architecture="maxvit_base_tf_384", tag="in1k", classes=1000, **more):
    shape = {"mean": [0.5] * 3, "std": [0.25] * 3, "input_size": [3, 64, 64]}
    prepared = {"crop_pct": 1.0, "crop_mode": "squash", "interpolation": "bilinear", "tag": tag}
    return {
        "architecture": architecture,
        "num_classes": classes,
        "pretrained_cfg": shape | prepared,
        **more,
    }


def problem(function, *args, **kwargs):
    with pytest.raises(UserError) as info:
        function(*args, **kwargs)
    assert "\n" not in str(info.value)
    return str(info.value)


# ---------------------------------------------------------------- the table


def test_every_checkpoint_has_a_name_and_an_address():
    listed = {name: address for row in CHECKPOINTS for name, address in row.addresses.items()}
    assert all(row.addresses for row in CHECKPOINTS)
    assert len(listed) == sum(len(row.addresses) for row in CHECKPOINTS)
    for name, address in listed.items():
        model, place = maxvit_jax.locate(name)
        assert (model, place) == (name, address) and addresses.is_address(address)
        assert maxvit_jax.find(name).model == name.partition(".")[0].partition("_tf_")[0]
    official = [address for name, address in listed.items() if ".official_" in name]
    assert len(set(official)) == len(official) == 21 + 18 + 10 + 5 * 3 + 8 * 2 + 8 * 3


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("maxvit_tiny", "hf-hub:timm/maxvit_tiny_tf_224.in1k"),
        ("maxvit_xlarge", "hf-hub:timm/maxvit_xlarge_tf_224.in21k"),
        (
            "maxvit_base.official_in21k_ft_in1k_512",
            "gs://gresearch/maxvit/ckpts/maxvitbase/i21k_i1k/512",
        ),
        ("maxvit_tiny_tf_384.in1k", "hf-hub:timm/maxvit_tiny_tf_384.in1k"),
        ("maxvit_tiny_tf_384", "hf-hub:timm/maxvit_tiny_tf_384.in1k"),
        (
            "tiny_moat_0",
            "https://storage.googleapis.com/gresearch/tf-deeplab/checkpoint/"
            "tiny_moat0_imagenet_1k_256_w_position_embedding.tar.gz",
        ),
        (
            "moat_2.official_in22k_ft_in1k_384_without_bias",
            "https://storage.googleapis.com/gresearch/tf-deeplab/checkpoint/"
            "moat2_imagenet_22k_and_1k_384_wo_position_embedding.tar.gz",
        ),
        (
            "poolformer_m48",
            "hf-hub:timm/poolformer_m48.sail_in1k",
        ),
        (
            "caformer_b36.official_in22k_ft_in1k_384",
            "https://huggingface.co/sail/dl/resolve/main/caformer/caformer_b36_384_in21ft1k.pth",
        ),
        (
            "randformer_s12",
            "https://huggingface.co/sail/dl/resolve/main/randformer/randformer_s12.pth",
        ),
        ("caformer_s18.sail_in1k", "hf-hub:timm/caformer_s18.sail_in1k"),
    ],
)
def test_addresses_as_published(name, address):
    assert maxvit_jax.locate(name)[1] == address


def test_names_that_say_too_little():
    message = problem(maxvit_jax.locate, "aewin_tiny")
    assert message == "no weights of aewin_tiny are published: give the path of some"
    message = problem(maxim_jax.load_pretrained, "maxim_s3")
    assert "several weights of maxim_s3 are published" in message
    assert "maxim_s3.denoising_sidd, maxim_s3.denoising_dnd" in message
    assert "did you mean 'maxvit_tiny" in problem(maxvit_jax.load_pretrained, "maxvit_tinny")
    message = problem(maxvit_jax.load_pretrained, "maxvit_tiny", "maxvit_tiny_tf_383.in1k")
    assert "no published weights have that name: did you mean 'maxvit_tiny_tf_384.in1k'" in message
    model = maxvit_jax.create_model("maxvit_tiny")
    assert "the path of weights" in problem(maxvit_jax.load_pretrained, model)
    message = problem(maxvit_jax.locate, "https://x.org/w.npz#sha256=1")
    assert "64 digits" in message


# ---------------------------------------------------------------- what names lead to


def test_published_weights_by_name(monkeypatch, tmp_path):
    """A model's name alone, a name of weights, and these for another model of that name."""
    with serving() as web:
        path = write_arrays(tmp_path / "w", state(window_size=12), "npz")
        web.files["/w.npz"] = (tmp_path / "w").read_bytes()
        name = "maxvit_base.official_in1k_384"
        for known in ("maxvit_base", name):
            monkeypatch.setitem(FAMILY.addresses, known, f"{web.url}/w.npz")
        expected = maxvit_jax.load_pretrained("maxvit_base", path)
        for given in (("maxvit_base",), (name,), ("maxvit_base", name), (expected[0], name)):
            model, variables = maxvit_jax.load_pretrained(*given)
            assert model == expected[0] and model.window_size == 12
            jax.tree.map(np.testing.assert_array_equal, variables, expected[1])
        assert len(web.asked) == 1
    data, names = data_of_weights("maxvit_base", name)
    assert data.image_size == 384 and data.eval_method == "official"
    assert names[0] == "tench, Tinca tinca" and len(names) == 1000
    model, _, report = maxvit_jax.load_with_report(name, window_size=7)
    assert model.window_size == 7 and "window_size=7 as asked, the file has 12" in str(report)
    assert model_and_weights("maxvit_base", None) == ("maxvit_base", f"{web.url}/w.npz")
    assert model_and_weights(None, name)[0] == name
    assert not holds_head(name, "semantic_fpn")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_arrays(name, state(window_size=7), "npz")  # what is here comes before a name
    assert maxvit_jax.load_pretrained("maxvit_base", name)[0].window_size == 7


def test_names_in_a_config(monkeypatch, tmp_path):
    path = write_arrays(tmp_path / "w.npz", state(), "npz")
    monkeypatch.setitem(FAMILY.addresses, "maxvit_base", path)

    class OfName(Task):
        package = maxvit_jax
        model = maxvit_jax.create_model("maxvit_base", num_classes=5)
        init_config = type("", (), {"weights": "maxvit_base", "reset_head": True})()
        __init__ = abstract_batch = loss = train_data = lambda self: None
        predict = eval_data = evaluators = lambda self: None

    found = OfName().pretrained()
    assert "stem" in found["params"] and "logits" not in found["params"].get("head", {})


def test_imagenet_names():
    names = imagenet_class_names(1000)
    assert len(names) == 1000 and len(set(names)) == 999  # a bird and a machine are cranes
    assert names[281] == "tabby, tabby cat" and names[999].startswith("toilet tissue")
    assert names[134] == names[517] == "crane"
    google, of_2011 = imagenet_class_names(21843), imagenet_class_names(21841)
    assert (len(google), len(of_2011)) == (21843, 21841)
    assert google[:2] == of_2011[:2] == ("organism, being", "benthos")
    assert google[9204] == of_2011[9204] and google[9206:15027] == of_2011[9205:15026]
    assert google[15028:] == of_2011[15026:]
    assert imagenet_class_names(10) is None


def test_imagenets_names_are_its_synsets():
    names, synsets = imagenet_class_names(1000), imagenet_synsets(1000)
    assert dict(zip(synsets, names, strict=True))["n02123045"] == "tabby, tabby cat"
    assert in_words_of(sorted(synsets, reverse=True), names) == [*synsets]
    assert in_words_of(synsets, ["tench", *names[1:]]) == [*synsets]  # worded otherwise
    of_mine = [f"mine {i}" for i in range(1000)]
    assert in_words_of(synsets, of_mine) is of_mine and in_words_of(of_mine, names) is names
    assert in_words_of(synsets, None) is None and in_words_of("ab", ["b", "a"]) == ["b", "a"]


# ---------------------------------------------------------------- the Hub


@pytest.mark.parametrize("parts", [1, 3])
def test_folders_of_the_hub(tmp_path, parts):
    address = "hf-hub:someone/cats"
    config = timm_config(label_names=[f"cat {i}" for i in range(4)], classes=4)
    arrays = state(window_size=12, num_classes=4)
    folder = folder_on_hub(tmp_path, "someone/cats", config, arrays, parts)
    model, variables = maxvit_jax.load_pretrained(address)
    assert model == maxvit_jax.create_model("maxvit_base_tf_384", num_classes=4)
    assert maxvit_jax.locate(address) == ("maxvit_base_tf_384.in1k", address)
    same = maxvit_jax.load_pretrained("maxvit_base", folder)
    jax.tree.map(np.testing.assert_array_equal, variables, same[1])
    info = stored_info("maxvit_base", address, model)
    assert info["class_names"] == ["cat 0", "cat 1", "cat 2", "cat 3"]
    assert info["preprocessing"] == {
        **{"image_size": 64, "mean": (127.5,) * 3, "std": (63.75,) * 3},
        **{"eval_method": "resize", "eval_crop_fraction": 1.0, "interpolation": "bilinear"},
    }
    assert model_and_weights(None, address) == ("maxvit_base_tf_384.in1k", address)
    assert task_of_weights("maxvit_base", address).kind == "classification"
    assert maxvit_jax.load_pretrained(f"hf_hub:someone/cats@{COMMIT}")[0] == model


def test_folders_of_transformers(tmp_path):
    """TimmWrapper: timm's config within its own, and names that may begin with the wrapper's."""
    config = timm_config(architecture="maxvit_base_tf_224") | {
        "architectures": ["TimmWrapperForImageClassification"],
        "model_type": "timm_wrapper",
        "id2label": {"1": "dog", "0": "cat"},
        "num_classes": 2,
    }
    arrays = {f"timm_model.{name}": array for name, array in state(num_classes=2).items()}
    folder = write_folder(tmp_path / "wrapped", config, arrays)
    model, variables = maxvit_jax.load_pretrained(str(folder))
    assert model == maxvit_jax.create_model("maxvit_base", num_classes=2)
    expected = maxvit_jax.export_weights(model, variables, "timm")
    np.testing.assert_array_equal(
        expected["stem.conv1.weight"], arrays["timm_model.stem.conv1.weight"]
    )
    data, names = data_of_weights("maxvit_base", folder)
    assert names == ["cat", "dog"] and data.image_size == 64
    config["id2label"] = {"0": "LABEL_0", "1": "LABEL_1"}
    (folder / "config.json").write_text(json.dumps(config))
    assert data_of_weights("maxvit_base", folder)[1] is None


def test_folders_that_say_nothing_of_classes(tmp_path):
    folder = write_folder(tmp_path / "a", timm_config(), state(window_size=12))
    assert data_of_weights("maxvit_base", folder)[1] == list(imagenet_class_names(1000))
    folder = write_folder(tmp_path / "b", timm_config(classes=21843), state(window_size=12))
    assert data_of_weights("maxvit_base", folder)[1] == list(imagenet_class_names(21843))
    folder = write_folder(tmp_path / "c", timm_config(classes=999), state(window_size=12))
    assert data_of_weights("maxvit_base", folder)[1] is None


def test_what_is_not_in_the_cache_of_the_hub(tmp_path):
    message = problem(maxvit_jax.load_pretrained, "maxvit_tiny_tf_224.in1k")
    assert "https://huggingface.co/timm/maxvit_tiny_tf_224.in1k: no connection to it" in message
    assert "hf download timm/maxvit_tiny_tf_224.in1k" in message and "--weights" in message
    folder_on_hub(tmp_path, "someone/half", timm_config())
    message = problem(maxvit_jax.load_pretrained, "hf-hub:someone/half")
    assert "can't download" in message and "no connection" in message
    assert "expected hf-hub:owner/name" in problem(maxvit_jax.load_pretrained, "hf-hub:a/../b")
    assert "config.json" in problem(maxvit_jax.load_pretrained, "hf-hub:someone/none")
    folder_on_hub(tmp_path, "someone/other", timm_config("resnet18", "a1_in1k"), state())
    message = problem(maxvit_jax.load_pretrained, "hf-hub:someone/other")
    assert "does not say which model it is of" in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stem.conv1.weight": "../../model.safetensors"}, "no .safetensors file beside it"),
        ({"stem.conv1.weight": "/etc/passwd"}, "refused"),
        ({"stem.conv1.weight": 3}, "refused"),
        ({"stem.conv1.weight": "model-00001-of-00002.safetensors"}, "index.json denies"),
        ({"more": "model-00001-of-00002.safetensors"}, "names more, which its parts lack"),
        ({"more": "model-00009-of-00002.safetensors"}, "which is not there: get it too"),
    ],
)
def test_damaged_indices(tmp_path, change, said):
    folder = write_folder(tmp_path / "f", timm_config(), state(window_size=12), 2)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"] |= change
    path.write_text(json.dumps(index))
    assert said in problem(maxvit_jax.load_pretrained, "maxvit_base", folder)
    path.write_text('{"weight_map": []}')
    assert "is damaged" in problem(maxvit_jax.load_pretrained, "maxvit_base", folder)


def test_a_directory_of_ours_says_its_model(tmp_path):
    model = maxvit_jax.create_model("maxvit_base", num_classes=3)
    variables = make_variables(model, maxvit_jax.example_images(model))
    path = tmp_path / "own"
    maxvit_jax.save_pretrained(path, model, variables, task="quality")
    assert maxvit_jax.load_pretrained(str(path))[0] == model
    assert model_and_weights(None, str(path)) == ("maxvit_base", str(path))
    assert "was trained for quality" in problem(task_of_weights, "maxvit_base", str(path))
    message = problem(model_and_weights, None, str(tmp_path))
    assert "needs --model: it doesn't say which model it is of" in message
    assert "name a model with --model" in problem(model_and_weights, None, None)
