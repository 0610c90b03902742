"""Sizes of photos, without their pixels."""

import io

import numpy as np
import pytest
from PIL import ExifTags, Image

from maxim_jax.photo_size import photo_size
from maxim_jax.photos import read_photo


@pytest.mark.parametrize("suffix", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_size_is_that_of_the_photo_upright(tmp_path, suffix):
    path, image = tmp_path / "photo", Image.new("RGB", (30, 20))
    image.save(path, suffix)
    assert photo_size(path) == (20, 30)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    image.save(path, suffix, exif=exif)
    assert photo_size(path) == read_photo(path)[0].shape[:2] == (30, 20)


def test_a_beginning_is_enough_and_nothing_is_no_photo(tmp_path):
    stream = io.BytesIO()
    noise = np.random.RandomState(0).randint(0, 256, (90, 70, 3)).astype(np.uint8)
    Image.fromarray(noise).save(stream, "PNG")
    (tmp_path / "cut.png").write_bytes(stream.getvalue()[:100])
    assert photo_size(tmp_path / "cut.png") == (90, 70)
    (tmp_path / "text.png").write_text("no photo")
    assert photo_size(tmp_path / "text.png") is None
    assert photo_size(tmp_path / "absent.png") is None
