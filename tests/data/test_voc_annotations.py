"""Pascal VOC's XML files: coordinates, lists, classes, what is wrong."""

from pathlib import Path

import pytest
from PIL import Image

from common.data.detection_objects import BAD_BOX, NO_AREA, NOT_FINITE, UNKNOWN_CATEGORY
from common.data.voc_annotations import NO_XML
from common.errors import UserError
from tests.data.detection_folders import HEIGHT, WIDTH, make
from tests.data.label_map_folders import photo


def thing(name: str = "cat", box=(11, 6, 20, 15), difficult: int = 0, extra: str = "") -> str:
    tags = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    corners = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags)
    return (
        f"<object><name>{name}</name><pose>Left</pose><difficult>{difficult}</difficult>{extra}"
        f"<bndbox>{corners}</bndbox></object>"
    )


def xml(file: Path, *things: str, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    sides = f"<size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>"
    file.write_text(f"<annotation>{sides}<segmented>0</segmented>{''.join(things)}</annotation>")


def voc(root: Path, *things: str, stems=("2007_1", "2007_2", "2007_3")) -> Path:
    """Images, the first with the given objects, the second with a dog, the third with none."""
    for stem, objects in zip(stems, (things, [thing("dog")], []), strict=True):
        photo(root / f"JPEGImages/{stem}.jpg", (HEIGHT, WIDTH))
        xml(root / f"Annotations/{stem}.xml", *objects)
    return root


def lists(root: Path, **names: str) -> None:
    folder = root / "ImageSets/Main"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in names.items():
        (folder / f"{name}.txt").write_text(text)


def test_coordinates_count_from_one(tmp_path):
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    full = thing(box=(1, 1, WIDTH, HEIGHT), difficult=1)
    source = make(voc(tmp_path, thing(extra=part), full), "voc")
    assert source.class_names == ["cat", "dog"] and source.category_ids == [1, 2]
    first = source[0]
    assert first["boxes"].tolist() == [[10, 5, 20, 15], [0, 0, WIDTH, HEIGHT]]
    assert first["crowd"].tolist() == [False, True] and first["labels"].tolist() == [0, 0]
    assert not source.has_masks and not source.problems and len(source) == 3
    assert source[2]["boxes"].shape == (0, 4)  # an image without objects stays
    truth = source.ground_truth()
    assert [row["iscrowd"] for row in truth["annotations"]] == [0, 1, 0]
    assert truth["annotations"][0]["area"] == 100
    assert [row["file_name"] for row in truth["images"]] == [f"2007_{i}.jpg" for i in (1, 2, 3)]


def test_coordinates_that_count_from_zero(tmp_path):
    """CVAT's: corners without the one that VOC adds; then in all files."""
    source = make(voc(tmp_path, thing(box=(0.0, 3.5, 20.0, 15.0))), "voc")
    assert source[0]["boxes"].tolist() == [[0, 3.5, 20, 15]]
    assert source[1]["boxes"].tolist() == [[11, 6, 20, 15]]


def test_folders_called_as_supervision_calls_them(tmp_path):
    root = voc(tmp_path, thing())
    for name, other in {"Annotations": "annotations", "JPEGImages": "images"}.items():
        (root / name).rename(root / other)
    source = make(root, "voc")
    assert len(source) == 3 and source[0]["boxes"].tolist() == [[10, 5, 20, 15]]


def test_lists(tmp_path):
    voc(tmp_path / "VOCdevkit/VOC2007", thing())
    folder = tmp_path / "VOCdevkit/VOC2007"
    val = "2007_2\n2007_3\n2007_9\n"
    lists(folder, train="2007_1\n", val=val, cat_val="2007_2 -1\n2007_3  1\n")
    assert [len(make(tmp_path, "voc", check=False, split=s)) for s in ("train", "val")] == [1, 2]
    val = make(tmp_path, "voc", split="eval")
    assert val.problems == {NO_XML: 1} and val.class_names == ["cat", "dog"]
    assert "; 1 images left out: 1 image without XML file" in val.summary
    assert make(tmp_path, "voc", split="cat_val").name(0) == "2007_2.jpg"
    with pytest.raises(UserError, match=r"no list test\.txt"):
        make(tmp_path, "voc", split="test")


def test_cvat(tmp_path):
    voc(tmp_path, thing(), stems=("frame 1", "frame 2", "sub/frame 3"))
    lists(tmp_path, default='"frame 1"\n"frame 2"\n"sub/frame 3"\n')
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\ndog:1,2,3::\ncat:4,5,6::\n")
    source = make(tmp_path, "voc")
    assert source.class_names == ["dog", "cat"] and len(source) == 3
    assert source[0]["labels"].tolist() == [1]
    # Counted from 0, whatever the coordinates.
    assert source[0]["boxes"].tolist() == [[11, 6, 20, 15]]
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\ndog:::\ncat:::\n")
    assert make(tmp_path, "voc").class_names == ["dog", "cat"]
    parts = [make(tmp_path, "voc", split=split, holdout=0.4) for split in ("train", "val")]
    assert sorted(part.name(i) for part in parts for i in range(len(part))) == [
        "frame 1.jpg",
        "frame 2.jpg",
        "sub/frame 3.jpg",
    ]


def test_files_beside_the_images(tmp_path):
    for split in ("train", "valid"):
        photo(tmp_path / split / "a.png", (HEIGHT, WIDTH))
        xml(tmp_path / split / "a.xml", thing("cat" if split == "train" else "dog"))
    train, valid = make(tmp_path, "voc"), make(tmp_path, "voc", split="val")
    assert train.class_names == valid.class_names == ["cat", "dog"]
    assert (train.name(0), valid.name(0)) == ("train/a.png", "valid/a.png")
    with pytest.raises(UserError, match="no folder 'test'"):
        make(tmp_path, "voc", split="test")
    assert len(make(tmp_path / "train", "voc")) == 1


def test_faults(tmp_path):
    bad = [thing(box=(5, 5, 4, 9)), thing("bird"), thing(box=(1, 1, "nan", 9))]
    bad += [thing(box=(1, 1, "x", 9)), "<object><name>cat</name></object>", "<object/>"]
    voc(tmp_path, thing(), *bad)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    source = make(tmp_path, "voc")
    expected = {NO_AREA: 1, UNKNOWN_CATEGORY: 2, NOT_FINITE: 1, BAD_BOX: 2}
    assert source.problems == expected and len(source[0]["labels"]) == 1


ENTITIES = '<!DOCTYPE a [<!ENTITY b "cat"><!ENTITY c SYSTEM "/etc/passwd">]>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{ENTITIES}<annotation><object><name>&b;</name></object></annotation>", "has a DOCTYPE"),
        (f"{ENTITIES}<annotation>&c;</annotation>", "has a DOCTYPE"),
        ("<annotation><object>", "no element found|mismatched"),
        ("", "no element found"),
    ],
    ids=["entity", "file", "cut", "empty"],
)
def test_files_that_are_refused(tmp_path, text, message):
    voc(tmp_path, thing())
    (tmp_path / "Annotations/2007_1.xml").write_bytes(text.encode("utf-16" if text else "utf-8"))
    with pytest.raises(UserError, match=rf"'unreadable XML file': .*2007_1\.xml \(.*({message})"):
        make(tmp_path, "voc")
    assert make(tmp_path, "voc", max_corrupt=1).class_names == ["dog"]


def test_sizes_and_missing_images(tmp_path):
    voc(tmp_path, thing())
    xml(tmp_path / "Annotations/2007_2.xml", thing(), size=(HEIGHT, WIDTH + 1))
    with pytest.raises(UserError, match=r"2007_2\.jpg is 40x30, annotated as 41x30"):
        make(tmp_path, "voc")
    xml(tmp_path / "Annotations/2007_2.xml", thing(), size=(0, 0))
    assert make(tmp_path, "voc").sizes.tolist() == [[HEIGHT, WIDTH]] * 3
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "JPEGImages/2007_1.png")
    (tmp_path / "JPEGImages/2007_3.jpg").unlink()
    with pytest.raises(UserError, match=r"'missing image file': .*2007_3; 1 of kind 'name "):
        make(tmp_path, "voc")


def test_missing_folders(tmp_path):
    with pytest.raises(UserError, match="no XML files in"):
        make(tmp_path, "voc")
    (tmp_path / "Annotations").mkdir()
    with pytest.raises(UserError, match=r"no folder .*JPEGImages; put the images there"):
        make(tmp_path, "voc")
    with pytest.raises(UserError, match="have no use for 'voc'; remove"):
        make(tmp_path, "voc", annotations="a.json")
