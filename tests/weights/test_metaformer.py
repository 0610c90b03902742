"""MetaFormer weights of both official releases and of timm, into the model and back."""

import functools
import re

import jax
import numpy as np
import pytest

import maxvit_jax
from common.errors import UserError
from common.layers.token_mixers import IdentityMixer
from common.weights.mapping import flatten
from maxvit_jax.models.metaformer import VARIANTS, MetaFormer
from tests.golden.cases import full_jit, load_case, logits_and_maps, write_arrays

OFFICIAL = (
    *("poolformer_micro_odd", "poolformer_micro_feat", "metaformer_micro_ppaa"),
    *("metaformer_micro_pppa", "metaformer_micro_ppff", "caformer_micro", "convformer_micro"),
    *("identityformer_micro", "randformer_micro", "poolformerv2_micro"),
)


@functools.cache
def golden(name):
    return load_case(name, "metaformer")


def assert_same(got, want):
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_array_equal(got[name], want[name], strict=True)


def problem(model, path, **overrides):
    with pytest.raises(UserError) as info:
        maxvit_jax.load_pretrained(model, path, **overrides)
    assert "\n" not in str(info.value)
    return str(info.value)


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """Writes a case, or arrays, once."""
    folder = tmp_path_factory.mktemp("weights")

    @functools.cache
    def write(name, fmt="npz"):
        return golden(name).write_checkpoint(folder / f"{name}.{fmt}", fmt)

    return write


@pytest.mark.parametrize("name", OFFICIAL)
@pytest.mark.parametrize("source", ["official", "timm"])
def test_round_trips_are_exact(name, source, write, tmp_path):
    case = golden(name)
    model = MetaFormer(**case.fields())
    model, variables, report = maxvit_jax.load_with_report(model, write(name))
    arrays = case.variables()
    assert report.used == len(arrays) and not report.left and not report.fresh
    assert_same(maxvit_jax.export_weights(model, variables, "official"), arrays)
    state = maxvit_jax.export_weights(model, variables, source)
    path = write_arrays(tmp_path / "w.safetensors", state, "safetensors")
    _, again = maxvit_jax.load_pretrained(model, path)
    assert_same(flatten(again), flatten(variables))


def of_transformers(state):
    """The release's arrays as PoolFormerForImageClassification calls them."""
    spelled = {}
    for name, array in state.items():
        stage = re.match(r"network\.(\d+)\.", name)
        number = int(stage[1]) if stage else 0  # blocks and what is between them, by turns
        for old, new in (
            (r"^patch_embed\.proj", "poolformer.encoder.patch_embeddings.0.projection"),
            (
                r"^network\.\d+\.proj",
                f"poolformer.encoder.patch_embeddings.{number // 2 + 1}.projection",
            ),
            (r"^network\.\d+\.", f"poolformer.encoder.block.{number // 2}."),
            (r"norm1\.", "before_norm."),
            (r"norm2\.", "after_norm."),
            (r"mlp\.fc", "output.conv"),
            (r"^head\.", "classifier."),
        ):
            name = re.sub(old, new, name)
        spelled[name] = array
    return spelled


def test_transformers_poolformer(write, tmp_path):
    case = golden("poolformer_micro")
    model = MetaFormer(**case.fields())
    _, variables = maxvit_jax.load_pretrained(model, write("poolformer_micro"))
    state = of_transformers(case.variables())
    assert_same(maxvit_jax.export_weights(model, variables, "transformers"), state)
    path = write_arrays(tmp_path / "w.safetensors", state, "safetensors")
    _, same, report = maxvit_jax.load_with_report(model, path)
    assert report.source == "transformers' names" and model.head_order == "official"
    assert_same(flatten(same), flatten(variables))
    start = "poolformer."
    bare = {n.removeprefix(start): a for n, a in state.items() if n.startswith(start)}
    path = write_arrays(tmp_path / "bare.safetensors", bare, "safetensors")
    _, _, report = maxvit_jax.load_with_report(model, path, num_classes=0)
    assert all("/head/norm/" in name for name in report.fresh)
    caformer = MetaFormer(**golden("caformer_micro").fields())
    assert "does not fit the model" in problem(caformer, path)


def test_pytorch_files_plain_and_wrapped(write, tmp_path):
    import torch

    case = golden("caformer_micro")
    model = MetaFormer(**case.fields())
    _, variables = maxvit_jax.load_pretrained(model, write("caformer_micro", "pth"))
    assert_same(maxvit_jax.export_weights(model, variables, "official"), case.variables())
    state = {name: torch.from_numpy(array) for name, array in case.variables().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "w.pth.tar")
    _, again = maxvit_jax.load_pretrained(model, tmp_path / "w.pth.tar")
    assert_same(flatten(again), flatten(variables))


@pytest.mark.parametrize("name", ["poolformer_s12", "caformer_s18"])
def test_timm_names_bring_timm_s_head(name, tmp_path):
    """The golden outputs are timm's: its own head order for PoolFormer."""
    case = golden(f"timm_{name}_224")
    path = case.write_checkpoint(tmp_path / "w.safetensors", "safetensors")
    model, variables = maxvit_jax.load_pretrained(name, path)
    assert model == maxvit_jax.create_model(name, head_order="timm")
    assert_same(maxvit_jax.export_weights(model, variables, "timm"), case.variables())
    official, _ = maxvit_jax.load_pretrained(name, path, head_order="official")
    assert official.head_order == "official"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["poolformer_s12", "caformer_s18"])
def test_full_size_golden_from_timm(name, tmp_path):
    case = golden(f"timm_{name}_224")
    path = case.write_checkpoint(tmp_path / "w.safetensors", "safetensors")
    model, variables = maxvit_jax.load_pretrained(name, path)

    @full_jit
    def run(variables, images):
        logits, maps = logits_and_maps(model, variables, images)
        official = model.clone(head_order="official")
        wrong = official.apply(variables, maps["stage_4"], False, method="classify")
        return {**maps, "logits": logits}, wrong

    found, logits = run(variables, case.images())
    errors = case.compare({key: found[key] for key in case.expected})
    assert len(errors) == 5 and max(errors.values()) < 1, errors
    wrong = case.compare({"logits": logits})["logits"]
    assert (wrong > 1) == (name == "poolformer_s12")


@pytest.mark.parametrize("name", [name for name in VARIANTS if "_s1" in name])
def test_every_array_has_one_name_in_every_source(name):
    model = maxvit_jax.create_model(name, depths=(1, 2, 1, 1))
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)
    shapes = flatten(jax.eval_shape(model.init, jax.random.key(0), images))
    for source, table in maxvit_jax.FAMILIES["metaformer"].weights.tables(model).items():
        names = [table.theirs(flat.partition("/")[2])[0] for flat in shapes]
        assert len({n for group in names for n in group}) == len(shapes), source
        for flat, (theirs,) in zip(shapes, names, strict=True):
            assert table.ours(theirs) == flat.partition("/")[2], source


def test_mixers_that_no_release_has_keep_their_names(tmp_path):
    mixers = ("grid_attention", "depthwise_conv", "block_attention", "spatial_fc")
    fields = {"widths": (32,) * 4, "depths": (1,) * 4, "window_size": 2, "image_size": 64}
    model = maxvit_jax.create_model("poolformerv2_s12", mixers=mixers, **fields)
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda a: rng.normal(size=a.shape).astype(np.float32), shapes)
    state = maxvit_jax.export_weights(model, variables, "official")
    assert "stages.0.0.token_mixer.attention/relative_bias/table" in state
    path = write_arrays(tmp_path / "w.npz", state, "npz")
    _, again = maxvit_jax.load_pretrained(model, path)
    assert_same(flatten(again), flatten(variables))


# ---------------------------------------------------------------- by name


@pytest.fixture
def named(monkeypatch):
    """A variant of the micro size: what a name adds to fields."""

    def named(case):
        fields = golden(case).fields()
        for field in ("num_classes", "feature_norms"):
            fields.pop(field)
        name = f"{case}_named"
        monkeypatch.setitem(maxvit_jax.FAMILIES["metaformer"].variants, name, fields)
        return name

    return named


def test_classes_follow_the_file(named, write):
    name = named("poolformer_micro")
    model, _ = maxvit_jax.load_pretrained(name, write("poolformer_micro"))
    assert (model.num_classes, model.head_order, model.feature_norms) == (10, "official", False)
    model, other, report = maxvit_jax.load_with_report(
        name, write("poolformer_micro"), num_classes=7
    )
    assert other["params"]["head"]["logits"]["kernel"].shape == (64, 7)
    assert set(report.fresh) == {"params/head/logits/kernel", "params/head/logits/bias"}
    _, bare, report = maxvit_jax.load_with_report(name, write("poolformer_micro"), num_classes=0)
    assert bare["params"]["head"].keys() == {"norm"} and len(report.left) == 2
    message = problem(maxvit_jax.create_model(name, num_classes=7), write("poolformer_micro"))
    assert "[10], not [7]" in message and "num_classes=7 as an argument" in message


def test_mlp_heads_start_their_last_layer_fresh(named, write):
    name = named("caformer_micro")
    _, _, report = maxvit_jax.load_with_report(name, write("caformer_micro"), num_classes=7)
    assert set(report.fresh) == {"params/head/logits/kernel", "params/head/logits/bias"}
    _, bare, report = maxvit_jax.load_with_report(name, write("caformer_micro"), num_classes=0)
    assert bare["params"]["head"].keys() == {"norm"} and len(report.left) == 6


def test_dense_files_bring_their_norms(named, write):
    model, variables = maxvit_jax.load_pretrained(
        named("poolformer_micro"), write("poolformer_micro_feat")
    )
    assert model.feature_norms and model.num_classes == 0
    assert "head" not in variables["params"] and "stage_4_norm" in variables["params"]


def test_a_classifier_becomes_a_backbone(named, write):
    """As in the official detectors: norms of features start fresh, the head stays behind."""
    _, variables, report = maxvit_jax.load_with_report(
        named("poolformer_micro"), write("poolformer_micro"), feature_norms=True, num_classes=0
    )
    norms = {f"params/stage_{s}_norm/{kind}" for s in (1, 2, 3, 4) for kind in ("scale", "bias")}
    assert set(report.fresh) == norms and len(report.left) == 4
    assert variables["params"]["stage_2_norm"]["scale"].tolist() == [1.0] * 24


def test_own_format_keeps_every_array_and_field(named, write, tmp_path):
    name = named("randformer_micro")
    model, variables = maxvit_jax.load_pretrained(name, write("randformer_micro"))
    assert variables["constants"].keys() == {
        "stage_3_block_0",
        "stage_3_block_1",
        "stage_4_block_0",
    }
    maxvit_jax.save_pretrained(tmp_path / "own", model, variables)
    again, same = maxvit_jax.load_pretrained(name, tmp_path / "own")
    assert again == model
    assert_same(flatten(same), flatten(variables))


def test_mlp_head_starts_fresh_where_the_file_has_none(named, write, tmp_path):
    name = named("caformer_micro")
    model, variables = maxvit_jax.load_pretrained(name, write("caformer_micro"), num_classes=0)
    maxvit_jax.save_pretrained(tmp_path / "own", model, variables)
    classifier, _, report = maxvit_jax.load_with_report(name, tmp_path / "own", num_classes=7)
    assert classifier.num_classes == 7
    assert {name.split("/")[2] for name in report.fresh} == {"inner", "inner_norm", "logits"}


# ---------------------------------------------------------------- mistakes


def test_mixers_of_your_own_are_not_saved(tmp_path):
    mixers = ("pool", functools.partial(IdentityMixer), "pool", "pool")
    model = maxvit_jax.create_model("poolformerv2_s12", mixers=mixers)
    with pytest.raises(UserError, match="mixers of this MetaFormer is code"):
        maxvit_jax.save_pretrained(tmp_path / "own", model, {})
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize(
    ("variant", "given"),
    [
        ("poolformer_s24", "poolformer_s12"),
        ("metaformer_ppaa_s12_224", "poolformer_s12"),
        ("metaformer_pppa_s12_224", "metaformer_ppaa_s12_224"),
        ("metaformer_ppff_s12_224", "caformer_s18"),
        ("caformer_s18", "poolformer_s12"),
        ("convformer_s18", "caformer_s18"),
        ("randformer_s12", "poolformerv2_s12"),
        ("poolformerv2_s12", "poolformer_s12"),
    ],
)
def test_another_variant_is_named(variant, given, tmp_path):
    model = maxvit_jax.create_model(variant)
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    zeros = jax.tree.map(lambda a: np.broadcast_to(np.float32(0), a.shape), shapes)
    state = maxvit_jax.export_weights(model, zeros, "official")
    small = {n: a if a.ndim == 1 else np.zeros((1,) * a.ndim, np.float32) for n, a in state.items()}
    path = write_arrays(tmp_path / "w.npz", small, "npz")
    assert problem(given, path).endswith(f"; this file is of {variant}")


@pytest.mark.parametrize("source", ["official", "timm"])
def test_arrays_missing_left_over_misshaped_or_not_finite(source, write, tmp_path):
    model = MetaFormer(**golden("poolformer_micro").fields())
    _, variables = maxvit_jax.load_pretrained(model, write("poolformer_micro"))
    good = maxvit_jax.export_weights(model, variables, source)
    first = {"official": "patch_embed.proj.weight", "timm": "stem.conv.weight"}[source]

    def attempt(change):
        arrays = {n: a.copy() for n, a in good.items()}
        change(arrays)
        return problem(model, write_arrays(tmp_path / "w.npz", arrays, "npz"))

    assert f"1 missing ({first})" in attempt(lambda a: a.pop(first))
    assert "1 unexpected (extra)" in attempt(lambda a: a.update(extra=np.zeros(1)))
    assert f"1 mis-shaped ({first} [1], not [" in attempt(lambda a: a.update({first: np.zeros(1)}))
    assert f"array {first} holds NaN" in attempt(lambda a: a[first].fill(np.inf))


def test_other_architectures_are_told_apart(tmp_path):
    arrays = {"layer1.0.conv1.weight": np.zeros(3), "fc.weight": np.zeros(3)}
    path = write_arrays(tmp_path / "x.npz", arrays, "npz")
    assert "of another architecture: its 2 arrays" in problem("poolformer_s12", path)
