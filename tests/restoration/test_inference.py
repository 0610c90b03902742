"""Official goldens, and stand-ins for a model that make a mistake visible at any pixel."""

import json

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import maxim_jax
from common.errors import UserError
from common.weights.mapping import flatten, unflatten
from common.whole_images import PaddedSizes
from maxim_jax import inference
from maxim_jax.inference import Restorer, _tiling, pad_image
from maxim_jax.models.maxim import MAXIM
from tests.golden.cases import FOLDER, write_arrays
from tests.golden.weights import make_image, make_weight

RNG = np.random.RandomState(0)
RED = np.float32([1, 0, 0])
PIPELINE = json.loads((FOLDER / "maxim" / "pipeline.json").read_text())


class StandIn:
    """Adds one to red, and blurs `reach` pixels to the right if asked; notes what is compiled."""

    def __init__(self, reach=0, size_multiple=8):
        self.reach, self.size_multiple, self.compiled = reach, size_multiple, []

    def apply(self, variables, images, train):
        assert not train
        self.compiled.append(images.shape)
        blurred = sum(jnp.roll(images, i, axis=2) for i in range(self.reach + 1))
        restored = blurred / (self.reach + 1) + jnp.array([1.0, 0.0, 0.0])
        return ((jnp.zeros((1, 2, 2, 3)),), (restored, restored[:, ::2, ::2]))


def stand_in(reach=0, **options):
    model = StandIn(reach)
    return model.compiled, Restorer(model, {}, **options)


def noise(height, width):
    return RNG.rand(height, width, 3).astype(np.float32)


# ---------------------------------------------------------------- the official pipeline


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    """The pipeline's tiny model with its weights, and the stored results."""
    model = MAXIM(
        features=8,
        depth=2,
        num_stages=1,
        num_groups=1,
        num_bottleneck_blocks=1,
        num_supervision_scales=2,
    )
    shapes = jax.eval_shape(model.init, jax.random.key(0), maxim_jax.example_images(model))
    zeros = unflatten({n: np.zeros(s.shape, s.dtype) for n, s in flatten(shapes).items()})
    arrays = {
        name: make_weight(name, array.shape, 0)
        for name, array in maxim_jax.export_weights(model, zeros, "official").items()
    }
    for name in arrays:
        if arrays[name].ndim >= 2:
            arrays[name] *= np.float32(PIPELINE["kernel_gain"])
    gain = np.float32(PIPELINE["output_conv_gain"])
    arrays["opt/target/stage_0_output_conv_0/kernel"] *= gain
    path = write_arrays(tmp_path_factory.mktemp("golden") / "tiny.npz", arrays, "npz")
    with np.load(FOLDER / "maxim" / "pipeline.npz") as file:
        stored = dict(file)
    return *maxim_jax.load_pretrained(model, path), stored


@pytest.mark.parametrize("size", ["101x77", "64x128", "30x20"])
@pytest.mark.parametrize("mode, ensemble", [("single", 1), ("ens8", 8)])
def test_official_pipeline(golden, size, mode, ensemble):
    """Where upstream crashes (the ensemble of a non-square image), the views are turned alike."""
    model, variables, stored = golden
    height, width = map(int, size.split("x"))
    image = np.rint(255 * make_image((1, height, width, 3), 3, 0.0, 1.0)[0]) / np.float32(255)
    padded, _ = pad_image(image, PaddedSizes(64))
    np.testing.assert_array_equal(np.rint(255 * padded)[::3, ::3], stored[f"{size}/padded_u8"])
    assert padded.shape == tuple(PIPELINE["cases"][f"{size}/padding"]["padded"])
    restorer = Restorer(model, variables, ensemble=ensemble)
    restored = restorer(image)
    assert restored.dtype == np.float32
    if f"{size}/{mode}/pred" in stored:
        np.testing.assert_allclose(restored, stored[f"{size}/{mode}/pred"], atol=5e-6)
    else:
        turned = restorer(np.rot90(image[:, ::-1]))
        np.testing.assert_allclose(np.rot90(turned, -1)[:, ::-1], restored, atol=5e-6)


def test_ensemble_of_four(golden):
    """The mean over rotations: equivariant under them, not under mirroring."""
    model, variables, _ = golden
    image, restorer = noise(64, 64), Restorer(model, variables, ensemble=4)
    restored, single = restorer(image), Restorer(model, variables)
    views = [np.rot90(single(np.rot90(image, k)), -k) for k in range(4)]
    np.testing.assert_allclose(restored, np.mean(views, axis=0), atol=5e-6)
    assert np.abs(restorer(image[:, ::-1])[:, ::-1] - restored).max() > 1e-3


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize("height, width", [(1, 1), (1, 70), (2, 3), (63, 65), (64, 64), (129, 33)])
def test_any_size(height, width):
    """Every pixel comes back to where it was; compiled for multiples of 64 only."""
    image = noise(height, width)
    compiled, restorer = stand_in()
    np.testing.assert_allclose(restorer(image), image + RED, atol=1e-6)
    assert compiled == [(1, -(-height // 64) * 64, -(-width // 64) * 64, 3)]


def test_one_compilation_per_padded_size():
    compiled, restorer = stand_in()
    for height, width in ((10, 20), (64, 1), (64, 65), (30, 128), (64, 63)):
        restorer(noise(height, width))
    assert compiled == [(1, 64, 64, 3), (1, 64, 128, 3)]


# ---------------------------------------------------------------- tiles


@pytest.mark.parametrize("height, width", [(100, 50), (129, 400), (640, 65), (333, 257)])
@pytest.mark.parametrize("tile, overlap", [(64, 0), (64, 16), (64, 32), (128, 64), (192, 7)])
@pytest.mark.parametrize("ensemble", [1, 8])
def test_tiles_give_the_image_back(height, width, tile, overlap, ensemble):
    image = noise(height, width)
    _, restorer = stand_in(tile=tile, overlap=overlap, ensemble=ensemble)
    np.testing.assert_allclose(restorer(image), image + RED, atol=2e-6)


def test_the_device_sees_tiles_only():
    """However large and narrow the images are."""
    compiled, restorer = stand_in(tile=128)
    for height, width in ((2000, 1500), (700, 300), (129, 4000)):
        restorer(noise(height, width))
    assert compiled == [(1, 128, 128, 3)]
    seen = []
    restorer(noise(60, 400), lambda *tile: seen.append(tile))
    assert seen == [(i, 6) for i in range(1, 7)]
    restorer(noise(128, 100))
    assert compiled[1:] == [(1, 64, 128, 3)]  # 128x128 is compiled already


def test_an_image_of_one_tile_is_restored_whole():
    image = noise(100, 128)
    whole, in_one = (stand_in(reach=9, tile=tile)[1](image) for tile in (None, 128))
    np.testing.assert_array_equal(whole, in_one)


@pytest.mark.parametrize("tile", [64, 128, 192])
@pytest.mark.parametrize("overlap", [0, 1, 17, 32])
def test_tiling(tile, overlap):
    """Weights add up to one, tiles overlap by what was asked for, and seams are smooth."""
    for side in range(64, 1024, 64):
        starts, weights = _tiling(side, tile, overlap)
        length = min(side, tile)
        assert starts[0] == 0 and starts[-1] == side - length and weights.shape[1] == length
        assert (np.diff(starts) <= length - overlap).all()
        total = np.zeros(side)
        for start, weight in zip(starts, weights, strict=True):
            total[start : start + length] += weight
        np.testing.assert_allclose(total, 1, atol=1e-6)
        assert weights.min() >= 0
        if overlap == 32:
            edges = [*weights[1:, 0], *weights[:-1, -1]]  # where a tile begins in another's midst
            assert max(edges, default=0) < 0.01 and np.abs(np.diff(weights)).max() < 0.06
        if len(starts) > 1:  # no more tiles than needed
            assert (len(starts) - 2) * (length - overlap) + length < side


def test_tiles_hide_what_borders_do():
    """A model that sees 4 pixels aside: wrong at borders of a tile, right after blending."""
    image = noise(64, 640)
    expected = stand_in(reach=4)[1](image)
    far = np.s_[:, 8:-8]
    errors = [
        np.abs(stand_in(reach=4, tile=128, overlap=overlap)[1](image) - expected)[far].max()
        for overlap in (0, 64)
    ]
    assert errors[0] > 0.1 and errors[1] < 0.01


# ---------------------------------------------------------------- sizes that are known before


SIZES = [
    (300, 451),
    (512, 500),
    (400, 600),
    (427, 640),
    (320, 440),
    (480, 360),
    (390, 590),
    (900, 200),
]


@pytest.mark.parametrize("tile", [None, 128, 448])
def test_photos_of_expected_sizes_share_programs(tile):
    """Every pixel comes back to where it was; sides at most double."""
    compiled, restorer = stand_in(tile=tile)
    restorer.expect(SIZES)
    restorer.compile_ahead([*SIZES, (40, 70)])
    for height, width in [*SIZES, (40, 70)]:
        image = noise(height, width)
        np.testing.assert_allclose(restorer(image), image + RED, atol=2e-6)
    assert compiled[-1] == (1, 64, 128, 3)  # of which it knew nothing
    assert len(compiled) == {None: 3, 128: 2, 448: 2}[tile]
    assert len({(-(-h // 64), -(-w // 64)) for h, w in SIZES}) == 6


def test_expecting_one_size_changes_nothing(golden):
    model, variables, _ = golden
    image, restorer = noise(30, 70), Restorer(model, variables)
    expected = restorer(image)
    restorer.expect([(30, 70)] * 9)
    np.testing.assert_array_equal(restorer(image), expected)


def test_tiles_where_memory_does_not_suffice(monkeypatch, capsys):
    """Whole while it does; told once, and not compiled again to see that more is too much."""
    photos = [noise(600, 30), noise(600, 300), noise(500, 100), noise(1200, 500), noise(1300, 500)]
    memory = {None: 2**40, "little": 2**21}
    for limit, seen in (
        (None, [(640, 64), (640, 320), (512, 128), (1216, 512), (1344, 512)]),
        ("little", [(640, 64), (640, 320), (512, 320), (512, 128), (512, 512)]),
    ):
        monkeypatch.setattr(inference, "device_memory", lambda _, limit=limit: memory[limit])
        compiled, restorer = stand_in(tile="auto")
        for photo in photos:
            np.testing.assert_allclose(restorer(photo), photo + RED, atol=2e-6)
        assert [shape[1:3] for shape in compiled] == seen
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("320x640 pixels at once take 0.00") and line.endswith("in tiles of 512")


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    "options, message",
    [
        ({"tile": 500}, "tile 500 is no multiple of 64; nearest valid: 448 or 512"),
        ({"tile": 1}, "nearest valid: 64"),
        ({"tile": 0}, "nearest valid: 64"),
        ({"tile": -64}, "nearest valid: 64"),
        ({"tile": 128, "overlap": 65}, "overlap 65 is not between 0 and half a tile, 64"),
        ({"tile": 128, "overlap": -1}, "overlap -1"),
        ({"ensemble": 2}, "ensemble 2: 1, 4 or 8 views"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(UserError, match=message):
        stand_in(**options)


def test_a_tile_fits_the_model_too():
    with pytest.raises(
        UserError, match="tile 512 is no multiple of 192; nearest valid: 384 or 576"
    ):
        Restorer(StandIn(size_multiple=96), {}, tile=512)


class Greedy:
    """Wants terabytes."""

    size_multiple = 64

    def apply(self, variables, images, train):
        much = jnp.sort(images.reshape(-1)[:, None] + jnp.arange(2.0**32), axis=0)
        return ((images + much.max(),),)


@pytest.mark.parametrize("options, advice", [({}, "such as 512"), ({"tile": 128}, "smaller than")])
def test_out_of_memory(options, advice):
    with pytest.raises(UserError, match=f"64x64 pixels at once need more memory.*{advice}"):
        Restorer(Greedy(), {}, **options)(noise(10, 10))


def test_values_that_are_not_finite():
    model = StandIn()
    apply = model.apply
    model.apply = lambda *args, **kwargs: [[apply(*args, **kwargs)[-1][0] * jnp.nan]]
    with pytest.raises(UserError, match="the result is not finite"):
        Restorer(model, {})(noise(5, 6))
