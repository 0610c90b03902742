"""What people have instead of arrays: taken with its values, or refused in one line."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common.data.given_array import given_array
from common.data.image_files import read_photo
from common.errors import UserError

BYTES = np.random.RandomState(0).randint(0, 256, (5, 7, 3)).astype(np.uint8)


class Tensor:
    """As PyTorch's are where a gradient is asked for."""

    def __init__(self, error):
        self.error = error

    def __array__(self, *_, **__):
        raise self.error


@pytest.mark.parametrize(
    "given", [BYTES, BYTES.tolist(), jnp.asarray(BYTES), memoryview(BYTES), BYTES.astype(">u2")]
)
def test_taken(given):
    array = given_array(given, "")
    np.testing.assert_array_equal(array, BYTES)
    assert array.dtype.isnative and array.dtype in (np.uint8, np.uint16, np.int64)


def test_bfloat16():
    array = given_array(jnp.asarray(BYTES, jnp.bfloat16), "")
    assert array.dtype == np.float32
    np.testing.assert_allclose(array, BYTES, atol=1)


@pytest.mark.parametrize(
    "given, message",
    [
        (None, "a NoneType is no image: give that"),
        ([[1, 2], [3]], "a list is no image: give that"),
        (iter([BYTES]), "is no image: give that"),
        ({"image": BYTES}, "a dict is no image"),
        (np.array(["photo.jpg"]), "a ndarray is no image"),
        (np.zeros(3, "datetime64[s]"), "a ndarray is no image"),
        (Tensor(RuntimeError("Use tensor.detach() instead.\nmore")), r"\(Use .* instead.\): give"),
        (Tensor(TypeError()), r"a Tensor is no image \(TypeError\): give that"),
    ],
)
def test_refused(given, message):
    with pytest.raises(UserError, match=message):
        given_array(given, "give that")


def test_values_under_jit():
    with pytest.raises(UserError, match="Tracer is no image"):
        jax.eval_shape(lambda image: given_array(image, "give that"), BYTES)


@pytest.mark.parametrize(
    "photo, message",
    [
        ([[1, 2], [3]], "a list is no image: give uint8 .height, width, 3., or an image file"),
        (BYTES / 255, "type float64: uint8 .* or uint16"),
        (np.moveaxis(BYTES, -1, 0), r"shape \(3, 5, 7\) are not an image"),
        (BYTES[:0], "not an image"),
        (b"", "can't look at what is no image"),
    ],
)
def test_photos(photo, message):
    with pytest.raises(UserError, match=message):
        read_photo(photo, "look at")
