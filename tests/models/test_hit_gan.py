"""GANs against outputs of HiT-GAN's release, exact sizes, and weights under its names."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common.errors import UserError
from common.weights.mapping import flatten, unflatten
from common.weights.writers import write_npz
from maxvit_jax import gans
from maxvit_jax.generation_loss import discriminator_loss, generator_loss, squared_gradients
from maxvit_jax.models.hit_gan import VARIANTS
from maxvit_jax.models.stylegan2_discriminator import minibatch_stddev
from tests.golden.cases import full_jit, load_module_case
from tests.golden.weights import make_variables

SMALL = {
    "widths": (32, 32),
    "depths": (1, 1),
    "heads": (2, 2),
    "block_sizes": (4, 0),
    "discriminator_widths": (8, 8, 8),
    "latent_dim": 6,
}


def shapes_of(model):
    latents = jax.ShapeDtypeStruct((1, model.latent_dim), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), latents)


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


def load(tmp_path, case, part, name, **fields):
    """The case's arrays through a file and the table, all of them used."""
    theirs = {f"{part}/{n}": a for n, a in case.variables().items()}
    write_npz(tmp_path / "weights.npz", theirs)
    return theirs, gans.load_with_report(name, tmp_path / "weights.npz", **fields)


@pytest.mark.slow
def test_generator_is_that_of_the_release(tmp_path):
    case, inputs = load_module_case("hit_generator_128")
    theirs, (model, variables, report) = load(tmp_path, case, "generator", "hit_gan_128")
    assert report.used == len(theirs) and not report.left and not report.fresh
    assert model.generator_only and model.latent_dim == 256
    assert count(variables["params"]) == case.manifest["trainable_parameters"] == 32_866_627
    image = full_jit(model.apply)(variables, inputs["latent"])
    assert case.compare({"image": image})["image"] < 1
    back = gans.export_weights(model, variables, "official")
    assert back.keys() == theirs.keys()
    assert all(np.array_equal(back[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    "name",
    [pytest.param("discriminator_64", marks=pytest.mark.slow), "discriminator_32_stddev"],
)
def test_discriminator_is_that_of_the_release(name):
    case, inputs = load_module_case(name)
    size, stddev = case.config["input_size"], case.config["use_batch_stddev"]
    model = gans.create_model(f"hit_gan_{size}", minibatch_stddev=stddev)
    shapes = {n: a for n, a in flatten(shapes_of(model)).items() if "/discriminator/" in n}
    theirs, arrays = case.variables(), {}
    table = gans.FAMILIES["gan"].weights.OFFICIAL
    for flat, shape in shapes.items():
        (key,), layout = table.theirs(flat.partition("/")[2])
        arrays[flat] = layout.to_ours([theirs.pop(key.removeprefix("discriminator/"))], shape)
        assert arrays[flat].shape == shape.shape
    assert not theirs and count(shapes) == case.manifest["trainable_parameters"]
    params = unflatten(arrays)["params"]

    @full_jit
    def run(params, images):
        def judge(images):
            return model.apply({"params": params}, images, method="judge")

        logits, (penalty, gradient) = judge(images), squared_gradients(judge, images)
        fake = logits[::-1] - 0.3
        losses = {
            f"{kind}_{loss}": of(*args, loss=loss.replace("-", "_"))
            for loss in ("non-saturating", "hinge")
            for kind, of, args in (
                ("generator", generator_loss, (fake,)),
                ("discriminator", discriminator_loss, (logits, fake)),
            )
        }
        return {"logits": logits[:, None], "input_gradient": gradient}, penalty, losses

    outputs, penalty, losses = run(params, inputs["image"])
    assert max(case.compare(outputs).values()) < 1
    np.testing.assert_allclose(10 * penalty, case.manifest["r1_penalty_cost_10"], rtol=1e-4)
    expected = case.manifest["losses_of_real_logits_and_fake_equal_reversed_minus_0_3"]
    assert losses.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(losses[key], value, rtol=1e-4, atol=1e-5)


def test_sizes():
    model = gans.create_model("hit_gan_128")
    params = shapes_of(model)["params"]
    assert count(params["generator"]) == 32_866_627
    assert count(params["discriminator"]) == 23_880_833
    params = shapes_of(gans.create_model("maxvit_gan_128", generator_only=True))["params"]
    assert params.keys() == {"generator"}
    assert count(params) == 18_256_219 and abs(count(params) / 18.6e6 - 1) < 0.03


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_makes_images_of_its_size(name):
    model = gans.create_model(name)
    model = model.clone(depths=(1,) * len(model.depths))
    latents = jax.ShapeDtypeStruct((2, model.latent_dim), jnp.float32)

    def run(rng):
        variables = model.init(rng, jnp.zeros(latents.shape))
        images, updates = model.apply(
            variables, jnp.zeros(latents.shape), train=True, mutable=["batch_stats"]
        )
        assert jax.tree.map(jnp.shape, updates["batch_stats"]) == jax.tree.map(
            jnp.shape, variables["batch_stats"]
        )
        return images, model.apply(variables, images, method="judge")

    images, logits = jax.eval_shape(run, jax.random.key(0))
    side = int(name.rpartition("_")[2])
    assert images.shape == (2, side, side, 3) and logits.shape == (2,)


@pytest.mark.parametrize("mixer", ["hit", "maxvit"])
def test_saved_alone(mixer, tmp_path):
    model = gans.create_model(f"{mixer}_gan_32", **SMALL, in_channels=1)
    variables = make_variables(model, jax.ShapeDtypeStruct((1, 6), jnp.float32))
    gans.save_pretrained(tmp_path / "whole", model, variables)
    again, loaded = gans.load_pretrained(f"{mixer}_gan_32", tmp_path / "whole")
    assert again == model
    jax.tree.map(np.testing.assert_array_equal, loaded, jax.tree.map(np.asarray, variables))
    alone, loaded = gans.load_pretrained(f"{mixer}_gan_32", tmp_path / "whole", generator_only=True)
    assert loaded["params"].keys() == {"generator"} and alone.generator_only
    gans.save_pretrained(tmp_path / "alone", alone, loaded)
    # Training goes on from it with a fresh discriminator.
    _, _, report = gans.load_with_report(model, tmp_path / "alone")
    assert report.fresh and all("/discriminator/" in name for name in report.fresh)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depths": (1,)}, "depths: 1 for 2 stages"),
        ({"block_sizes": (3, 0)}, "blocks of 3 don't divide a map of 8x8"),
        ({"block_sizes": (4, 4)}, "the last stage makes the image"),
        ({"heads": (3, 2)}, "32 channels don't divide by 3 heads; nearest valid: 30 or 33"),
        ({"discriminator_widths": (8, 8)}, "images of 16 pixels have 3 maps down to 4x4"),
        ({"mixer": "maxvit", "widths": (48, 32)}, "nearest valid: 32 or 64"),
        ({"latent_dim": 0}, "latent_dim=0 must be positive"),
    ],
)
def test_mistakes(fields, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        gans.create_model("hit_gan_32", **(SMALL | fields))


def test_batch_that_has_no_groups():
    with pytest.raises(UserError, match=r"batches of 6 .* groups of 4 .* nearest valid: 4 or 8"):
        minibatch_stddev(jnp.zeros((6, 4, 4, 1)))
