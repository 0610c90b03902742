"""What is taken for a class, and what for something else."""

import pytest

from common.data.class_folders import class_folders, order_line, refuse_splits
from common.errors import UserError


def folder_of(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"never read")
    return root


@pytest.mark.parametrize(
    ("files", "advice"),
    [
        (
            ["Train/a/1", "Valid/a/1", "Test/a/1"],
            "train_split=Train and config.data.eval_split=Valid",
        ),
        (
            [f"seg_{part}/seg_{part}/{name}/1" for part in ("train", "test") for name in "ab"],
            "train_split=seg_train/seg_train and config.data.eval_split=seg_test/seg_test",
        ),
        (["train/train/a/1", "train/train/b/1", "val/a/1"], "train_split=train/train and"),
        (["pets/a/1", "pets/b/1", "__MACOSX/a/1"], "set config.data.root={root}/pets;"),
        (["pets/train/a/1", "pets/val/a/1"], "set config.data.root={root}/pets;"),
        (["fold_1/a/1", "fold_1/b/1", "fold_2/a/1", "fold_2/b/1"], "such as {root}/fold_1"),
        (["2019/a/1", "2019/b/1", "2020/a/1", "2020/b/1", "c/1"], "such as {root}/2019"),
        (["animals/cat/1", "tools/saw/1"], "'animals', 'tools' in {root} hold folders alone"),
        (["training/1", "testing/1"], "'testing', 'training' in {root} look like splits"),
    ],
)
def test_splits_and_folders_around_the_data(tmp_path, files, advice):
    folder_of(tmp_path, *files)
    with pytest.raises(UserError) as caught:
        refuse_splits(tmp_path, "train")
    assert advice.format(root=tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "files",
    [
        ["cat/1", "dog/1"],
        ["cat/1", "dog/more/1"],
        ["train/cat/1", "train/dog/more/1", "val/cat/1"],
        ["cat/images/1", "dog/images/1"],  # Tiny ImageNet
        ["bus/1", "training/1", "tram/1"],  # by name a split, but it has images beside others
    ],
)
def test_classes(tmp_path, files):
    refuse_splits(folder_of(tmp_path, *files), "train")


def test_tools_folders_are_no_classes(tmp_path):
    folder_of(tmp_path, "b/1", "a/1", "@eaDir/1", "__MACOSX/1", ".git/1")
    assert class_folders(tmp_path) == ["a", "b"]
    assert class_folders(tmp_path, ["b", "a"]) == ["b", "a"]
    with pytest.raises(UserError, match="has 'a' more than once"):
        class_folders(tmp_path, ["a", "b", "a"])
    with pytest.raises(UserError, match=r"differ: the data has 'b' besides$"):
        class_folders(tmp_path, ["a"])


def test_numbers_as_text():
    assert order_line(["0", "1", "2"]) == order_line(["cat", "10", "2"]) == ""
    assert order_line(["00", "02", "10"]) == ""
    assert "class 1 is folder '10'" in order_line(["1", "10", "2"])
