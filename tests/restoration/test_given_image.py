"""What people have for an image is taken, or the line says what is wanted."""

import io

import numpy as np
import pytest
from jax import numpy as jnp
from PIL import Image

from common.errors import UserError
from maxim_jax.given_image import unit_pixels
from maxim_jax.inference import Restorer

RNG = np.random.RandomState(0)
BYTES = RNG.randint(0, 256, (5, 7, 3)).astype(np.uint8)
UNIT = BYTES / np.float32(255)


def cut_off():
    stream = io.BytesIO()
    Image.fromarray(BYTES).save(stream, "PNG")
    return Image.open(io.BytesIO(stream.getvalue()[:-40]))


TURNED = Image.fromarray(BYTES)
TURNED.getexif()[0x0112] = 6


@pytest.mark.parametrize(
    "image, expected",
    [
        (UNIT, UNIT),
        (UNIT.astype(np.float64), UNIT),
        (UNIT.astype(np.float16), UNIT),
        (jnp.asarray(UNIT, jnp.bfloat16), UNIT),
        (UNIT.tolist(), UNIT),
        (BYTES, UNIT),
        (np.uint16(BYTES) * 257, UNIT),
        (UNIT[..., 0], UNIT[..., :1].repeat(3, 2)),
        (BYTES[..., :1], UNIT[..., :1].repeat(3, 2)),
        (Image.fromarray(BYTES), UNIT),
        (Image.fromarray(BYTES[..., 0]), UNIT[..., :1].repeat(3, 2)),
        (Image.fromarray(BYTES[..., 0] > 99), (BYTES[..., :1] > 99).repeat(3, 2)),
        (Image.fromarray(BYTES).quantize(256), UNIT),
        (TURNED, np.rot90(UNIT, -1)),
        (np.uint16(BYTES).astype(">u2") * 257, UNIT),
        (Image.fromarray(UNIT[..., 0]), UNIT[..., :1].repeat(3, 2)),
        (1.4 * UNIT - 0.2, 1.4 * UNIT - 0.2),
    ],
    ids=range(17),
)
def test_taken(image, expected):
    pixels = unit_pixels(image)
    assert pixels.dtype == np.float32
    atol = 0.01 if "float16" in str(getattr(image, "dtype", "")) else 1e-6
    np.testing.assert_allclose(pixels, expected, atol=atol)


@pytest.mark.parametrize(
    "image, message",
    [
        (UNIT[None], "of a batch one at a time"),
        (np.moveaxis(UNIT, -1, 0), "channels go last"),
        (np.dstack([UNIT, UNIT[..., :1]]), "without transparency"),
        (Image.fromarray(np.dstack([BYTES, BYTES[..., 0]])), r"transparency \(RGBA\)"),
        (255 * UNIT, r"floats from 1 to 254: they are of 0\.\.1"),
        (2 * UNIT - 1, r"floats from -0\.99"),
        (np.where(UNIT > 0.9, np.nan, UNIT), "not finite"),
        (BYTES.astype(np.int64), "type int64: give floats in 0..1, uint8 or uint16"),
        (UNIT > 0.5, "type bool"),
        (UNIT[:0], "has no pixels"),
        (UNIT[0, 0], r"shape \(3,\): give \[height, width, 3\]"),
        ("photo.jpg", "'photo.jpg' is no image: read files by maxim_jax.photos.read_photo"),
        (None, "a NoneType is no image"),
        ([[1, 2], [3]], "a list is no image"),
        (Image.fromarray(np.float32(255 * UNIT[..., 0])), r"they are of 0\.\.1"),
        (Image.fromarray(np.int32(BYTES[..., 0])), "type int32"),
        (cut_off(), "an image that can't be read: OSError: image file is truncated"),
        (UNIT * 1j, "type complex"),
        (BYTES.astype(object), "a ndarray is no image"),
    ],
    ids=range(19),
)
def test_refused(image, message):
    with pytest.raises(UserError, match=message):
        unit_pixels(image)


class Same:
    size_multiple = 64

    def apply(self, variables, images, train):
        return ((images,),)


def test_before_the_network():
    restorer = Restorer(Same(), {})
    np.testing.assert_allclose(restorer(BYTES), UNIT, atol=1e-6)
    with pytest.raises(UserError, match=r"they are of 0\.\.1"):
        restorer(255 * UNIT)
    assert Restorer(Same(), {}, tile=np.int64(64), overlap=np.int32(8))(BYTES).shape == BYTES.shape
    with pytest.raises(UserError, match=r"tile 64.0 and overlap 64 must be whole numbers"):
        Restorer(Same(), {}, tile=64.0)
