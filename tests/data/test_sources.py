import io
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from common.data import sources
from common.data.image_transform import EvalTransform, TrainTransform
from common.data.images import CorruptImage, decode
from common.errors import UserError
from maxvit_jax.tasks.classification import ClassificationData


def write_images(folder, names):
    for value, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 3), (value, 0, 0)).save(path)
    return folder


def names_of(source):
    return [source[i]["name"] for i in range(len(source))]


def test_arrays():
    images = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    source = sources.ArraySource(images, [1, 0], ["a", "b"], ["x", "y"])
    assert len(source) == 2 and source.class_names == ["a", "b"]
    example = source[0]
    assert (example["label"], example["name"]) == (1, "x") and type(example["label"]) is int
    np.testing.assert_array_equal(example["image"], images[0])
    assert sources.ArraySource(images, [1, 0], ["a", "b"]).name(1) == "[1]"
    with pytest.raises(UserError, match="2 images but 3 labels"):
        sources.ArraySource(images, [0, 0, 0], ["a"])
    with pytest.raises(UserError, match=r"label 1 of example 1 .* 0 to 0"):
        sources.ArraySource(images, [0, 1], ["a"])


def test_folder_with_splits(tmp_path):
    images = ["cat/b.png", "cat/a.JPG", "cat/deep/er/c.webp", "dog/d.tif", "dog/e.bmp", "dog/f.gif"]
    write_images(tmp_path / "train", images)
    write_images(tmp_path / "val", ["dog/z.jpeg"])
    (tmp_path / "train/cat/notes.txt").write_text("not an image")
    write_images(tmp_path / "train", ["cat/.hidden.png", "cat/.thumbs/t.png", ".git/x.png"])
    train = sources.FolderSource(tmp_path, "train")
    assert train.class_names == ["cat", "dog"]
    found = [os.path.relpath(name, tmp_path / "train") for name in names_of(train)]
    assert found == sorted(images)
    assert [train[i]["label"] for i in range(6)] == [0, 0, 0, 1, 1, 1]
    assert train.name(5) == str(tmp_path / "train/dog/f.gif")
    assert train[0]["image"] == (tmp_path / "train/cat/a.JPG").read_bytes()
    val = sources.FolderSource(str(tmp_path), "val")
    assert val.class_names == ["cat", "dog"] and len(val) == 1 and val[0]["label"] == 1
    assert names_of(pickle.loads(pickle.dumps(train))) == names_of(train)


def test_folder_file_that_vanishes_is_corrupt(tmp_path):
    write_images(tmp_path / "train", ["cat/ä b.png"])
    source = sources.FolderSource(tmp_path)
    os.remove(source.name(0))
    with pytest.raises(CorruptImage, match="No such file"):
        source[0]


def test_folder_holdout(tmp_path):
    write_images(tmp_path, [f"{name}/{i}.png" for name in "ab" for i in range(20)])
    write_images(tmp_path, ["c/only.png"])
    train = sources.FolderSource(tmp_path, "train", holdout=0.25)
    held = sources.FolderSource(tmp_path, "eval", holdout=0.25)
    assert train.class_names == held.class_names == ["a", "b", "c"]
    counts = [np.bincount(source.labels, minlength=3).tolist() for source in (train, held)]
    assert np.sum(counts, axis=0).tolist() == [20, 20, 1] and counts[0][2] == 1
    assert all(0 < count < 20 for count in counts[1][:2])
    both = names_of(train) + names_of(held)
    assert len(set(both)) == 41
    assert names_of(sources.FolderSource(tmp_path, "val", holdout=0.25)) == names_of(held)
    write_images(tmp_path, [f"{name}/{i}.png" for name in "ab" for i in range(100, 110)])
    for part, before in (("train", train), ("eval", held)):  # added images move none
        found = sources.FolderSource(tmp_path, part, holdout=0.25)
        assert set(names_of(before)) < set(names_of(found))
    with pytest.raises(UserError, match=r"holdout=1\.5"):
        sources.FolderSource(tmp_path, "eval", holdout=1.5)
    with pytest.raises(UserError, match="did you mean 'train'"):
        sources.FolderSource(tmp_path, "trainn")


def test_folder_mistakes(tmp_path):
    def fails(pattern, root=tmp_path, split="train"):
        with pytest.raises(UserError, match=pattern):
            sources.FolderSource(root, split)

    fails("no folder '/nowhere'", root="/nowhere")
    fails("no class folders in")
    write_images(tmp_path / "train", ["cat/1.png", "dog/2.png"])
    write_images(tmp_path / "val", ["cat/1.png", "bird/1.png"])
    fails("no split 'vall' .* did you mean 'val'", split="vall")
    fails("class 'bird' of .*val is not in .*train", split="val")
    (tmp_path / "train/empty").mkdir()
    fails("train/empty has no images")
    write_images(tmp_path / "flat", ["train/1.png"])
    fails("no class folders in .*train; expected", root=tmp_path / "flat")
    write_images(tmp_path / "single", ["a/1.png"])
    fails("nothing to hold out", root=tmp_path / "single", split="eval")
    write_images(tmp_path / "odd", ["val/a/1.png"])
    fails("no 'train' folder", root=tmp_path / "odd", split="val")


def test_stratified_split_keeps_proportions():
    labels = np.repeat([0, 1, 2, 3], [100, 10, 2, 1])
    first, second = sources.stratified_split(labels, 0.2)
    np.testing.assert_array_equal(np.bincount(labels[second], minlength=4), [20, 2, 1, 0])
    np.testing.assert_array_equal(np.sort(np.concatenate([first, second])), np.arange(113))
    again = sources.stratified_split(labels, 0.2)
    np.testing.assert_array_equal(second, again[1])
    assert not np.array_equal(second, sources.stratified_split(labels, 0.2, seed=1)[1])


def test_digits():
    train, test = sources.digits_source("train"), sources.digits_source("test")
    assert len(train) + len(test) == 1797 and 355 <= len(test) <= 363
    assert train.class_names == [str(i) for i in range(10)]
    image = train[0]["image"]
    assert image.shape == (8, 8, 3) and image.dtype == np.uint8
    assert max(train[i]["image"].max() for i in range(50)) == 255
    assert not set(names_of(train)) & set(names_of(test))
    counts = np.bincount([test[i]["label"] for i in range(len(test))])
    assert counts.min() >= 34 and counts.max() <= 37
    with pytest.raises(UserError, match="choose from test, train"):
        sources.digits_source("dev")


def test_make_source(tmp_path):
    write_images(tmp_path / "train", ["cat/1.png"])
    assert len(sources.make_source("folder", root=str(tmp_path))) == 1
    assert len(sources.make_source("digits", split="test")) < 400
    with pytest.raises(UserError, match="did you mean 'folder'"):
        sources.make_source("folders")
    with pytest.raises(UserError, match="'folder' needs root"):
        sources.make_source("folder")
    with pytest.raises(UserError, match="'tfds' needs name"):
        sources.make_source("tfds")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Folders with the same small tfds data set in either format."""
    from tests.data.builders import TinyShapes

    folders = {}
    for file_format in ("array_record", "tfrecord"):
        folders[file_format] = str(tmp_path_factory.mktemp(file_format))
        builder = TinyShapes(data_dir=folders[file_format], file_format=file_format)
        builder.download_and_prepare()
    return folders


def test_tfds(prepared):
    source = sources.make_source("tfds", name="tiny_shapes", data_dir=prepared["array_record"])
    assert len(source) == 10 and source.class_names == ["circle", "square", "star"]
    seen = set()
    for i in range(10):
        example = source[i]
        number = int(example["name"].removeprefix("shape_").removesuffix(".png"))
        seen.add(number)
        assert isinstance(example["image"], bytes) and example["label"] == number % 3
        assert source.name(i) == example["name"]
        image = decode(example["image"])
        np.testing.assert_array_equal(image, np.full((6, 5, 3), 20 * number))
    assert seen == set(range(10))
    copy = pickle.loads(pickle.dumps(source))
    assert names_of(copy) == names_of(source)
    half = sources.TfdsSource("tiny_shapes", "train[:50%]", prepared["array_record"])
    assert names_of(half) == names_of(source)[:5]


def test_tfds_reads_without_tensorflow(prepared):
    code = (
        "import sys; from common.data.sources import TfdsSource; "
        f"TfdsSource('tiny_shapes', 'train', {prepared['array_record']!r})[0]; "
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_tfds_mistakes(prepared, tmp_path):
    def fails(pattern, name, split="train", data_dir=str(tmp_path)):
        with pytest.raises(UserError, match=pattern) as caught:
            sources.TfdsSource(name, split, data_dir)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    message = fails("'imagenet2012' is not in", "imagenet2012")
    assert f"ILSVRC2012_img_val.tar in {tmp_path}/downloads/manual" in message
    message = fails("'cifar10' is not in", "cifar10")
    assert "tar" not in message
    code = message.split('python -c "')[1].rstrip('"').removesuffix(".download_and_prepare()")
    compile(code, "advice", "exec")
    assert "file_format='array_record'" in code
    fails("did you mean 'cifar10'", "cifarr10")
    fails("stored as tfrecord", "tiny_shapes", data_dir=prepared["tfrecord"])
    fails("choose from test, train", "tiny_shapes", "dev", prepared["array_record"])


def test_an_image_of_a_source_decodes():
    stream = io.BytesIO()
    Image.new("L", (3, 2), 9).save(stream, "PNG")
    source = sources.ArraySource([stream.getvalue()], [0], ["nine"])
    np.testing.assert_array_equal(decode(source[0]["image"]), np.full((2, 3, 3), 9))


# ---------------------------------------------------------------- other jobs


def test_targets_pass_through_the_transforms():
    """Whatever an example holds beside its image; numbers as narrow as the devices want them."""
    image = np.zeros((9, 9, 3), np.uint8)
    example = {"image": image, "name": "x", "boxes": np.zeros((2, 4)), "score": 0.5, "label": 3}
    train = TrainTransform(
        size=8,
        crop="resize",
        min_area=0.1,
        interpolation="bilinear",
        flip=False,
        shift=0,
        randaugment=None,
    )
    evaluation = EvalTransform(size=8, method="resize", crop_fraction=1.0, interpolation="bilinear")
    for found in (train(example, np.random.default_rng(0)), evaluation(example)):
        assert found.keys() == {"image", "boxes", "score", "label"}
        assert found["image"].shape == (8, 8, 3) and found["boxes"].shape == (2, 4)
        kinds = [found[name].dtype for name in ("boxes", "score", "label")]
        assert kinds == [np.float32, np.float32, np.int32]


def test_table_of_sources_is_open(monkeypatch):
    class Mine:
        class_names = ("a",)

        def __init__(self, split, root):
            self.split, self.root = split, root

    def mine(*, split, root, **_):
        return Mine(split, root)

    monkeypatch.setitem(sources.SOURCES, "mine", mine)
    found = sources.make_source("mine", split="val", root="here", name="", holdout=0.1)
    assert (found.split, found.root) == ("val", "here")
    data = ClassificationData(source="mine", batch_size=1)
    assert data.source == "mine"
    with pytest.raises(UserError, match=r"config\.data\.source='min': did you mean 'mine'"):
        ClassificationData(source="min", batch_size=1)


def test_images_count_once_however_many_links_lead_to_them(tmp_path):
    write_images(tmp_path, [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(4)])
    (tmp_path / "cat" / "again").symlink_to(tmp_path / "cat")
    (tmp_path / "dog" / "more").symlink_to(tmp_path / "cat")
    train, held = (sources.FolderSource(tmp_path, part, holdout=0.25) for part in ("train", "eval"))
    found = [os.path.realpath(name) for name in names_of(train) + names_of(held)]
    assert len(found) == len(set(found)) == 8 and not set(names_of(train)) & set(names_of(held))
    assert "1 links to a folder around them, 1 links to what is here already" in train.summary


def test_folders_that_are_no_classes(tmp_path):
    write_images(
        tmp_path, [f"{part}/{name}/1.png" for part in ("Training", "Testing") for name in "ab"]
    )
    with pytest.raises(
        UserError, match=r"train_split=Training and config\.data\.eval_split=Testing"
    ):
        sources.FolderSource(tmp_path)
    found = sources.FolderSource(tmp_path, "Testing", train_split="Training")
    assert found.class_names == ["a", "b"] and len(found) == 2
    listed = sources.FolderSource(tmp_path, classes=["Training", "Testing"])  # whoever says so
    assert listed.class_names == ["Training", "Testing"]


def test_listed_classes_decide_the_order(tmp_path):
    write_images(tmp_path, [f"{i}/{k}.png" for i in range(11) for k in range(2)])
    source = sources.FolderSource(tmp_path)
    assert source.class_names[:3] == ["0", "1", "10"]
    assert "class 2 is folder '10'; config.data.classes gives another order" in source.summary
    listed = sources.FolderSource(tmp_path, classes=[str(i) for i in range(11)])
    assert listed.class_names[2] == "2" and "sorted as text" not in listed.summary
    assert all(f"/{listed[i]['label']}/" in listed.name(i) for i in range(len(listed)))
    with pytest.raises(UserError, match="the data lacks '11', and the data has '10' besides"):
        sources.FolderSource(tmp_path, classes=[str(i) for i in [*range(10), 11]])
