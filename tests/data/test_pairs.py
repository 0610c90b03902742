import pickle
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from common.data.images import CorruptImage, decode
from common.data.pair_layouts import LAYOUTS, layout_of
from common.data.pairs import ImageFiles, make_pair_source, photos_source
from common.data.sidd_blocks import SiddBlocks
from common.errors import UserError

RNG = np.random.RandomState(0)


def save(path: Path, size: tuple[int, int] = (6, 8)) -> Path:
    """Writes an image of its own, [height, width] `size`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.randint(0, 256, (*size, 3)).astype(np.uint8)
    if path.suffix == ".npy":
        np.save(path, pixels)
    else:
        Image.fromarray(pixels).save(path)
    return path


def names(source) -> list[str]:
    return [source.name(i) for i in range(len(source))]


def pairs_of(source, root: Path) -> dict[str, str]:
    """Paths of inputs -> paths of targets, found by content."""
    path_of = {p.read_bytes(): str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}
    assert [source[i]["name"] for i in range(len(source))] == names(source)
    found = [source[i] for i in range(len(source))]
    return {path_of[pair["input"]]: path_of[pair["target"]] for pair in found}


# layout, split -> its pairs, and other files that have to be left alone.
TREES = [
    ("equal", "train", {"train/input/a.png": "train/target/a.png"}, ["val/input/b.png"]),
    ("equal", "val", {"val/input/x/a.png": "val/target/x/a.png"}, ["input/b.png"]),
    ("equal", "train", {"input/a.png": "target/a.jpg"}, []),
    ("equal", "", {"input/a.png": "target/a.png"}, []),
    ("equal", "test/Rain100L", {"test/Rain100L/input/1.png": "test/Rain100L/target/1.png"}, []),
    (
        "crops",
        "train/GoPro",
        {"train/GoPro/input_crops/a.png": "train/GoPro/target_crops/a.png"},
        [],
    ),
    (
        "sidd",
        "train",
        {
            "Data/0001_001_S6_00100_00060_3200_L/0001_NOISY_SRGB_010.PNG": (
                "Data/0001_001_S6_00100_00060_3200_L/0001_GT_SRGB_010.PNG"
            ),
            "Data/0001_001_S6_00100_00060_3200_L/0001_NOISY_SRGB_011.PNG": (
                "Data/0001_001_S6_00100_00060_3200_L/0001_GT_SRGB_011.PNG"
            ),
        },
        [],
    ),
    (
        "gopro",
        "test",
        {
            "test/GOPR0384_11_00/blur/000001.png": "test/GOPR0384_11_00/sharp/000001.png",
            "test/GOPR0385_11_01/blur/000001.png": "test/GOPR0385_11_01/sharp/000001.png",
        },
        ["test/GOPR0384_11_00/blur_gamma/000001.png", "train/GOPR0372_07_00/blur/000047.png"],
    ),
    (
        "gopro_gamma",
        "train",
        {"train/GOPR0372_07_00/blur_gamma/1.png": "train/GOPR0372_07_00/sharp/1.png"},
        ["train/GOPR0372_07_00/blur/1.png"],
    ),
    ("reds", "train", {"train_blur/000/00000000.png": "train_sharp/000/00000000.png"}, []),
    ("reds", "test", {"val/val_blur/000/0.png": "val/val_sharp/000/0.png"}, []),
    ("rain13k", "train", {"train/input/1.jpg": "train/target/1.jpg"}, []),
    (
        "rain13k",
        "test",
        {
            "test/Test100/input/1.png": "test/Test100/target/1.png",
            "test/Rain100L/input/1.png": "test/Rain100L/target/1.png",
        },
        [],
    ),
    ("raindrop", "train", {"train/data/0_rain.png": "train/gt/0_clean.png"}, []),
    ("raindrop", "test", {"test_a/data/7_rain.png": "test_a/gt/7_clean.png"}, []),
    ("raindrop", "test_b", {"test_b/data/7_rain.jpg": "test_b/gt/7_clean.jpg"}, []),
    (
        "reside_indoor",
        "train",
        {"ITS/hazy/1_1_0.90179.png": "ITS/clear/1.png", "ITS/hazy/1_2_0.97.png": "ITS/clear/1.png"},
        ["ITS/clear/2.png"],
    ),
    ("reside_indoor", "test", {"SOTS/indoor/hazy/1400_1.png": "SOTS/indoor/gt/1400.png"}, []),
    (
        "reside_outdoor",
        "test",
        {"SOTS/outdoor/hazy/0001_0.8_0.2.jpg": "SOTS/outdoor/gt/0001.png"},
        [],
    ),
    ("lol", "train", {"our485/low/2.png": "our485/high/2.png"}, ["eval15/low/1.png"]),
    ("lol", "test", {"eval15/low/1.png": "eval15/high/1.png"}, []),
    ("fivek", "train", {"input/a0001.png": "expertC/a0001.jpg"}, []),
    ("fivek", "test", {"test/input/a0001.png": "test/expertC/a0001.jpg"}, []),
]


@pytest.mark.parametrize(("layout", "split", "pairs", "others"), TREES)
def test_layouts(tmp_path, layout, split, pairs, others):
    for path in [*pairs, *pairs.values(), *others]:
        save(tmp_path / path)
    source = make_pair_source("pairs", layout=layout, root=str(tmp_path), split=split)
    assert pairs_of(source, tmp_path) == pairs
    assert names(source) == sorted(pairs)
    again = pickle.loads(pickle.dumps(source))
    assert pairs_of(again, tmp_path) == pairs


@pytest.mark.parametrize("kind", "RJ")
def test_realblur_lists(tmp_path, kind):
    folder = f"RealBlur-{kind}_ECC_IMCORR_centroid_itensity_ref/scene001"
    rows = {f"{folder}/blur/blur_{i}.png": f"{folder}/gt/gt_{i}.png" for i in (1, 2)}
    for path in [*rows, *rows.values()]:
        save(tmp_path / path)
    lines = [f"{target} {blurred}" for blurred, target in rows.items()]
    (tmp_path / f"RealBlur_{kind}_train_list.txt").write_text(lines[0] + "\n\n")
    (tmp_path / f"RealBlur_{kind}_test_list.txt").write_text(lines[1] + "\n")
    layout = f"realblur_{kind.lower()}"
    for split, row in zip(("train", "test"), rows.items(), strict=True):
        source = make_pair_source("pairs", layout=layout, root=str(tmp_path), split=split)
        assert pairs_of(source, tmp_path) == dict([row])
    with pytest.raises(UserError, match=r"RealBlur_(R|J)_val_list"):
        make_pair_source("pairs", layout=layout, root=str(tmp_path), split="val")
    (tmp_path / f"RealBlur_{kind}_val_list.txt").write_text("one_path_only.png\n")
    with pytest.raises(UserError, match="line 1: expected two paths"):
        make_pair_source("pairs", layout=layout, root=str(tmp_path), split="val")
    (tmp_path / f"RealBlur_{kind}_val_list.txt").write_text("gt_9.png blur_9.png\n")
    with pytest.raises(UserError, match=r"2 of kind 'unreadable image'.*blur_9\.png"):
        make_pair_source("pairs", layout=layout, root=str(tmp_path), split="val")


def test_every_layout_is_tested():
    tested = {layout for layout, *_ in TREES} | {"realblur_r", "realblur_j"}
    assert tested == set(LAYOUTS)


def test_two_folders(tmp_path):
    for name in ("a.png", "deep/b.png"):
        save(tmp_path / "noisy" / name)
        save(tmp_path / "clean" / name)
    roots = {"input_root": str(tmp_path / "noisy"), "target_root": str(tmp_path / "clean")}
    source = make_pair_source("pairs", **roots)
    assert pairs_of(source, tmp_path) == {
        "noisy/a.png": "clean/a.png",
        "noisy/deep/b.png": "clean/deep/b.png",
    }
    assert names(source) == ["a.png", "deep/b.png"]
    with pytest.raises(UserError, match="either root"):
        make_pair_source("pairs", **roots, root=str(tmp_path))
    with pytest.raises(UserError, match="either root"):
        make_pair_source("pairs", input_root=roots["input_root"])


def test_what_is_left_out_is_said_by_kind(tmp_path):
    for name in ("noisy/a.png", "clean/a.png", "clean/@eaDir/a.png"):
        save(tmp_path / name)
    for name in ("noisy/a.txt", "noisy/b.heic", "clean/b.heic", "clean/.hidden"):
        (tmp_path / name).touch()
    roots = {"input_root": str(tmp_path / "noisy"), "target_root": str(tmp_path / "clean")}
    expected = "left out: 3 of 5 files (2 .heic, 1 .txt), 1 folders @eaDir"
    assert make_pair_source("pairs", **roots).summary == f"1 pairs; {expected}"
    photos = make_pair_source("folder", root=str(tmp_path / "clean"), split="")
    assert photos.summary == "1 photos; left out: 1 of 2 files (1 .heic), 1 folders @eaDir"
    (tmp_path / "noisy" / "a.png").unlink()
    with pytest.raises(UserError, match=r"no images in .*noisy; left out: 2 of 2 files"):
        make_pair_source("folder", root=str(tmp_path / "noisy"))


def test_targets_that_no_input_has_are_counted_where_inputs_share_them(tmp_path):
    for name in ("ITS/hazy/1_1.png", "ITS/clear/1.png", "ITS/clear/2.png"):
        save(tmp_path / name)
    source = make_pair_source("pairs", layout="reside_indoor", root=str(tmp_path))
    assert source.summary == "1 pairs; left out: 1 targets without input"


def test_patterns_of_ones_own(tmp_path):
    """In one tree and in two folders; what fits no rule is a problem as ever."""
    names = [f"train/{kind}_{i}.png" for kind in ("low", "high") for i in (1, 2)]
    for name in (*names, "train/high_3.png"):
        save(tmp_path / name)
    source = make_pair_source(
        "pairs", layout="{split}/low_{id}:{split}/high_{id}", root=str(tmp_path), check=False
    )
    assert [source.name(i) for i in range(len(source))] == names[:2]
    assert source.found == {"target without input": [str(tmp_path / "train/high_3.png")]}
    roots = {"input_root": str(tmp_path / "train"), "target_root": str(tmp_path / "train")}
    again = make_pair_source("pairs", layout="low_{id}:high_{id}", **roots, check=False)
    assert len(again) == 2


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("{id}_noisy", "give two patterns, such as {id}_noisy:{id}"),
        ("{a}:{b}", "both patterns need a field in common"),
        ("{split}/a:{split}/b", "both patterns need a field in common"),
        ("{id}_{id}:{id}", "fields are words in braces, each once"),
        ("{id:{id}", "fields are words in braces, each once"),
        (
            "gopr",
            "no pair layout 'gopr', nor patterns such as {id}_noisy:{id}; did you mean 'gopro'",
        ),
    ],
)
def test_patterns_that_tell_no_pairs(layout, message):
    with pytest.raises(UserError, match=re.escape(message)):
        layout_of(layout)


def test_two_folders_with_the_names_of_a_layout(tmp_path):
    pairs = {"hazy/x/1_a_0.9.png": "gt/x/1.png", "hazy/1_b_0.8.png": "gt/1.png"}
    for path in [*pairs, *pairs.values()]:
        save(tmp_path / path)
    roots = {"input_root": str(tmp_path / "hazy"), "target_root": str(tmp_path / "gt")}
    source = make_pair_source("pairs", layout="reside_indoor", **roots)
    assert pairs_of(source, tmp_path) == pairs
    with pytest.raises(UserError, match=r"images \{id\}_rain with \{id\}_clean"):
        make_pair_source("pairs", layout="raindrop", **roots)
    with pytest.raises(UserError, match="lists its pairs"):
        make_pair_source("pairs", layout="realblur_j", **roots)


def test_equal_stems_prefer_the_suffix_of_the_input(tmp_path):
    for path in ("input/a.png", "target/a.jpg", "target/a.png", "input/b.png", "target/b.npy"):
        save(tmp_path / path)
    source = make_pair_source("pairs", root=str(tmp_path), check=False)
    pair = source[0]
    assert pair["target"] == (tmp_path / "target/a.png").read_bytes()
    np.testing.assert_array_equal(source[1]["target"], np.load(tmp_path / "target/b.npy"))
    assert isinstance(source[1]["target"], np.memmap)
    assert list(source.problems()) == ["target without input"]


def test_larger_targets_are_cropped_at_the_centre_where_inputs_share_them(tmp_path):
    save(tmp_path / "ITS/hazy/1_1.png", (6, 8))
    clean = save(tmp_path / "ITS/clear/1.png", (8, 12))
    source = make_pair_source("pairs", layout="reside_indoor", root=str(tmp_path))
    np.testing.assert_array_equal(source[0]["target"], decode(clean.read_bytes())[1:-1, 2:-2])
    save(tmp_path / "ITS/hazy/1_2.png", (9, 8))  # larger than its target
    with pytest.raises(UserError, match=r"1_2\.png is 8x9, .*clear/1\.png is 12x8"):
        make_pair_source("pairs", layout="reside_indoor", root=str(tmp_path))


def test_all_problems_at_once(tmp_path):
    for name in "abcdef":
        save(tmp_path / f"input/{name}.png")
        save(tmp_path / f"target/{name}.png")
    save(tmp_path / "target/b.png", (7, 8))
    for name in "1234":
        save(tmp_path / f"input/lonely{name}.png")
    save(tmp_path / "target/orphan.png")
    (tmp_path / "input/c.png").write_bytes(b"no image")
    whole = (tmp_path / "input/d.png").read_bytes()
    (tmp_path / "input/d.png").write_bytes(whole[:-30])  # its header is fine
    jpeg = save(tmp_path / "input/e.jpg", (64, 64))
    (tmp_path / "input/e.png").unlink()
    save(tmp_path / "target/e.png", (64, 64))
    jpeg.write_bytes(jpeg.read_bytes()[:-800])
    with pytest.raises(UserError) as caught:
        make_pair_source("pairs", root=str(tmp_path))
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "4 of kind 'input without target'",
        f"{tmp_path}/input/lonely1.png, ",
        "lonely3.png, ...",
        "1 of kind 'target without input'",
        "orphan.png",
        "1 of kind 'pair of different sizes'",
        "b.png is 8x6",
        "b.png is 8x7",
        "3 of kind 'unreadable image'",
        "input/c.png",
        "input/d.png",
        "input/e.jpg",
    ):
        assert part in message, part
    assert "lonely4" not in message


def test_unreadable_files_are_let_pass_up_to_a_limit(tmp_path):
    for name in "ab":
        save(tmp_path / f"input/{name}.png")
        save(tmp_path / f"target/{name}.png")
    (tmp_path / "input/b.png").write_bytes(b"")
    make_pair_source("pairs", root=str(tmp_path), max_corrupt=1)
    with pytest.raises(UserError, match="unreadable"):
        make_pair_source("pairs", root=str(tmp_path))
    make_pair_source("pairs", root=str(tmp_path), check=False)
    (tmp_path / "input/b.png").unlink()
    source = ImageFiles(["target/a.png"], tmp_path, ["input/b.png"], tmp_path)
    with pytest.raises(CorruptImage, match=r"input/b\.png"):
        source[0]


def test_whole_files_without_the_usual_end_are_fine(tmp_path):
    """Some cameras append data of their own to their JPEGs."""
    for folder in ("input", "target"):
        path = save(tmp_path / f"{folder}/a.jpg")
        path.write_bytes(path.read_bytes() + b"camera data")
        path = save(tmp_path / f"{folder}/b.png")
        path.write_bytes(path.read_bytes() + b"appended by something")
    assert len(make_pair_source("pairs", root=str(tmp_path))) == 2


def test_names_that_fit_no_rule_are_found(tmp_path):
    for path in ("data/1_rain.png", "gt/1_clean.png", "data/2_rain (1).png", "gt/odd.png"):
        save(tmp_path / "train" / path)
    with pytest.raises(UserError, match=r"2 of kind 'file whose name fits no rule'.*2_rain \(1\)"):
        make_pair_source("pairs", layout="raindrop", root=str(tmp_path))


def test_holdout_keeps_inputs_of_one_target_together(tmp_path):
    for i in range(10):
        save(tmp_path / f"gt/{i}.png")
        for k in range(3):
            save(tmp_path / f"hazy/{i}_{k}.png")
    roots = {"input_root": str(tmp_path / "hazy"), "target_root": str(tmp_path / "gt")}
    make = lambda split: make_pair_source(  # noqa: E731
        "pairs", layout="reside_indoor", split=split, holdout=0.2, **roots
    )
    train, test = names(make("train")), names(make("test"))
    assert len(train) == 24 and len(test) == 6 and not set(train) & set(test)
    assert not {n.split("_")[0] for n in train} & {n.split("_")[0] for n in test}
    assert names(make("test")) == test
    assert len(make_pair_source("pairs", layout="reside_indoor", **roots)) == 30


def test_split_folders_need_no_holdout(tmp_path):
    for split in ("train", "test"):
        for i in range(4):
            save(tmp_path / f"{split}/input/{i}.png")
            save(tmp_path / f"{split}/target/{i}.png")
    for kind in ("pairs", "folder"):
        source = make_pair_source(kind, root=str(tmp_path), split="test", holdout=0.5)
        assert len(source) == {"pairs": 4, "folder": 8}[kind]


def test_holdout_of_a_single_pair(tmp_path):
    save(tmp_path / "input/a.png")
    save(tmp_path / "target/a.png")
    with pytest.raises(UserError, match="single target"):
        make_pair_source("pairs", root=str(tmp_path), split="test", holdout=0.5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "pears"}, "did you mean 'pairs'"),
        ({"kind": "pairs", "layout": "gopr"}, "did you mean 'gopro'"),
        ({"kind": "pairs"}, "either root"),
        ({"kind": "pairs", "root": "nowhere"}, "no folder 'nowhere'"),
        ({"kind": "folder"}, "no folder ''"),
        ({"kind": "pairs", "layout": "lol", "root": "."}, "our485/low/{path} with our485/high"),
        ({"kind": "pairs", "root": "."}, "no pairs in . for split 'train'; expected images train/"),
        ({"kind": "folder", "root": "."}, "no images in"),
        (
            {"kind": "pairs", "layout": "sidd", "root": ".", "split": "test"},
            "ValidationNoisyBlocks",
        ),
    ],
)
def test_mistakes(tmp_path, monkeypatch, fields, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        make_pair_source(**fields)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_clean_folders(tmp_path):
    for i in range(5):
        save(tmp_path / f"flat/x/{i}.png")
        save(tmp_path / f"split/train/{i}.png")
    save(tmp_path / "split/test/9.png")
    make = lambda root, split, **k: make_pair_source(  # noqa: E731
        "folder", root=str(tmp_path / root), split=split, **k
    )
    assert names(make("split", "train")) == [f"train/{i}.png" for i in range(5)]
    assert names(make("split", "test")) == ["test/9.png"]
    assert names(make("flat", "train")) == [f"x/{i}.png" for i in range(5)]
    train, test = (names(make("flat", split, holdout=0.4)) for split in ("train", "test"))
    assert len(train) == 3 and len(test) == 2 and not set(train) & set(test)
    assert set(make("flat", "train")[0]) == {"target", "name"}
    (tmp_path / "flat/x/0.png").write_bytes(b"broken")
    with pytest.raises(UserError, match="1 of kind 'unreadable image'"):
        make("flat", "train")


def test_clean_test_folder_without_a_training_folder(tmp_path):
    """Training would take the images of both."""
    for name in ("a.png", "b.png", "test/c.png"):
        save(tmp_path / name)
    with pytest.raises(UserError, match="has 'test' but no 'train' folder"):
        make_pair_source("folder", root=str(tmp_path), split="test", holdout=0.5)


def test_the_root_as_training_split_leaves_out_what_is_held_out(tmp_path):
    for i in range(10):
        save(tmp_path / "input" / f"{i}.png")
        save(tmp_path / "target" / f"{i}.png")
    options = {"root": str(tmp_path), "train_split": "", "holdout": 0.2}
    parts = [make_pair_source("pairs", split=split, **options) for split in ("", "test")]
    found = [set(names(source)) for source in parts]
    assert len(found[0] | found[1]) == 10 and len(found[1]) == 3 and not found[0] & found[1]


@pytest.mark.parametrize("kind", ["pairs", "folder"])
def test_added_files_move_none_to_the_other_part(tmp_path, kind):
    def part(split):
        return set(names(make_pair_source(kind, root=str(tmp_path), split=split, holdout=0.3)))

    def add(numbers):
        for i in numbers:
            save(tmp_path / "input" / f"{i}.png")
            save(tmp_path / "target" / f"{i}.png")

    add(range(5, 15))
    before = {split: part(split) for split in ("train", "test")}
    add((1, 2, 3, 4, 40, 50))
    assert all(before[split] < part(split) for split in before)


def test_photos_of_scikit_image():
    train, test = photos_source("train"), make_pair_source("photos", split="test")
    assert not set(names(train)) & set(names(test)) and len(train) == 12 and len(test) == 3
    for source in (train, test):
        for i in range(len(source)):
            assert min(decode(source[i]["target"]).shape[:2]) >= 256
        source.check()
    for i in range(len(test)):  # in colour
        assert np.ptp(decode(test[i]["target"]).astype(int), axis=-1).mean() > 5
    assert names(make_pair_source("photos", split="fit", train_split="fit")) == names(train)
    with pytest.raises(UserError, match="no split 'val'"):
        photos_source("val")


def test_photos_without_scikit_image(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(UserError, match=r"pip install 'multi-axis-jax\[photos\]'"):
        photos_source("train")
    monkeypatch.setitem(sys.modules, "skimage", types.SimpleNamespace(__file__=f"{tmp_path}/x.py"))
    with pytest.raises(UserError, match="reinstall scikit-image"):  # and don't download
        photos_source("train")


def blocks(path: Path, name: str = "blocks", shape=(2, 3, 4, 5, 3), kind=np.uint8) -> np.ndarray:
    array = RNG.randint(0, 256, shape).astype(kind)
    scipy.io.savemat(path, {name: array}, do_compression=True)
    return array


def test_sidd_blocks(tmp_path):
    noisy = blocks(tmp_path / "ValidationNoisyBlocksSrgb.mat", "ValidationNoisyBlocksSrgb")
    clean = blocks(tmp_path / "ValidationGtBlocksSrgb.mat", "ValidationGtBlocksSrgb")
    source = make_pair_source("pairs", layout="sidd", root=str(tmp_path), split="test")
    assert len(source) == 6 and source.name(4) == "02_02"
    for each in (source, pickle.loads(pickle.dumps(source))):
        for i in range(6):
            np.testing.assert_array_equal(each[i]["input"], noisy[i // 3, i % 3])
            np.testing.assert_array_equal(each[i]["target"], clean[i // 3, i % 3])
    assert len(pickle.dumps(source)) < 1000
    with pytest.raises(IndexError):
        source[6]


def test_other_mat_files(tmp_path):
    good, other = tmp_path / "good.mat", tmp_path / "other.mat"
    blocks(good)
    cases = [
        ({"shape": (2, 3, 4, 6, 3)}, "different blocks"),
        ({"shape": (2, 3)}, "no 8-bit blocks"),
        ({"kind": np.float64}, r"no 8-bit blocks.*blocks double \(2, 3, 4, 5, 3\)"),
    ]
    for options, message in cases:
        blocks(other, **options)
        with pytest.raises(UserError, match=message):
            SiddBlocks(good, other)
    for content, message in ((b"text" * 100, "no MATLAB file"), (b"", "no MATLAB file")):
        other.write_bytes(content)
        with pytest.raises(UserError, match=message):
            SiddBlocks(good, other)
    other.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    with pytest.raises(UserError, match="-v7"):
        SiddBlocks(good, other)
    data = good.read_bytes()
    other.write_bytes(data[:-40])
    with pytest.raises(CorruptImage, match=r"other\.mat"):
        SiddBlocks(good, other)[0]


def test_the_docs_name_every_layout():
    text = (Path(__file__).parents[2] / "docs/restoration_data.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    for name, layout in LAYOUTS.items():
        row = next(row for row in rows if f"`{name}`" in row.split("|")[1])
        assert all(folder in row for folder in layout.splits.values())
