"""MAXIM: exact against the release, every parameter learns, sizes, options."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import maxim_jax
from common.errors import UserError
from common.weights.mapping import flatten
from launch.tools.plain_maxim import plain_maxim
from maxim_jax.models.maxim import MAXIM
from tests.golden.cases import golden_jit, load_maxim_case, named_outputs

MICRO = [
    "micro_1stage_64x64",
    "micro_2stage_64x128",
    "micro_asym_64x64",
    "micro_nocross_nobias_64x64",
]
TINY = {
    "features": 4,
    "depth": 2,
    "num_groups": 1,
    "num_bottleneck_blocks": 1,
    "num_supervision_scales": 2,
    "block_size_hr": (4, 4),
    "grid_size_hr": (4, 4),
    "block_size_lr": (2, 2),
    "high_res_stages": 1,
    "channels_reduction": 1,
}
# Parameters with one supervision scale: the release's own table. Those with three, as released, are
# in test_every_model.
COUNTS = {
    "maxim_s1": 6_108_515,
    "maxim_s2": 13_353_830,
    "maxim_s3": 20_599_145,
    "maxim_m1": 19_361_219,
    "maxim_m2": 40_839_110,
    "maxim_m3": 62_317_001,
}


def images(height=8, width=8, seed=0, batch=1):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.uniform(size=(batch, height, width, 3)), jnp.float32)


def random_variables(model):
    """Weights away from initial zeros and ones, which hide mistakes."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), images())
    rng = np.random.default_rng(0)

    def draw(path, shape):
        # The hidden layer of a channel attention could be off for all inputs.
        alive = "reduce" in jax.tree_util.keystr(path) and len(shape.shape) == 1
        return jnp.asarray(0.2 * rng.normal(size=shape.shape) + alive, jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


@functools.cache
def program(model, train):
    return jax.jit(lambda v, x, rngs: model.apply(v, x, train, rngs=rngs))


def run(model, variables, batch, train=False, rngs=None):
    return program(model, train)(variables, batch, rngs or {})


def text(model, variables):
    """The program before it is compiled: those of equal ones give the same bits."""
    return program(model, False).lower(variables, images(), {}).as_text()


def restored(case, tmp_path):
    """Outputs of one golden case, its weights read from a file as released."""
    path = case.write_checkpoint(tmp_path / "checkpoint.npz", "npz")
    fields = case.fields()
    if "variant" in case.config:
        name = f"maxim_{case.config['variant'].replace('-', '').lower()}"
        model, variables = maxim_jax.load_pretrained(name, path, **fields)
    else:
        model, variables = maxim_jax.load_pretrained(MAXIM(**fields), path)
    return named_outputs(golden_jit(case.name)(model.apply)(variables, case.images()))


@pytest.mark.parametrize("name", MICRO)
def test_restores_as_the_release(name, tmp_path):
    case = load_maxim_case(name)
    errors = case.compare(restored(case, tmp_path))
    assert errors.keys() == case.expected.keys()
    assert max(errors.values()) < 0.5, errors


@pytest.mark.slow
def test_largest_size_restores_as_the_release(tmp_path):
    case = load_maxim_case("S-3_128x128")
    errors = case.compare(restored(case, tmp_path))
    assert errors.keys() == case.expected.keys()
    assert max(errors.values()) < 0.5, errors


@pytest.mark.parametrize("name", ["micro_asym_64x64", "micro_nocross_nobias_64x64"])
def test_the_plain_formulation_restores_as_the_release(name):
    case = load_maxim_case(name)
    weights = {n.removeprefix("opt/target/"): a for n, a in case.variables().items()}
    fields = MAXIM(**case.fields()).shared()
    outputs = jax.jit(lambda w, x: plain_maxim(w, x, fields))(weights, case.images())
    errors = case.compare(named_outputs([scales[::-1] for scales in outputs]))
    assert max(errors.values()) < 0.5, errors


FEW = ("maxim_s2", "maxim_m1")  # tracing the largest takes long
MANY = [pytest.param(name, marks=pytest.mark.slow) for name in COUNTS if name not in FEW]


@pytest.mark.parametrize("name", [*FEW, *MANY])
def test_parameter_counts(name):
    model = maxim_jax.create_model(name, num_supervision_scales=1)
    assert maxim_jax.create_model(name).num_supervision_scales == 3
    shape = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), shape)
    assert sum(a.size for a in jax.tree.leaves(shapes)) == COUNTS[name]


def test_outputs_are_stages_of_scales_finest_first():
    model, shape = MAXIM(**TINY, num_stages=2), jax.ShapeDtypeStruct((2, 8, 16, 3), jnp.float32)
    outputs, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), shape)
    assert isinstance(outputs, tuple) and isinstance(outputs[0], tuple)
    assert [[x.shape for x in scales] for scales in outputs] == [
        [(2, 8, 16, 3), (2, 4, 8, 3)],
        [(2, 8, 16, 3), (2, 4, 8, 3)],
    ]


@functools.cache
def gradients(**fields):
    model = MAXIM(**TINY | fields)

    def loss(variables):
        outputs = model.apply(variables, images(), True)
        return sum((x**2).mean() for scales in outputs for x in scales)

    return flatten(jax.jit(jax.grad(loss))(random_variables(model)))


# All levels, all stages, and both at once, which compiles for long.
@pytest.mark.parametrize(
    "fields",
    [
        {"num_stages": 1},
        {"num_stages": 2, "depth": 1, "num_supervision_scales": 1},
        pytest.param({"num_stages": 2}, marks=pytest.mark.slow),
    ],
)
def test_every_parameter_learns(fields):
    for name, gradient in gradients(**fields).items():
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, name


def test_remat_changes_nothing_but_memory():
    plain, again = gradients(num_stages=1), gradients(num_stages=1, remat=True)
    for name, expected in plain.items():
        error = np.abs(again[name] - expected).max()
        assert error <= 1e-4 * np.abs(expected).max(), name


@pytest.fixture(scope="module")
def tiny_stage():
    model = MAXIM(**TINY, num_stages=1)
    return model, random_variables(model)


@pytest.fixture(scope="module")
def shallow():
    """Of one level."""
    model = MAXIM(**TINY | {"depth": 1, "num_supervision_scales": 1}, num_stages=1)
    return model, random_variables(model)


def test_bfloat16_is_close_and_float32_outside(shallow):
    model, variables = shallow
    exact = run(model, variables, images())[-1][0]
    half = run(model.clone(dtype=jnp.bfloat16), variables, images())[-1][0]
    assert half.dtype == jnp.float32
    assert 0 < np.abs(half - exact).max() < 0.1 * exact.std()


def test_dropout_reaches_the_output_in_training_only(shallow):
    plain, variables = shallow
    model = plain.clone(dropout_rate=0.5)
    assert text(model, variables) == text(plain, variables)
    still = run(plain, variables, images())[-1][0]
    trained = run(model, variables, images(), train=True, rngs={"dropout": jax.random.key(1)})
    assert np.abs(trained[-1][0] - still).max() > 1e-4


def test_low_resolution_grid_is_the_block(tiny_stage):
    """The release's quirk: `grid_size_lr` is never read, so that nothing else may stand there."""
    model, variables = tiny_stage
    other = model.clone(grid_size_lr=model.block_size_lr)
    assert text(other, variables) == text(model, variables)


@pytest.mark.parametrize(
    ("changes", "multiple"),
    [({}, 8), ({"block_size_lr": (4, 2)}, 16), ({"grid_size_hr": (3, 4)}, 24), ({"depth": 3}, 16)],
)
def test_size_multiple(changes, multiple):
    assert MAXIM(**TINY | changes).size_multiple == multiple
    assert maxim_jax.create_model("maxim_m3").size_multiple == 64


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 12, 8, 3), "height 12 is not a multiple of 8; nearest valid: 8 or 16"),
        ((1, 8, 3, 3), "width 3 is not a multiple of 8; nearest valid: 8"),
        ((8, 8, 3), r"must be \[batch, height, width, 3\]"),
        ((1, 8, 8, 1), r"must be \[batch, height, width, 3\]"),
    ],
)
def test_sizes_that_do_not_work(tiny_stage, shape, message):
    model, variables = tiny_stage
    with pytest.raises(UserError, match=message):
        model.apply(variables, jnp.zeros(shape))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_supervision_scales": 3}, "num_supervision_scales=3: 1 to 2"),
        ({"dropout_rate": 1.0}, "dropout_rate=1.0"),
        ({"high_res_stages": 3}, "high_res_stages=3"),
        ({"lrelu_slope": 0.1}, "lrelu_slope=0.1: the slope is 0.2"),
        ({"grid_size_lr": (4, 4)}, r"grid_size_lr=\(4, 4\) is never read, leave it \(8, 8\)"),
        ({"block_size_hr": (2,)}, r"block_size_hr=\(2,\): height and width"),
        ({"num_stages": 0}, "num_stages=0 must be positive"),
        ({"channels_reduction": 99}, "channels_reduction=99"),
    ],
)
def test_fields_that_do_not_work(changes, message):
    with pytest.raises(UserError, match=message):
        MAXIM(**TINY | changes).check()
    if changes.keys() & {"lrelu_slope", "grid_size_lr"}:  # modules made by hand may have any
        return
    with pytest.raises(UserError, match=message):
        jax.eval_shape(MAXIM(**TINY | changes).init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))


def test_fields_reach_every_part():
    """Each field is in what stages and levels are made from."""
    names = {f.name for f in dataclasses.fields(MAXIM)} - {"parent", "name"}
    assert MAXIM(**TINY).shared().keys() == names
