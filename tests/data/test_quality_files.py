"""Image files with scores: missing ones, parts by lists or by names, and what is said of them."""

import numpy as np
import pytest

from common.data.quality import make_quality_source
from common.data.table_files import IN_BOTH, MISSING, NOT_IN_TABLE, SEVERAL, UNREADABLE, Parts
from common.errors import UserError
from tests.data.score_files import VOTES, ava_line, csv_text, write_images

FIVE = (1.0, 2.0, 3.0, 4.0, 5.0)
TEN = tuple(map(float, range(1, 11)))


def source(root, training=True, kind="csv", scores=FIVE, parts=None, **fields):
    return make_quality_source(
        kind, scores=scores, training=training, root=str(root), parts=parts, **fields
    )


def names(found):
    return [found.name(i) for i in range(len(found))]


@pytest.fixture
def mine(tmp_path):
    """Ten images and a table of them."""
    root = tmp_path / "mine"
    write_images(root, [f"images/{i}.png" for i in range(10)])
    rows = [(f"{i}.png", *VOTES[i % 3]) for i in range(10)]
    (root / "scores.csv").write_text(csv_text(rows))
    return root


def test_examples_have_what_the_table_says(mine):
    found = source(mine)
    for i in range(len(found)):
        example = found[i]
        number = int(example["name"].removeprefix("images/").removesuffix(".png"))
        votes = np.array(VOTES[number % 3]) / sum(VOTES[number % 3])
        np.testing.assert_allclose(example["distribution"], votes, rtol=1e-6)
        assert example["distribution"].dtype == np.float32 and example["position"] == i
        assert example["image"] == (mine / example["name"]).read_bytes()


def test_parts_by_names_are_two_and_follow_the_seed(mine):
    found = {}
    for seed in (0, 1):
        parts = Parts(holdout=0.3, seed=seed)
        train, held_out = (names(source(mine, training, parts=parts)) for training in (True, False))
        assert sorted(train + held_out) == [f"images/{i}.png" for i in range(10)]
        found[seed] = held_out
    assert found[0] != found[1]
    said = source(mine, parts=Parts(holdout=0.3, seed=1)).summary
    assert "no split lists: 0.3 of all images are held out, seed 1" in said


def test_parts_as_lists_say(mine, tmp_path):
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_text("0\n1.png\nimages/2.png\n\n99\n")
    second.write_text("2\n3\n4\n")
    both = Parts(str(first), str(second))
    train, held_out = source(mine, parts=both), source(mine, False, parts=both)
    assert names(train) == ["images/0.png", "images/1.png"]
    assert names(held_out) == ["images/2.png", "images/3.png", "images/4.png"]
    assert train.problems == {NOT_IN_TABLE: ["99"], IN_BOTH: ["images/2.png"]}
    assert f"1 {NOT_IN_TABLE} (99)" in train.summary and str(first) in train.summary
    rest = source(mine, parts=Parts(eval_list=str(second)))
    assert names(rest) == [f"images/{i}.png" for i in (0, 1, 5, 6, 7, 8, 9)]
    rest = source(mine, False, parts=Parts(train_list=str(first)))
    assert names(rest) == [f"images/{i}.png" for i in range(3, 10)]


@pytest.mark.parametrize(
    ("text", "words"), [("77\n78\n", "only such as 77, 78"), ("\n", "it is empty")]
)
def test_lists_of_other_images(mine, tmp_path, text, words):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(UserError, match=words):
        source(mine, parts=Parts(str(tmp_path / "list.txt")))
    with pytest.raises(UserError, match="can't be read: No such file"):
        source(mine, parts=Parts(str(tmp_path / "nothing.txt")))


def test_odd_rows_and_files_cost_no_others(mine):
    write_images(mine, ["more/3.png", "more/11.png"])
    (mine / "images" / "4.png").write_bytes(b"no image")
    rows = [(f"{i}.png", *VOTES[0]) for i in range(12)]
    (mine / "scores.csv").write_text(
        csv_text([*rows, ("5.png", *VOTES[1]), ("7.png", "x", *VOTES[0])])
    )
    every = Parts(eval_list=str(mine / "all.txt"))
    (mine / "all.txt").write_text("\n".join(map(str, range(12))))
    found = source(mine, False, parts=every)
    kept = {f"images/{i}.png" for i in (0, 1, 2, 5, 6, 7, 8, 9)} | {"more/11.png"}
    assert set(names(found)) == kept
    assert found.problems[MISSING] == ["10.png"] and found.problems[SEVERAL] == ["3.png"]
    assert found.problems[UNREADABLE] == ["images/4.png"]
    assert "1 missing image file (10.png)" in found.summary
    assert "1 image listed again (line 14 (5.png))" in found.summary


def test_nothing_left_is_one_line(mine):
    rows = [("gone.png", *VOTES[0]), ("0.png", 0, 0, 0, 0, 0), ("1.png", -1, 0, 0, 0, 2)]
    (mine / "scores.csv").write_text(csv_text(rows))
    with pytest.raises(UserError) as caught:
        source(mine)
    text = str(caught.value)
    assert "no row of" in text and "3 rows left out" in text and "\n" not in text
    for part in (
        "1 missing image file (gone.png)",
        "1 row whose counts are all zero (line 3 (0.png))",
    ):
        assert part in text


def test_ava_and_its_ids(tmp_path):
    write_images(tmp_path / "images", [f"{i}.jpg" for i in (953619, 11, 12)])
    lines = [ava_line(i, image) for i, image in enumerate((953619, 11, 404))]
    (tmp_path / "AVA.txt").write_text("\n".join(lines))
    (tmp_path / "test.jpgl").write_text("11\n")
    parts = Parts(eval_list=str(tmp_path / "test.jpgl"))
    train = source(tmp_path, kind="ava", scores=TEN, parts=parts)
    assert names(train) == ["images/953619.jpg"] and train.problems == {MISSING: ["404"]}
    assert names(source(tmp_path, False, kind="ava", scores=TEN, parts=parts)) == ["images/11.jpg"]
    with pytest.raises(UserError, match="scores of AVA are 1 to 10"):
        source(tmp_path, kind="ava", parts=parts)


def test_where_things_are(mine, tmp_path):
    with pytest.raises(UserError, match="needs root"):
        source("", kind="ava")
    with pytest.raises(UserError, match="no folder"):
        source(tmp_path / "nothing")
    with pytest.raises(UserError, match="no folder"):
        source(mine, images="pictures")
    assert len(source(mine, images="images", table="scores.csv"))
    (mine / "other.csv").write_text("")
    with pytest.raises(UserError, match=r"there are other\.csv, scores\.csv; set config"):
        source(mine)
    with pytest.raises(UserError, match="did you mean 'csv'"):
        source(mine, kind="cvs")
