"""Tables of scores: what is read, what is left out and how it is said."""

import numpy as np
import pytest

from common.data import csv_rows, score_tables
from common.data.score_distributions import moments
from common.data.score_tables import AVA_SCORES, ScoreColumns, read_ava, read_score_csv
from common.errors import UserError
from tests.data.score_files import VOTES, ava_line, csv_text

FIVE = (1.0, 2.0, 3.0, 4.0, 5.0)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def read(tmp_path, text, scores=FIVE, **columns):
    return read_score_csv(write(tmp_path / "mine.csv", text), scores, ScoreColumns(**columns))


def test_ava_leaves_out_odd_lines_alone(tmp_path):
    lines = [
        ava_line(1, 953619),
        ava_line(2, 11, (0, 0, 1, 2, 3, 3, 1, 0, 0)),  # a column less
        "",
        ava_line(3, 12, (0, 0, 1, -2, 3, 3, 1, 0, 0, 0)),
        ava_line(4, 13, (0,) * 10),
        ava_line(5, 953619),
        ava_line(6, 14, (0, 0, 1, "two", 3, 3, 1, 0, 0, 0)),
        ava_line(7, 15, (0, 0, 1, "nan", 3, 3, 1, 0, 0, 0)),
        ava_line(8, 777, (2, 0, 0, 0, 0, 0, 0, 0, 0, 2)),
    ]
    table = read_ava(write(tmp_path / "AVA.txt", "\n".join(lines)))
    assert table.images == ["953619", "777"]
    np.testing.assert_allclose(moments(table.distributions, AVA_SCORES)[0], [5, 5.5])
    np.testing.assert_allclose(table.distributions.sum(-1), 1)
    assert table.problems == {
        csv_rows.COLUMNS: ["line 2 (11)"],
        score_tables.NEGATIVE: ["line 4 (12)"],
        score_tables.NO_VOTES: ["line 5 (13)"],
        csv_rows.TWICE: ["line 6 (953619)"],
        score_tables.NOT_A_NUMBER: ["line 7 (14)", "line 8 (15)"],
    }


@pytest.mark.parametrize("start", ["c", ""])
def test_counts_by_the_names_of_scores(tmp_path, start):
    head = ",".join(["image", *(f"{start}{score:g}" for score in FIVE)])
    table = read(tmp_path, csv_text([("a.jpg", *VOTES[0]), ("b.jpg", *VOTES[2])], head))
    assert table.images == ["a.jpg", "b.jpg"] and not table.problems and not table.notes
    np.testing.assert_allclose(table.distributions[1], [5 / 8, 3 / 8, 0, 0, 0])


def test_the_file_of_koniq(tmp_path):
    """Its columns, which hold means too, and those that nobody reads are named."""
    head = '"image_name","c1","c2","c3","c4","c5","c_total","MOS","SD"'
    table = read(tmp_path, f'{head}\n"826373.jpg",0,0,25,73,7,105,3.8,.5\n', image="image_name")
    np.testing.assert_allclose(table.distributions[0] * 105, [0, 0, 25, 73, 7])
    assert table.notes == ["columns not read: c_total, MOS, SD"]


def test_columns_of_other_names_and_semicolons(tmp_path):
    text = csv_text([("a", 1, 2)], "file,bad,good").replace(",", ";")
    table = read(tmp_path, "\ufeff" + text, (0.0, 1.0), image="file", counts=("bad", "good"))
    np.testing.assert_allclose(table.distributions, [[1 / 3, 2 / 3]])


def test_moments_become_distributions_with_that_mean(tmp_path):
    rows = [("a", 3.21, 0.8), ("b", 5.5, 0.1), ("c", 3, -0.1), ("d", 1, 0), ("e", 3.5, 0.2)]
    table = read(tmp_path, csv_text(rows, "image,mean,std"))
    assert table.images == ["a", "d", "e"]
    mean, std = moments(table.distributions, FIVE)
    np.testing.assert_allclose(mean, [3.21, 1, 3.5], atol=1e-3)
    np.testing.assert_allclose(std, [0.8, 0, 0.5], atol=1e-3)
    assert table.problems == {
        score_tables.OUTSIDE: ["line 3 (b)"],
        score_tables.NEGATIVE_STD: ["line 4 (c)"],
    }
    assert table.notes == [
        "1 deviations that no distribution over the scores has, the nearest is taken"
    ]


def test_rows_that_are_no_rows(tmp_path):
    text = csv_text([("a", *VOTES[0]), ("", *VOTES[0]), ("b", 1, 2), ("c", 1, 2, "", 4, 5)])
    table = read(tmp_path, text)
    assert table.images == ["a"]
    assert table.problems == {
        csv_rows.NO_NAME: ["line 3"],
        csv_rows.COLUMNS: ["line 4"],
        score_tables.NOT_A_NUMBER: ["line 5 (c)"],
    }


def test_huge_counts_are_shares_too(tmp_path):
    table = read(tmp_path, csv_text([("a", "1e308", "1e308", 0, 0, 0)]))
    np.testing.assert_allclose(table.distributions, [[0.5, 0.5, 0, 0, 0]])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,c1,c2,c3\na,1,2,3\n", r"counts in 3 columns c1 \.\. c3, but there are 5 scores"),
        ("picture,mean,std\na,3,1\n", "no column 'image'.*: choose from mean, picture, std"),
        ("image,means,std\na,3,1\n", "no column 'mean'.*: did you mean 'means'"),
        ("image,mean,mean,std\na,3,3,1\n", "2 columns 'mean'"),
        ("", "no column 'image'.*: there are none"),
        ('image,mean,std\n"' + "a" * 200_000, "field larger than field limit"),
    ],
)
def test_files_that_are_no_tables(tmp_path, text, words):
    with pytest.raises(UserError, match=words):
        read(tmp_path, text)


def test_files_that_are_no_text(tmp_path):
    (tmp_path / "image.csv").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(UserError, match="no text in UTF-8"):
        read_score_csv(tmp_path / "image.csv", FIVE, ScoreColumns())
    with pytest.raises(UserError, match="No such file"):
        read_ava(tmp_path / "AVA.txt")
