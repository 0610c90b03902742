"""What images are compared by: the end of classifiers, FID's Inception network, pixels."""

import hashlib

import jax
import numpy as np
import pytest

import maxvit_jax
from common.errors import UserError
from common.weights.readers import WeightFile
from maxvit_jax import inception
from maxvit_jax.feature_networks import feature_network
from tests.golden.cases import full_jit
from tests.golden.weights import make_variables

CLASSIFIERS = {
    "maxvit_tiny": {"stem_widths": (4, 8), "widths": (32,), "depths": (1,), "window_size": 2},
    "caformer_s18": {"widths": (8, 8, 32, 32), "depths": (1, 1, 1, 1)},
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_features_are_what_the_last_layer_sees(name, tmp_path):
    model = maxvit_jax.create_model(name, num_classes=3, **CLASSIFIERS[name])
    variables = make_variables(model, jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32))
    info = {"image_size": 32, "mean": (127.5,) * 3, "std": (127.5,) * 3}
    maxvit_jax.save_pretrained(tmp_path / "own", model, variables, preprocessing=info)
    network = feature_network(str(tmp_path / "own"))
    assert network.has_logits and not network.is_inception
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    features, logits = network(images)
    last = variables["params"]["head"]["logits"]
    np.testing.assert_allclose(logits, features @ last["kernel"] + last["bias"], atol=1e-5)
    assert features.std(0).max() > 0
    assert network.description["sha256"] == network.sha256 != ""


def test_pixels_where_there_is_no_network():
    images = np.zeros((2, 16, 16, 3), np.uint8)
    images[0, :8] = 255
    features, logits = feature_network("")(images)
    assert features.shape == (2, 192) and logits is None
    assert features[0].reshape(8, 8, 3)[0].min() > 0.999 and not features[1].any()


def arrays_of_inception():
    """Arrays under PyTorch's names, all zero."""
    arrays = {"fc.weight": (1008, 2048), "fc.bias": (1008,)}
    for name, inputs, conv in inception._convolutions():
        arrays[f"{name}.conv.weight"] = (conv.features, inputs, *conv.kernel)
        for part in ("weight", "bias", "running_mean", "running_var"):
            arrays[f"{name}.bn.{part}"] = (conv.features,)
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in arrays.items()}


def test_inception_takes_its_own_weights_alone():
    arrays = arrays_of_inception()
    statistics = ("running_mean", "running_var")
    trained = [a.size for name, a in arrays.items() if not name.endswith(statistics)]
    # Inception v3's published 23,834,568 end in 1000 classes.
    assert sum(trained) == 23_834_568 + 8 * 2049
    weights = inception.inception_weights(WeightFile("fid.npz", "npz", arrays))
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), np.uint8)
    features, logits = jax.eval_shape(inception.inception, weights, images)
    assert features.shape == (2, 2048) and logits.shape == (2, 1008)
    thousand = {"fc.weight": arrays["fc.weight"][:1000], "fc.bias": arrays["fc.bias"][:1000]}
    for changes, message in (
        (thousand, r"fc.weight is \[1000, 2048\], not \[1008, 2048\]"),
        ({"AuxLogits.fc.bias": np.zeros(3, np.float32)}, r"it has 1 arrays more \(AuxLogits"),
    ):
        with pytest.raises(UserError, match=message):
            inception.inception_weights(WeightFile("fid.npz", "npz", arrays | changes))
    del arrays["Mixed_7c.branch_pool.bn.bias"]
    with pytest.raises(UserError, match=r"Mixed_7c.branch_pool.bn.bias is missing"):
        inception.inception_weights(WeightFile("fid.npz", "npz", arrays))


@pytest.mark.slow
def test_inception_is_that_of_keras_but_for_its_last_pooling(tmp_path, monkeypatch):
    """Whose average pools leave padding out, as TensorFlow's of 2015."""
    keras = pytest.importorskip("keras")
    reference = keras.applications.InceptionV3(weights=None, include_top=False, pooling="avg")
    layers = {
        kind: sorted((x for x in reference.layers if isinstance(x, kind)), key=_number)
        for kind in (keras.layers.Conv2D, keras.layers.BatchNormalization)
    }
    rng = np.random.default_rng(0)
    arrays = dict(arrays_of_inception())
    convolutions = zip(inception._convolutions(), *layers.values(), strict=True)
    for (name, inputs, conv), convolution, norm in convolutions:
        shape = (*conv.kernel, inputs, conv.features)
        kernel = rng.normal(0, np.sqrt(2 / np.prod(shape[:3])), shape).astype(np.float32)
        bias, mean = rng.normal(0, 0.1, (2, conv.features)).astype(np.float32)
        variance = rng.uniform(0.5, 1.5, conv.features).astype(np.float32)
        convolution.set_weights([kernel])
        norm.set_weights([bias, mean, variance])
        arrays[f"{name}.conv.weight"] = kernel.transpose(3, 2, 0, 1)
        values = np.ones_like(bias), bias, mean, variance
        for part, value in zip(
            ("weight", "bias", "running_mean", "running_var"), values, strict=True
        ):
            arrays[f"{name}.bn.{part}"] = value
    path = tmp_path / "pt_inception.npz"
    np.savez(path, **arrays)
    network = feature_network(str(path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert network.is_inception and network.description == {
        "name": "FID's Inception network, pt_inception.npz",
        "sha256": digest,
    }
    images = rng.integers(0, 256, (2, 299, 299, 3)).astype(np.uint8)
    expected = np.asarray(reference(images / np.float32(127.5) - 1, training=False))
    last = {"Mixed_7c": inception._block_e(inception._average)}
    maxima, _ = network(images)
    monkeypatch.setattr(inception, "BLOCKS", inception.BLOCKS | last)
    found, _ = full_jit(lambda *args: inception.inception(*args))(network.variables, images)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    assert np.abs(maxima - expected).max() > 0.1


def _number(layer):
    end = layer.name.rpartition("_")[2]
    return int(end) if end.isdigit() else 0
