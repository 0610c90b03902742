"""Sources of images with label maps: parts, faults, the pipeline."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.data.images import CorruptImage
from common.data.label_map_transform import TrainLabelMap
from common.data.label_maps import make_label_map_source
from common.data.pipeline import train_batches
from common.errors import UserError
from tests.data.label_map_folders import CLASSES, SIZE, folder, make, mask, names, photo


def test_adding_images_moves_none_to_another_part(tmp_path):
    folder(tmp_path, count=40)
    parts = {
        split: set(names(make(tmp_path, split=split, holdout=0.3))) for split in ("train", "val")
    }
    assert not parts["train"] & parts["val"]
    assert len(parts["train"] | parts["val"]) == 40
    assert 5 < len(parts["val"]) < 20
    folder(tmp_path, count=60)
    for split, before in parts.items():
        assert before < set(names(make(tmp_path, split=split, holdout=0.3)))


def test_both_parts_have_an_image(tmp_path):
    folder(tmp_path, count=2)
    for holdout in (0.001, 0.999):
        for split in ("train", "val"):
            assert len(make(tmp_path, split=split, holdout=holdout)) == 1
    with pytest.raises(UserError, match=r"holdout=1\.5"):
        make(tmp_path, holdout=1.5)
    for kind in ("images/1.jpg", "masks/1.png"):
        os.remove(tmp_path / kind)
    with pytest.raises(UserError, match=r"1 images can't be divided by holdout=0\.5; add some"):
        make(tmp_path, holdout=0.5)
    os.remove(tmp_path / "masks/0.png")
    with pytest.raises(UserError, match="image without label map"):
        make(tmp_path, holdout=0.5)


def test_parts_are_the_same_for_good(tmp_path):
    folder(tmp_path, count=10)
    held_out = names(make(tmp_path, split="val", holdout=0.3))
    assert held_out == ["images/4.jpg"]


def test_exif_turns_the_image_before_sizes_are_compared(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "classes.txt").write_text(CLASSES)
    photo(tmp_path / "images/a.jpg", (6, 8), exif=exif)
    mask(tmp_path / "masks/a.png", size=(8, 6))
    assert make(tmp_path)[0]["label_map"].shape == (8, 6)
    mask(tmp_path / "masks/a.png", size=(6, 8))
    with pytest.raises(UserError, match=r"a\.jpg is 6x8, .*a\.png is 8x6 \(EXIF turns the image"):
        make(tmp_path)


def test_through_the_pipeline(tmp_path):
    folder(tmp_path, count=4)
    mask(tmp_path / "masks/2.png", 9)
    transform = TrainLabelMap(size=8)
    source = make(tmp_path, max_corrupt=1)
    batches = train_batches(source, transform, batch_size=4, seed=0)
    batch = next(batches)
    batches.close()
    assert batch["label_map"].shape == (4, 8, 8)
    assert batch["corrupt"].sum() == 1 and sorted(batch["index"].tolist())[:2] != [2, 2]


# Faults that a check finds.


def broken(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 30])


FAULTS = {
    "no mask": (lambda r: os.remove(r / "masks/1.png"), r"image without label map.*images/1\.jpg"),
    "no image": (lambda r: os.remove(r / "images/1.jpg"), r"without image.*masks/1\.png"),
    "size": (lambda r: mask(r / "masks/1.png", size=(8, 6)), r"1\.jpg is 8x6, .*1\.png is 6x8;"),
    "stems": (lambda r: photo(r / "images/1.png"), r"images of one name.*1\.jpg and 1\.png"),
    "masks": (lambda r: mask(r / "masks/1.bmp"), r"label maps of one name.*1\.bmp and 1\.png"),
    "lossy": (
        lambda r: (r / "masks/1.png").rename(r / "masks/1.jpg"),
        r"PNG, BMP or TIFF, which keep every value': .*masks/1\.jpg;",
    ),
    "lossy inside": (
        lambda r: Image.new("L", SIZE[::-1]).save(r / "masks/1.png", format="JPEG"),
        r"masks/1\.png \(a JPEG may change values",
    ),
    "cut image": (lambda r: broken(r / "images/1.jpg"), r"unreadable file.*images/1\.jpg"),
    "cut mask": (lambda r: broken(r / "masks/1.png"), r"unreadable file.*masks/1\.png"),
    "text": (lambda r: (r / "masks/1.png").write_text("?"), r"1\.png \(not an image of a known"),
    "value": (
        lambda r: mask(r / "masks/1.png", np.eye(6, 8, dtype=np.uint8) * 9),
        r"masks/1\.png: value 9 at \(0, 0\), 12\.50% .*classes\.txt; valid: 0-2, 255",
    ),
    "deep value": (
        lambda r: mask(r / "masks/1.png", np.full(SIZE, 300, np.uint16)),
        r"value 300 at \(0, 0\)",
    ),
    "colours without table": (
        lambda r: photo(r / "masks/1.png"),
        r"masks/1\.png: has colours, but .*write 'name r g b' lines into classes\.txt",
    ),
    "float": (
        lambda r: Image.fromarray(np.zeros(SIZE, np.float32)).save(r / "masks/1.png", "TIFF"),
        "pixels of type F hold no classes",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(tmp_path, fault):
    change, message = FAULTS[fault]
    change(folder(tmp_path))
    with pytest.raises(UserError, match=message) as error:
        make(tmp_path)
    assert "\n" not in str(error.value) and str(error.value).count(" of kind ") == 1
    make(tmp_path, check=False)


def test_some_files_may_be_bad(tmp_path):
    folder(tmp_path)
    broken(tmp_path / "masks/1.png")
    mask(tmp_path / "masks/2.png", 9)
    with pytest.raises(UserError, match=r"1 of kind 'unreadable file'.*1 of kind .*its classes"):
        make(tmp_path, max_corrupt=1)
    source = make(tmp_path, max_corrupt=2)
    assert (source[0]["label_map"] == 0).all()
    for i in (1, 2):
        with pytest.raises(CorruptImage, match=rf"masks/{i}\.png"):
            source[i]


def test_black_and_white_masks_are_not_taken_for_ignored_ones(tmp_path):
    folder(tmp_path, "ground\ncell\n", values=np.eye(6, 8, dtype=np.uint8) * 255)
    with pytest.raises(UserError, match=r"0 and 255 alone.*'background 0 0 0' and 'thing 255"):
        make(tmp_path)
    (tmp_path / "classes.txt").write_text("ground 0 0 0\ncell 255 255 255\n")
    assert np.unique(make(tmp_path)[0]["label_map"]).tolist() == [0, 1]


def test_ground_and_ignored_pixels_alone_may_be_most_label_maps(tmp_path):
    folder(tmp_path, "ground\ncell\n", count=40, values=np.eye(6, 8, dtype=np.uint8) * 255)
    mask(tmp_path / "masks/39.png", 1)
    assert len(make(tmp_path)) == 40


def test_missing_things(tmp_path):
    with pytest.raises(UserError, match="'ad20k'; did you mean 'ade20k'"):
        make(tmp_path, "ad20k")
    with pytest.raises(UserError, match="classes='a' has no use"):
        make(tmp_path, "ade20k", classes="a")
    with pytest.raises(UserError, match="needs root"):
        make_label_map_source("voc")
    with pytest.raises(UserError, match=r"no folder '.*/none'"):
        make(tmp_path / "none")
    with pytest.raises(UserError, match=r"no classes\.txt in .*write one with a line per class"):
        make(tmp_path)
    (tmp_path / "classes.txt").write_text(CLASSES)
    (tmp_path / "labels").mkdir()
    with pytest.raises(UserError, match=r"no folder .*images; put photos into .*there are labels"):
        make(tmp_path)
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    with pytest.raises(UserError, match="no images in"):
        make(tmp_path)
    for kind, text in (("ade20k", "images/training"), ("cityscapes", "leftImg8bit/train")):
        with pytest.raises(UserError, match=f"no folder .*{text}"):
            make(tmp_path, kind)


def test_classes_in_another_file(tmp_path):
    folder(tmp_path)
    (tmp_path / "names.txt").write_text("one\ntwo\n")
    assert make(tmp_path, classes=str(tmp_path / "names.txt")).class_names == ["one", "two"]


def test_workers_import_no_jax():
    modules = "label_maps, label_map_transform, shapes, coins, detection, detection_transform"
    modules += ", copy_paste, drawn_objects, coco_label_maps, voc_annotations, yolo_annotations"
    code = (
        f"import sys; from common.data import {modules};"
        "print(sorted({'jax', 'tensorflow', 'skimage', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
