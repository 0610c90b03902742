"""Both formulations of RoIAlign against stored outputs of onnxruntime, and their gradients."""

from functools import partial

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common.errors import UserError
from common.kernels.roi_align import roi_align, roi_align_levels
from tests.golden.arrays import load_arrays
from tests.golden.weights import make_image

both = pytest.mark.parametrize("implementation", ["reference", "matmul"])
STATIC = ("stride", "output_size", "sampling_ratio", "aligned", "most_samples", "implementation")
pooled_at_once = jax.jit(roi_align, static_argnames=STATIC)
# On a map of 6 x 9 cells of 4 pixels: inside, over two borders, less than a cell, empty, outside.
BOXES = jnp.array(
    [[3, 2, 25, 19], [-9, -7, 20, 11], [9, 9, 10, 10], [5, 5, 5, 9], [60, 60, 90, 80.0]]
)


def random_map(seed, shape=(6, 9, 2)):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@both
@pytest.mark.parametrize("name", ["7_ratio2", "14_ratio2", "7_ratio1", "7_adaptive"])
def test_pooled_boxes_are_the_stored_ones(name, implementation):
    manifest, arrays = load_arrays(f"roi_align_{name}")
    features = make_image(**{k: manifest["features"][k] for k in ("shape", "seed")})

    @jax.jit
    def pool(features, boxes):
        return roi_align(
            features,
            boxes,
            1 / manifest["spatial_scale"],
            manifest["output_size"],
            sampling_ratio=manifest["sampling_ratio"],
            chunk=20,  # leaves a remainder
            implementation=implementation,
        )

    pooled = jax.vmap(pool, (0, None))(features, arrays["boxes"])
    own = pooled[arrays["batch_index"], np.arange(len(arrays["boxes"]))]
    np.testing.assert_allclose(own, arrays["pooled"], rtol=0, atol=manifest["tolerance_atol"])


@both
def test_boxes_are_pooled_from_the_map_of_their_level(implementation):
    manifest, arrays = load_arrays("roi_align_multilevel")
    seed, shapes = manifest["features"]["seed"], manifest["features"]["levels"]
    maps = [make_image(shape, seed * 10 + int(level)) for level, shape in shapes.items()]
    pool = partial(roi_align_levels, strides=(4, 8, 16, 32), output_size=7)
    pool = jax.jit(partial(pool, implementation=implementation))
    pooled = jax.vmap(pool, (0, None))(maps, arrays["boxes"])
    own = pooled[arrays["batch_index"], np.arange(len(arrays["boxes"]))]
    np.testing.assert_allclose(own, arrays["pooled"], rtol=0, atol=manifest["tolerance_atol"])


@pytest.mark.parametrize(
    "options",
    [
        {"sampling_ratio": 3, "chunk": 2},
        {"sampling_ratio": 0},
        {"sampling_ratio": 0, "most_samples": 2},
        {"sampling_ratio": 1, "aligned": False},
    ],
)
def test_formulations_and_their_gradients_agree(options):
    maps = [random_map(0, (12, 18, 2)), random_map(1)]
    boxes = jnp.concatenate([BOXES, 12 * BOXES[:3]])

    @partial(jax.jit, static_argnums=0)
    def derivatives(implementation, maps):
        pool = partial(roi_align_levels, strides=(32, 64), output_size=3, **options)
        y, vjp = jax.vjp(lambda maps: pool(maps, 8 * boxes, implementation=implementation), maps)
        return y, vjp(jnp.sin(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))

    jax.tree.map(
        lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5),
        derivatives("matmul", maps),
        derivatives("reference", maps),
    )


@both
def test_gradients_are_finite_differences(implementation):
    features, direction = random_map(0), random_map(1)

    @jax.jit
    def loss(features):
        pooled = roi_align(features, BOXES, 4, 3, chunk=2, implementation=implementation)
        return jnp.sin(pooled).sum()

    step = 1e-2
    slope = (loss(features + step * direction) - loss(features - step * direction)) / (2 * step)
    found = (jax.jit(jax.grad(loss))(features) * direction).sum()
    assert abs(found) > 0.1
    np.testing.assert_allclose(found, slope, rtol=1e-3)


def test_samples_by_hand():
    ramp = jnp.broadcast_to(jnp.arange(8.0)[:, None, None], (8, 8, 1))  # the row, everywhere
    box = jnp.array([[2.0, 2, 6, 6]])
    # Parts of two cells: cells centred as pixels are, or on the border.
    aligned = pooled_at_once(ramp, box, 1, 2, sampling_ratio=1)
    np.testing.assert_allclose(aligned[0, :, 0, 0], [2.5, 4.5])
    corners = pooled_at_once(ramp, box, 1, 2, sampling_ratio=1, aligned=False)
    np.testing.assert_allclose(corners[0, :, 0, 0], [3, 5])
    # The border goes on for a cell, and there is nothing behind.
    beyond = pooled_at_once(ramp + 1, jnp.array([[0.0, -3, 1, 1]]), 1, 4, sampling_ratio=1)
    np.testing.assert_allclose(beyond[0, :, 0, 0], [0, 0, 1, 1])


@both
def test_long_boxes_have_a_sample_per_cell(implementation):
    features = random_map(2, (4, 30, 1))
    box = jnp.array([[0.0, 1, 30, 3]])
    pool = partial(
        pooled_at_once, features, box, 1, 2, sampling_ratio=0, implementation=implementation
    )
    want = features[1:3].reshape(2, 2, 15, 1).mean(2)
    np.testing.assert_allclose(pool()[0], want, atol=1e-6)
    halves = features[1:3].reshape(2, 2, 5, 3, 1)[:, :, :, 1].mean(2)  # every third cell
    np.testing.assert_allclose(pool(most_samples=5)[0], halves, atol=1e-6)


@both
def test_boxes_have_no_gradient_and_bfloat16_is_computed_in_float32(implementation):
    features = random_map(3).astype(jnp.bfloat16)

    def pool(features, boxes):
        return pooled_at_once(features, boxes, 4, 3, implementation=implementation)

    pooled, vjp = jax.vjp(pool, features, BOXES)
    by_features, by_boxes = vjp(jnp.ones_like(pooled))
    np.testing.assert_array_equal(by_boxes, 0)
    exact = pool(features.astype(jnp.float32), BOXES)
    # Rounded once, at the end; sums in another order may round the other way.
    assert pooled.dtype == by_features.dtype == jnp.bfloat16
    np.testing.assert_allclose(pooled.astype(jnp.float32), exact, rtol=2**-8, atol=1e-6)
    want = jax.grad(lambda x: pool(x, BOXES).sum())(features.astype(jnp.float32))
    np.testing.assert_allclose(by_features.astype(jnp.float32), want, rtol=2**-8, atol=1e-6)


def test_gathers_on_cpu_but_for_a_sample_per_cell():
    def program(ratio):
        pool = partial(roi_align, stride=4, output_size=3, sampling_ratio=ratio)
        return jax.jit(pool).lower(random_map(0), BOXES).as_text()

    assert "dot_general" not in program(2) and "dot_general" in program(0)


def test_what_can_not_be_pooled_is_refused():
    features = random_map(0)
    with pytest.raises(UserError, match="implementation='einsum': choose from auto, matmul, ref"):
        roi_align(features, BOXES, 4, 3, implementation="einsum")
    with pytest.raises(UserError, match="sampling_ratio=-1: samples per side, or 0"):
        roi_align(features, BOXES, 4, 3, sampling_ratio=-1)
    with pytest.raises(UserError, match=r"strides \(4, 16\) of 2 maps: .* such as \(4, 8\)"):
        roi_align_levels([features, features], BOXES, (4, 16), 3)
    with pytest.raises(UserError, match=r"strides \(4,\) of 2 maps: .* such as \(4, 8\)"):
        roi_align_levels([features, features], BOXES, (4,), 3)
