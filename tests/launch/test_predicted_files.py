"""What `launch.predict` writes into a folder: a name for every photo, and after an interruption.

The commands run once and in turn; the tests look at what each left.
"""

import csv
import shutil
import signal

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from PIL import Image

from maxvit_jax import segmenters
from tests.golden.weights import make_variables
from tests.heads import micro
from tests.launch.forks import run_commands

ALIKE = ("a.jpg", "a.jpg.png", "a.png")  # in the order that they are read in
NAMES = list("abcd")


def predict(tmp, output, source="photos", weights="weights"):
    return [
        *("launch.predict", "--model=poolformer_s12+semantic_fpn", f"--weights={tmp}/{weights}"),
        *(f"--input={tmp}/{source}", f"--output={tmp}/{output}"),
    ]


@pytest.fixture(scope="module")
def tmp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    model = micro.create()
    variables = make_variables(model, jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))
    info = {"preprocessing": {"mean": [127.5] * 3, "std": [60.0] * 3}}
    for weights, names in (("weights", NAMES), ("renamed", NAMES[::-1])):
        segmenters.save_pretrained(folder / weights, model, variables, class_names=names, **info)
    rng = np.random.default_rng(0)
    photos = [f"photos/{name}" for name in (*ALIKE, "b.png", "large.png")]
    for name in (*photos, "case/x.jpg", "case/X.jpg", "others/y.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        size = (900, 700) if "large" in name else (30, 40)  # large: time to be killed in
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def results(tmp):
    inside = "photos/masks"  # pictures in it are no input
    killed = ["tests.launch.killed", f"{tmp}/{inside}/b.overlay.jpg", *predict(tmp, inside)]
    found = run_commands({"killed": killed}, tmp / "results")
    shutil.copytree(tmp / inside, tmp / "left")
    rest = {
        "resumed": predict(tmp, inside),
        "again": predict(tmp, inside),
        "of others": predict(tmp, "left", source="others"),
        "other classes": predict(tmp, "left", weights="renamed"),
        "case": predict(tmp, "case_masks", source="case"),
    }
    found |= run_commands(rest, tmp / "results")
    shutil.copytree(tmp / inside, tmp / "resumed")
    shutil.rmtree(tmp / inside)
    return found | run_commands({"whole": predict(tmp, "whole")}, tmp / "results")


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_photos_of_one_name_have_files_of_their_own(results, tmp):
    assert results["whole"].status == 0, results["whole"].err
    pictures = {
        f"{name}{end}" for name in (*ALIKE, "b", "large") for end in (".png", ".overlay.jpg")
    }
    names = {path.name for path in (tmp / "whole").iterdir()}
    assert names == pictures | {"classes.csv", "predictions.csv"}
    shares = {}
    with (tmp / "whole" / "predictions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            name = row["image"].rpartition("/")[2]
            shares.setdefault(name, {})[int(row["class"])] = float(row["share"])
    for name in ALIKE:
        counts = np.bincount(np.asarray(Image.open(tmp / "whole" / f"{name}.png")).ravel())
        assert shares[name] == pytest.approx(
            {i: n / 1200 for i, n in enumerate(counts) if n}, rel=1e-5
        )


def test_names_that_differ_in_case_alone_are_refused(results, tmp):
    result = results["case"]
    assert result.status == 2 and not (tmp / "case_masks").exists()
    assert f"{tmp}/case/X.jpg and {tmp}/case/x.jpg differ in case alone" in result.err


def test_an_interrupted_folder_goes_on_where_it_ended(results, tmp):
    assert results["killed"].status == -signal.SIGKILL
    table = (tmp / "left" / "predictions.unfinished.csv").read_text()
    assert f"{tmp}/photos/a.jpg.png,0," in table and "large" not in table
    assert not (tmp / "left" / "predictions.csv").exists()
    resumed = results["resumed"]
    assert resumed.status == 0, resumed.err
    assert "predictions.unfinished.csv has" in resumed.out and "of 5 photos" in resumed.out
    assert f"{tmp}/photos/large.png: " in resumed.out
    assert f"{tmp}/photos/a.jpg.png: " not in resumed.out
    assert content(tmp / "resumed") == content(tmp / "whole")


@pytest.mark.parametrize(
    "name, words",
    [
        ("again", "photos/masks exists already"),
        ("of others", "is of other photos ("),
        ("other classes", "left/classes.csv is of another model"),
    ],
)
def test_nothing_is_overwritten(results, tmp, name, words):
    assert results[name].status == 2 and words in results[name].err
    assert not (tmp / "left" / "predictions.csv").exists()
    assert (tmp / "left" / "predictions.unfinished.csv").read_text().count("a.jpg.png,0,") == 1
