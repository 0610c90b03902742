"""What MAXIM's stages give, against the model's own outputs; the pictures of it."""

import jax
import numpy as np
import pytest
from flax import linen as nn

from common.data.images import CorruptImage
from common.errors import UserError
from common.pictures import encoded
from maxim_jax.explain import stage_results
from maxim_jax.explained_photos import ExplainedPhotos, ExplainOptions
from maxim_jax.models.maxim import MAXIM
from tests.golden.weights import make_image, make_variables
from tests.tasks import pairs

FIELDS = {name: value for name, value in pairs.MODEL.items() if name != "name"} | {"num_stages": 2}
FIELDS = {n: tuple(v) if isinstance(v, list) else v for n, v in FIELDS.items()}


@pytest.fixture(scope="module")
def model():
    model = MAXIM(**FIELDS)
    return model, make_variables(model, np.zeros((1, 64, 64, 3)))


def test_results_are_those_of_the_forward_pass(model):
    module, variables = model
    images = make_image((1, 64, 64, 3), low=0.0)
    found = stage_results(module, variables, images)
    outputs = jax.jit(module.apply)(variables, images)
    assert len(found.restored) == 2 and len(found.attention) == 1
    for restored, scales in zip(found.restored, outputs, strict=True):
        np.testing.assert_allclose(restored, scales[0], rtol=1e-5, atol=1e-5)
    mask = variables["params"]["stage_1"]["supervised_attention_0"]["mask_conv"]
    layer = nn.Conv(FIELDS["features"], mask["kernel"].shape[:2])
    expected = nn.sigmoid(layer.apply({"params": mask}, found.restored[0]))
    np.testing.assert_allclose(found.attention[0], expected, rtol=1e-5, atol=1e-5)


def test_picture_of_a_photo(model):
    """Rows of both stages; the part in the middle alone; what is no photo is told."""
    explain = ExplainedPhotos(*model, ExplainOptions(crop=48))
    photo = np.full((50, 70, 3), 90, np.uint8)
    photo[1:49, 11:59] = 200  # the middle
    found = explain("a.png", encoded(photo))
    assert found.row["stages"] == 2
    assert float(found.row["rms_residual"]) > 0 and found.row["rms_residual"] in found.text
    shown = found.picture[2:258, 2:258]
    assert (shown == 200).all()
    assert found.picture.shape[0] > 2 * 256 and found.picture.shape[1] > 4 * 256
    with pytest.raises(CorruptImage):
        explain("b.png", b"no photo")
    with pytest.raises(UserError, match="--crop=-1 must not be negative"):
        ExplainOptions(crop=-1)
    with pytest.raises(UserError, match="photos have 3 channels; in_channels=1"):
        ExplainedPhotos(MAXIM(**FIELDS, in_channels=1), {}, ExplainOptions())
