"""Square crops, folders without classes, and augmentation on device."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from PIL import Image

from common.data.diff_augment import diff_augment
from common.data.image_folder import ImageFolder
from common.data.images import CorruptImage
from common.data.square_crop import SquareCrop
from common.errors import UserError


def test_crop_is_square_and_central_without_a_generator():
    rows, columns = np.mgrid[:20, :40].astype(np.uint8)
    image = np.stack((rows, columns, columns), axis=-1)
    example = {"image": image, "name": "", "position": 3}
    crop = SquareCrop(size=10, crop_fraction=0.5, flip=True)
    found = crop(example)
    assert found["position"] == 3 and found["image"].dtype == np.uint8
    np.testing.assert_array_equal(found["image"], image[5:15, 15:25])
    corners, mirrored = set(), set()
    for seed in range(40):
        part = crop(example, np.random.default_rng(seed))["image"].astype(int)
        assert part.shape == (10, 10, 3)
        mirrored.add(bool(part[0, 0, 1] > part[0, 1, 1]))
        corners.add((part[0, 0, 0], part[0, :, 1].min()))
    assert mirrored == {False, True} and len(corners) > 20
    assert max(top for top, _ in corners) <= 10 and max(left for _, left in corners) <= 30


def test_folder_without_classes(tmp_path):
    (tmp_path / "inner").mkdir()
    for i in range(20):
        folder = tmp_path / "inner" if i % 2 else tmp_path
        Image.new("RGB", (4, 4), (i, 0, 0)).save(folder / f"{i:02}.png")
    (tmp_path / "notes.txt").write_text("no image")
    assert len(ImageFolder(tmp_path)) == 20
    parts = [ImageFolder(tmp_path, part, holdout=0.3) for part in ("train", "eval")]
    names = [{part.name(i) for i in range(len(part))} for part in parts]
    assert len(names[0] | names[1]) == 20 and not names[0] & names[1] and names[1]
    split = ImageFolder(tmp_path, "inner")
    assert len(split) == 10 and split[0]["image"] == (tmp_path / "inner/01.png").read_bytes()
    (tmp_path / "inner/01.png").unlink()
    with pytest.raises(CorruptImage, match="No such file"):
        split[0]
    with pytest.raises(UserError, match="no folder"):
        ImageFolder(tmp_path / "none")
    with pytest.raises(UserError, match=r"no split 'tests'.*did you mean 'test'"):
        ImageFolder(tmp_path, "tests")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has no images"):
        ImageFolder(tmp_path / "empty")


@pytest.fixture(scope="module")
def augmented():
    """200 white images varied by each kind, and the gradient of their sum."""
    images = jnp.full((200, 16, 16, 3), 0.5)

    @jax.jit
    def run(images):
        kinds = ("color", "translation", "cutout")
        return {kind: diff_augment(jax.random.key(0), images, (kind,)) for kind in kinds}

    gradient = jax.jit(jax.grad(lambda x: run(x)["cutout"].sum()))(images)
    return jax.device_get((run(images), gradient))


def test_images_are_moved_by_an_eighth_at_most(augmented):
    inside = augmented[0]["translation"][..., 0] != 0
    rows, columns = (inside.any(axis).sum(1) for axis in (2, 1))
    for lengths in (rows, columns):
        assert set(lengths.tolist()) == {14, 15, 16}
    first = inside.any(2).argmax(1)
    assert set(first.tolist()) == {0, 1, 2}


def test_a_box_of_half_a_side_is_cut_out(augmented):
    images, gradient = augmented
    cut = images["cutout"][..., 0] == 0
    assert cut.any((1, 2)).all()
    areas = cut.sum((1, 2))
    assert areas.max() == 64 and areas.min() >= 16  # boxes may stand over the border
    np.testing.assert_array_equal(gradient[..., 0], ~cut)


def test_colours_vary_between_images_and_not_within(augmented):
    found = augmented[0]["color"]
    np.testing.assert_allclose(found, np.broadcast_to(found[:, :1, :1], found.shape), atol=1e-6)
    shifts = found[:, 0, 0, 0] - 0.5
    assert -0.5 <= shifts.min() < -0.4 and 0.4 < shifts.max() <= 0.5
