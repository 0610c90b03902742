import os
import pickle
import re
import struct
import subprocess
import sys
from pathlib import Path
from zlib import compress, crc32

import numpy as np
import pytest
from PIL import Image

from common.data.class_lists import (
    ade20k_classes,
    cityscapes_classes,
    distinct_colours,
    read_class_list,
    voc_classes,
    voc_colours,
)
from common.data.images import CorruptImage
from common.data.label_map_transform import TrainLabelMap
from common.data.label_maps import make_label_map_source
from common.data.pipeline import train_batches
from common.errors import UserError

RNG = np.random.RandomState(0)
SIZE = (6, 8)
CLASSES = "sky\nsea\nland\n"
COLOURS = "sky 0 0 200\nsea #00c864\nvoid 255 255 255\nland 10 20 30\n"
LABELMAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:250,50,83::\ndog:61,61,245::\n"
EXPECTED = np.array([[0, 1], [2, 255]], np.uint8)


def photo(path: Path, size: tuple[int, int] = SIZE, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.randint(0, 256, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def mask(path: Path, values=0, size: tuple[int, int] = SIZE, palette=None) -> Path:
    """A gray label map, or one of indices into `palette`; a number fills it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.asarray(values)
    values = np.full(size, values, np.uint8) if values.ndim == 0 else values
    image = Image.fromarray(values)
    if palette is not None:
        image.putpalette(np.asarray(palette, np.uint8).tobytes())
    image.save(path)
    return path


def folder(root: Path, classes: str = CLASSES, count: int = 3, values=0) -> Path:
    (root / "classes.txt").write_text(classes)
    for i in range(count):
        photo(root / f"images/{i}.jpg")
        mask(root / f"masks/{i}.png", values)
    return root


def small(root: Path, image: Image.Image, classes: str | None = CLASSES, suffix=".png") -> Path:
    """A folder of one photo with the given label map."""
    photo(root / "images/a.png", image.size[::-1])
    (root / "masks").mkdir()
    image.save(root / f"masks/a{suffix}")
    if classes is not None:
        (root / "classes.txt").write_text(classes)
    return root


def make(root: Path, kind: str = "folder", **fields):
    return make_label_map_source(kind, root=str(root), **fields)


def names(source) -> list[str]:
    assert [source[i]["name"] for i in range(len(source))] == [
        source.name(i) for i in range(len(source))
    ]
    return [source.name(i) for i in range(len(source))]


# Layouts.


@pytest.mark.parametrize("above", ["", "ADEChallengeData2016"])
def test_ade20k(tmp_path, above):
    root = tmp_path / above
    values = np.array([[0, 1], [2, 150]], np.uint8)
    for split, name in (("training", "ADE_train_1"), ("validation", "ADE_val_1")):
        photo(root / f"images/{split}/{name}.jpg", (2, 2))
        mask(root / f"annotations/{split}/{name}.png", values)
    source = make(tmp_path, "ade20k")
    assert names(source) == ["images/training/ADE_train_1.jpg"]
    assert source[0]["label_map"].tolist() == [[255, 0], [1, 149]]
    assert source[0]["label_map"].dtype == np.uint8
    assert source[0]["image"] == (root / source.name(0)).read_bytes()
    for split in ("val", "validation", "eval"):
        assert names(make(tmp_path, "ade20k", split=split)) == ["images/validation/ADE_val_1.jpg"]
    with pytest.raises(UserError, match=r"no split 'vall' in .*did you mean 'val'"):
        make(tmp_path, "ade20k", split="vall")
    mask(root / "annotations/training/ADE_train_1.png", values + np.uint8(1))
    with pytest.raises(UserError, match=r"value 151 at \(1, 1\), 25.00% .* valid: 0-150, 255"):
        make(tmp_path, "ade20k")


def test_ade20k_names_come_from_its_own_file(tmp_path):
    photo(tmp_path / "images/training/1.jpg")
    mask(tmp_path / "annotations/training/1.png")
    known = make(tmp_path, "ade20k").class_names
    assert known[:2] == ["wall", "building"] and known[-1] == "flag"
    rows = [f"{i}\t0.1\t5\t6\tname {i}, other name" for i in range(1, 151)]
    (tmp_path / "objectInfo150.txt").write_text("\n".join(["Idx\tRatio\tTrain\tVal\tName", *rows]))
    assert make(tmp_path, "ade20k").class_names == [f"name {i}" for i in range(1, 151)]


def voc(root: Path, label_maps: str = "SegmentationClass", values=0, stems=("2007_1", "2007_2")):
    for stem in stems:
        photo(root / f"JPEGImages/{stem}.jpg")
        mask(root / f"{label_maps}/{stem}.png", values, palette=voc_colours(256))


def voc_list(root: Path, name: str, text: str) -> None:
    (root / "ImageSets/Segmentation").mkdir(parents=True, exist_ok=True)
    (root / f"ImageSets/Segmentation/{name}.txt").write_text(text)


@pytest.mark.parametrize("inside", ["", "VOCdevkit/VOC2012"])
def test_voc(tmp_path, inside):
    root = tmp_path / inside
    voc(root, values=np.array([[0, 20], [255, 15]], np.uint8).repeat(3, 0).repeat(4, 1))
    photo(root / "JPEGImages/unlabelled.jpg")
    voc_list(root, "train", "2007_1\n")
    voc_list(root, "val", "2007_2\n\n")
    voc_list(root, "trainval", "2007_1\n2007_2\n")
    source = make(tmp_path, "voc")
    assert names(source) == ["JPEGImages/2007_1.jpg"]
    assert source[0]["label_map"][::3, ::4].tolist() == [[0, 20], [255, 15]]
    assert source.class_names[20] == "tvmonitor" and source.palette[15].tolist() == [192, 128, 128]
    assert names(make(tmp_path, "voc", split="eval")) == ["JPEGImages/2007_2.jpg"]
    assert len(make(tmp_path, "voc", split="trainval")) == 2
    with pytest.raises(UserError, match=r"no list trainvall\.txt in .*did you mean 'trainval'"):
        make(tmp_path, "voc", split="trainvall")
    voc_list(root, "val", "2007_3\n")
    with pytest.raises(UserError, match=r"listed file that is missing.*2007_3\.jpg.*2007_3\.png"):
        make(tmp_path, "voc", split="val")
    voc_list(root, "val", "\n")
    with pytest.raises(UserError, match=r"val\.txt is empty"):
        make(tmp_path, "voc", split="val")


@pytest.mark.parametrize(
    "text", ["2007_1\n", "/JPEGImages/2007_1.jpg /SegmentationClassAug/2007_1.png\n"]
)
def test_voc_augmented_lists(tmp_path, text):
    voc(tmp_path, values=1)
    mask(tmp_path / "SegmentationClassAug/2007_1.png", 7)  # gray, as those usually are
    voc_list(tmp_path, "train_aug", text)
    source = make(tmp_path, "voc", split="train_aug")
    assert names(source) == ["JPEGImages/2007_1.jpg"]
    assert (source[0]["label_map"] == 7).all()


def test_voc_reads_coloured_files(tmp_path):
    voc(tmp_path, stems=("a",))
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[:3], pixels[3, 0] = voc_colours(21)[15], (224, 224, 192)
    Image.fromarray(pixels).save(tmp_path / "SegmentationClass/a.png")
    label_map = make(tmp_path, "voc")[0]["label_map"]
    assert (label_map[:3] == 15).all() and label_map[3, 0] == 255 and label_map[3, 1] == 0


@pytest.mark.parametrize("ending", ["labelIds", "labelTrainIds"])
def test_cityscapes(tmp_path, ending):
    values = [[7, 33], [0, 26]] if ending == "labelIds" else [[0, 18], [255, 13]]
    for split, city in (("train", "ulm"), ("val", "lindau")):
        stem = f"{split}/{city}/{city}_000000_000019"
        photo(tmp_path / f"leftImg8bit/{stem}_leftImg8bit.png", (2, 2))
        mask(tmp_path / f"gtFine/{stem}_gtFine_{ending}.png", np.array(values, np.uint8))
        mask(tmp_path / f"gtFine/{stem}_gtFine_instanceIds.png", np.zeros((2, 2), np.uint16))
    source = make(tmp_path, "cityscapes")
    assert names(source) == ["leftImg8bit/train/ulm/ulm_000000_000019_leftImg8bit.png"]
    assert source[0]["label_map"].tolist() == [[0, 18], [255, 13]]
    assert source.class_names[13] == "car" and source.palette[13].tolist() == [0, 0, 142]
    assert names(make(tmp_path, "cityscapes", split="eval"))[0].split("/")[1] == "val"
    os.remove(tmp_path / f"gtFine/val/lindau/lindau_000000_000019_gtFine_{ending}.png")
    with pytest.raises(UserError, match=r"expected .*_gtFine_labelIds\.png or .*labelTrainIds"):
        make(tmp_path, "cityscapes", split="val")


@pytest.mark.parametrize("pattern", ["{split}/{kind}", "{kind}/{split}"])
def test_folder_with_splits(tmp_path, pattern):
    (tmp_path / "classes.txt").write_text(CLASSES)
    for i, split in enumerate(("train", "test")):
        for kind, save, suffix in (("images", photo, "jpg"), ("masks", mask, "png")):
            path = pattern.format(split=split, kind=kind)
            save(tmp_path / path / f"deep/{i}.{suffix}")
    images = [pattern.format(split=s, kind="images") for s in ("train", "test")]
    assert names(make(tmp_path)) == [f"{images[0]}/deep/0.jpg"]
    assert names(make(tmp_path, split="test")) == [f"{images[1]}/deep/1.jpg"]
    with pytest.raises(UserError, match=r"no split 'tst'.*did you mean 'test'"):
        make(tmp_path, split="tst")
    with pytest.raises(UserError, match=r"has .*test.* but no .*training.*train_split"):
        make(tmp_path, split="test", train_split="training")


def test_folder_without_splits(tmp_path):
    folder(tmp_path, count=4)
    assert names(make(tmp_path)) == names(make(tmp_path, split="val"))
    assert len(make(tmp_path, split="")) == 4
    source = make(tmp_path)
    assert source.class_names == ["sky", "sea", "land"]
    assert source.palette.shape == (3, 3) and source.palette.dtype == np.uint8
    again = pickle.loads(pickle.dumps(source))
    assert names(again) == names(source) and again[1]["image"] == source[1]["image"]
    with pytest.raises(UserError, match=r"no split 'vall'.*did you mean 'val'"):
        make(tmp_path, split="vall", holdout=0.3)


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


def cvat(root: Path) -> None:
    """What CVAT exports as "Segmentation mask 1.1", images saved."""
    (root / "labelmap.txt").write_text(LABELMAP)
    stems = [f"frame {i}" for i in range(6)]
    voc_list(root, "default", "\n".join(stems) + "\n")
    colours = np.array([[0, 0, 0], [250, 50, 83], [61, 61, 245]], np.uint8)
    for i, stem in enumerate(stems):
        photo(root / f"JPEGImages/{stem}.{'png' if i % 2 else 'jpg'}")
        pixels = np.zeros((*SIZE, 3), np.uint8)
        pixels[: i + 1, :4] = colours[1 + i % 2]
        for name in ("SegmentationClass", "SegmentationObject"):
            (root / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(root / f"{name}/{stem}.png")


@pytest.mark.parametrize("kind", ["folder", "voc"])
def test_cvat_export(tmp_path, kind):
    cvat(tmp_path)
    source = make(tmp_path, kind)
    assert source.class_names == ["background", "cat", "dog"]
    assert source.palette.tolist() == [[0, 0, 0], [250, 50, 83], [61, 61, 245]]
    assert names(source)[:2] == ["JPEGImages/frame 0.jpg", "JPEGImages/frame 1.png"]
    assert np.bincount(source[1]["label_map"].ravel()).tolist() == [40, 0, 8]
    parts = [names(make(tmp_path, kind, split=s, holdout=0.3)) for s in ("train", "val")]
    assert sorted(parts[0] + parts[1]) == names(source) and all(parts)


def test_cvat_project_with_subsets_and_without_images(tmp_path):
    cvat(tmp_path)
    lists = tmp_path / "ImageSets/Segmentation"
    (lists / "default.txt").rename(lists / "Train.txt")
    voc_list(tmp_path, "Validation", "frame 5\n")
    assert names(make(tmp_path, split="val")) == ["JPEGImages/frame 5.png"]
    assert len(make(tmp_path)) == 6
    (tmp_path / "JPEGImages").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"no folder .*JPEGImages.*Save images"):
        make(tmp_path)
    (tmp_path / "elsewhere").rename(tmp_path / "JPEGImages")
    os.remove(tmp_path / "labelmap.txt")
    with pytest.raises(UserError, match=r"no classes\.txt in"):
        make(tmp_path)


# What files hold.


def rgb(values: np.ndarray, colours) -> np.ndarray:
    return np.array(colours, np.uint8)[np.where(values == 255, 3, values)]


_COLOURS_OF_EXPECTED = [(0, 0, 200), (0, 200, 100), (10, 20, 30), (255, 255, 255)]
_PALETTE_IMAGE = Image.fromarray(np.array([[3, 0], [1, 2]], np.uint8))
_PALETTE_IMAGE.putpalette([0, 200, 100, 10, 20, 30, 255, 255, 255, 0, 0, 200])
_PALETTE_WITH_255 = Image.fromarray(np.array([[3, 0], [1, 255]], np.uint8))
_PALETTE_WITH_255.putpalette([0, 200, 100, 10, 20, 30, 255, 255, 255, 0, 0, 200] + [9] * 756)
_FOREIGN_PALETTE = Image.fromarray(np.array([[0, 1], [3, 255]], np.uint8))
_FOREIGN_PALETTE.putpalette(voc_colours(256).tobytes())
_GRAY_CLASSES = "a 0 0 0\nb 128 128 128\nc 255 255 255\nignore 7 7 7"
_RGBA = np.dstack([rgb(EXPECTED, _COLOURS_OF_EXPECTED), np.array([[0, 9], [255, 255]], np.uint8)])
KINDS = {
    "gray": (Image.fromarray(EXPECTED), CLASSES),
    "16 bits": (Image.fromarray(EXPECTED.astype(np.uint16)), CLASSES),
    "gray in three channels": (Image.fromarray(np.stack([EXPECTED] * 3, -1)), CLASSES),
    "gray and alpha": (Image.fromarray(EXPECTED).convert("LA"), CLASSES),
    "indices of any palette": (Image.fromarray(EXPECTED).convert("P"), CLASSES),
    "colours": (Image.fromarray(rgb(EXPECTED, _COLOURS_OF_EXPECTED)), COLOURS),
    "colours and alpha": (Image.fromarray(_RGBA), COLOURS),
    "a palette with the classes' colours in another order": (_PALETTE_IMAGE, COLOURS),
    "indices of a palette of other colours": (_FOREIGN_PALETTE, COLOURS),
    "gray values given by a table": (
        Image.fromarray(np.array([[0, 128], [255, 7]], np.uint8)),
        _GRAY_CLASSES,
    ),
    "indices of a gray palette": (
        Image.fromarray(np.array([[0, 1], [3, 2]], np.uint8)).convert("P"),
        COLOURS,
    ),
    "an index 255 whose colour isn't listed": (_PALETTE_WITH_255, COLOURS),
    "an ignored class in the middle": (
        Image.fromarray(np.array([[0, 2], [3, 1]], np.uint8)),
        "sky\nIgnore\nsea\nland\n",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pixel_types(tmp_path, kind):
    image, classes = KINDS[kind]
    source = make(small(tmp_path, image, classes))
    label_map = source[0]["label_map"]
    assert label_map.dtype == np.uint8
    assert label_map.tolist() == EXPECTED.tolist()
    assert len(source.class_names) == 3


@pytest.mark.parametrize("suffix", [".tif", ".bmp", ".TIFF"])
def test_formats(tmp_path, suffix):
    assert make(small(tmp_path, KINDS["gray"][0], suffix=suffix))[0]["label_map"][1, 0] == 2


def test_one_bit(tmp_path):
    image = Image.fromarray(np.array([[True, False]]))
    assert make(small(tmp_path, image))[0]["label_map"].tolist() == [[1, 0]]
    (tmp_path / "classes.txt").write_text("black 0 0 0\nwhite 255 255 255\n")
    assert make(tmp_path)[0]["label_map"].tolist() == [[1, 0]]


def png(width: int, height: int, depth: int, rows: bytes) -> bytes:
    """A gray PNG file made by hand."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header), chunk(b"IDAT", compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_gray_png_of_few_bits_is_refused(tmp_path):
    small(tmp_path, KINDS["gray"][0])
    (tmp_path / "masks/a.png").write_bytes(png(2, 2, 2, b"\0\x10\0\xb0"))
    with pytest.raises(UserError, match=r"gray PNG of 2 bits is read in two ways"):
        make(tmp_path)


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


def test_unknown_colour_names_the_nearest(tmp_path):
    pixels = rgb(EXPECTED, _COLOURS_OF_EXPECTED)
    pixels[1, 0] += 1
    small(tmp_path, Image.fromarray(pixels), COLOURS)
    message = (
        r"a\.png: colour (11, 21, 31) at (0, 1), 25.00% of pixels have such, is not in "
        f"{tmp_path}/classes.txt; nearest: (10, 20, 30), 'land'"
    )
    with pytest.raises(UserError, match=re.escape(message[5:])):
        make(tmp_path)


def test_palette_that_half_fits_is_refused(tmp_path):
    image = _PALETTE_IMAGE.copy()
    image.putpalette([0, 200, 100, 10, 20, 30, 255, 255, 255, 0, 1, 200])
    with pytest.raises(UserError, match=r"colour \(0, 1, 200\) .*nearest: \(0, 0, 200\), 'sky'"):
        make(small(tmp_path, image, COLOURS))


def test_labelmap_is_of_colours_alone(tmp_path):
    small(tmp_path, _FOREIGN_PALETTE, None)
    (tmp_path / "labelmap.txt").write_text(LABELMAP)
    with pytest.raises(UserError, match=r"colour \(128, 0, 0\) .*labelmap\.txt; nearest"):
        make(tmp_path)


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


def test_huge_headers_are_refused(tmp_path):
    folder(tmp_path)
    (tmp_path / "masks/1.png").write_bytes(png(60_000, 60_000, 8, b""))
    with pytest.raises(UserError, match=r"masks/1\.png .*(decompression bomb|DecompressionBomb)"):
        make(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no classes; write a line per class"),
        ("\n# comment\n", "lists no classes"),
        ("void\n", "no classes but ignored ones"),
        ("a\nb\na\n", "lines 1 and 3: two classes of name 'a'"),
        ("a 1 2 3\nb 1 2 3\n", r"lines 1 and 2: two classes of colour \(1, 2, 3\)"),
        ("a 1 2 3\nb\n", "line 2: 'b' has no colour"),
        ("a 1 2 300\n", r"line 1: colour \(1, 2, 300\) is not within 0 to 255"),
        ("\n".join(f"c{i}" for i in range(256)), "lists 256 classes; label maps have at most 255"),
    ],
)
def test_bad_class_lists(tmp_path, text, message):
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(UserError, match=rf"classes\.txt.*{message}"):
        read_class_list(tmp_path / "classes.txt")


def test_class_lists(tmp_path):
    file = tmp_path / "classes.txt"
    file.write_text("# of the road\n\ntraffic light 250, 170, 30\r\nsky #4682B4\n", "utf-8-sig")
    found = read_class_list(file)
    assert found.names == ["traffic light", "sky"]
    assert found.palette.tolist() == [[250, 170, 30], [70, 130, 180]]
    (tmp_path / "labelmap.txt").write_text("a:b:1,2,3:hand,foot:run\nvoid:0,0,0::\n")
    found = read_class_list(tmp_path / "labelmap.txt")
    assert found.names == ["a:b"] and found.of_colour == {(1, 2, 3): 0, (0, 0, 0): 255}
    (tmp_path / "labelmap.txt").write_text("cat\n")
    with pytest.raises(UserError, match="line 1: 'cat' is no class; expected name:r,g,b::"):
        read_class_list(tmp_path / "labelmap.txt")
    file.write_bytes(b"\xff\xfeclass")
    with pytest.raises(UserError, match="no UTF-8 text"):
        read_class_list(file)
    with pytest.raises(UserError, match=r"other\.txt: No such file"):
        read_class_list(tmp_path / "other.txt")
    file.write_text(" 1" * 200)
    with pytest.raises(UserError, match="line 1 has 399 letters"):
        read_class_list(file)
    file.write_text("a\n" * 600_000)
    with pytest.raises(UserError, match="far too large"):
        read_class_list(file)


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


# Lists and colours.


@pytest.mark.parametrize(
    ("classes", "count"),
    [
        (ade20k_classes(), 150),
        (voc_classes(), 21),
        (cityscapes_classes(train_ids=True), 19),
        (cityscapes_classes(train_ids=False), 19),
    ],
)
def test_public_class_lists(classes, count):
    assert len(set(classes.names)) == len(classes.palette) == count
    assert set(classes.of_value.tolist()) == {*range(count), 255, -1}
    assert all(name == name.strip() for name in classes.names)


def test_voc_colours():
    assert voc_colours(21)[[0, 1, 3, 8, 20]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [128, 128, 0],
        [64, 0, 0],
        [0, 64, 128],
    ]


def test_distinct_colours():
    colours = distinct_colours(255)
    assert colours.dtype == np.uint8 and len({*map(tuple, colours.tolist())}) == 255
    assert (distinct_colours(7) == colours[:7]).all() and distinct_colours(0).shape == (0, 3)
    few = colours[:8].astype(int)
    distances = np.abs(few[:, None] - few).max(-1) + 255 * np.eye(8, dtype=int)
    assert distances.min() > 100 and few.max(-1).min() > 100


def test_workers_import_no_jax():
    modules = "label_maps, label_map_transform, shapes, coins"
    code = (
        f"import sys; from common.data import {modules};"
        "print(sorted({'jax', 'tensorflow', 'skimage', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
