"""What `launch.predict` writes of a detector: photos and videos, and after an interruption.

The commands run once and in turn; the tests look at what each left.
"""

import csv
import json
import shutil
import signal

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from PIL import Image

from maxvit_jax import detectors, segmenters
from tests.golden.weights import make_variables
from tests.heads import micro
from tests.launch.forks import run_commands
from tests.test_video import make_video, read_video

av = pytest.importorskip("av")

PHOTOS = ("000000000139.png", "000000000285.png", "garden/bench.png")
PREPROCESSING = {"mean": [127.5] * 3, "std": [60.0] * 3}
FOUND = "predictions.csv", "categories.json", "detections.json"


def predict(tmp, name, source="films", *arguments):
    return [
        *("launch.predict", f"--model=poolformer_s12+{name}", f"--weights={tmp}/{name}"),
        *(f"--input={tmp}/{source}", *arguments),
    ]


def save(folder, registry, name, model, **info):
    variables = make_variables(model, jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))
    info = info | {"preprocessing": PREPROCESSING | info.get("preprocessing", {})}
    registry.save_pretrained(folder / name, model, variables, **info)


@pytest.fixture(scope="module")
def tmp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objects")
    save(folder, segmenters, "semantic_fpn", micro.create())
    fields = {"backbone_fields": micro.BACKBONES["poolformer_s12"], "channels": 8, "depth": 1}
    model = detectors.create_model("poolformer_s12+retinanet", num_classes=2, **fields)
    canvas = {"image_size": 64, "resize": None}
    info = {"category_ids": [3, 9], "class_names": ["red", "blue"], "preprocessing": canvas}
    save(folder, detectors, "retinanet", model, **info)
    rng = np.random.default_rng(0)
    for name in PHOTOS:
        (folder / "films" / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (40, 56, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "films" / name)
    make_video(folder / "films" / "a.mkv")
    frames = [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(40)]  # to be killed in
    make_video(folder / "films" / "b.mp4", frames=frames, times=range(40))
    (folder / "only").mkdir()
    shutil.copy(folder / "films" / "a.mkv", folder / "only" / "clip.mkv")
    (folder / "only" / "broken.mov").write_text("no film")
    return folder


@pytest.fixture(scope="module")
def results(tmp):
    inside = tmp / "films" / "found"  # what is in it is no input
    resumed = predict(tmp, "retinanet", "films", f"--output={inside}", "--score=0.01")
    killed = ["tests.launch.killed", f"{inside}/a.mkv", *resumed]
    found = run_commands({"killed": killed}, tmp / "results")
    shutil.copytree(inside, tmp / "left")
    found |= run_commands({"resumed": resumed}, tmp / "results")
    inside.rename(tmp / "found")
    rest = {
        "only": predict(tmp, "retinanet", "only", f"--output={tmp}/only_found"),
        "again": predict(tmp, "retinanet", "only", f"--output={tmp}/only_found"),
        "no output": predict(tmp, "retinanet", "only"),
        "video's name": predict(tmp, "retinanet", "only", f"--output={tmp}/none.mp4"),
        "masks": predict(tmp, "semantic_fpn", "films", f"--output={tmp}/masks"),
        "no masks": predict(tmp, "semantic_fpn", "only/clip.mkv", f"--output={tmp}/none"),
    }
    return found | run_commands(rest, tmp / "results")


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_photos_and_videos_have_files_of_their_own(results, tmp):
    assert results["resumed"].status == 0, results["resumed"].err
    photos = [name.removesuffix(".png") for name in PHOTOS]
    of_photos = {f"{name}.objects.{kind}" for name in photos for kind in ("jpg", "json")}
    of_videos = {"a.mkv", "a.mkv.csv", "b.mp4", "b.mp4.csv"}
    assert files(tmp / "found") == {*FOUND, *of_photos, *of_videos}
    images = {row["image"] for row in table(tmp / "found" / "predictions.csv")}
    assert images == {f"{tmp}/films/{name}" for name in PHOTOS}


def test_boxes_are_drawn_in_the_frames_that_the_table_says(results, tmp):
    before, times, sound = read_video(tmp / "films" / "a.mkv")
    after, new_times, new_sound = read_video(tmp / "found" / "a.mkv")
    assert len(after) == len(before) and new_sound == sound
    np.testing.assert_allclose(new_times, times, atol=2e-3)
    rows = table(tmp / "found" / "a.mkv.csv")
    assert list(rows[0]) == ["frame", "name", "category_id", "score", "x1", "y1", "x2", "y2"]
    assert {int(row["frame"]) for row in rows} == set(range(len(before)))
    for row in rows:
        assert 0 <= float(row["x1"]) < float(row["x2"]) <= 64
        assert {"red": "3", "blue": "9"}[row["name"]] == row["category_id"]
    changed = [np.abs(np.float32(a) - b).mean() for a, b in zip(after, before, strict=True)]
    assert min(changed) > 5  # encoding alone changes less


def test_results_have_the_ids_that_coco_has(results, tmp):
    coco = pytest.importorskip("pycocotools.coco")
    found = tmp / "found"
    rows = json.loads((found / "detections.json").read_text())
    ids = {"000000000139": 139, "000000000285": 285, "garden/bench": "garden/bench"}
    for name, image_id in ids.items():
        of_photo = json.loads((found / f"{name}.objects.json").read_text())
        assert of_photo == [row for row in rows if row["image_id"] == image_id] != []
    assert len(rows) == len(table(found / "predictions.csv"))
    truth = coco.COCO()
    images, categories = [{"id": 139}, {"id": 285}], [{"id": 3}, {"id": 9}]
    truth.dataset = {"images": images, "categories": categories, "annotations": []}
    truth.createIndex()
    numbered = [row for row in rows if row["image_id"] != "garden/bench"]
    assert len(truth.loadRes(numbered).getAnnIds(catIds=[3, 9])) == len(numbered)


def test_an_interrupted_folder_goes_on_where_it_ended(results, tmp):
    assert results["killed"].status == -signal.SIGKILL
    left = {"predictions.unfinished.csv", "categories.json", "a.mkv", "a.mkv.csv"}
    seen = {name for name in files(tmp / "left") if not name.startswith(".")}
    assert {name for name in seen if ".objects." not in name} == left
    resumed = results["resumed"]
    assert resumed.status == 0, resumed.err
    assert "predicted 2 of 5 photos and videos, 3 were there already" in resumed.out
    assert f"{tmp}/films/b.mp4: 40 frames" in resumed.out and "a.mkv: " not in resumed.out
    earlier = {"a.mkv", "a.mkv.csv", "000000000139.objects.json", "000000000285.objects.jpg"}
    for name in earlier:
        mtimes = {(tmp / folder / name).stat().st_mtime_ns for folder in ("left", "found")}
        assert len(mtimes) == 1, name
    assert {int(row["frame"]) for row in table(tmp / "found" / "b.mp4.csv")} == set(range(40))


def test_videos_alone(results, tmp):
    result = results["only"]
    assert result.status == 1 and f"failed: {tmp}/only/broken.mov: can't read" in result.out
    assert "predicted 1 of 2 videos, 1 could not be read\n" in result.out
    assert files(tmp / "only_found") == {"clip.mkv", "clip.mkv.csv", "categories.json"}


def test_models_that_take_no_videos_name_them(results, tmp):
    result, films = results["masks"], f"{tmp}/films"
    assert result.status == 0, result.err
    left_out = f"left out, as this model takes no videos: {films}/a.mkv, {films}/b.mp4\n"
    assert "predicted 3 of 3 photos; " in result.out and left_out in result.out


@pytest.mark.parametrize(
    "name, words",
    [
        ("again", "only_found exists already"),
        ("no output", "--output is missing: the folder for what is found in videos"),
        ("video's name", "none.mp4 is a video's name, a folder is written: name one, such as"),
        ("no masks", "only/clip.mkv: this model takes no videos, give their frames as photos"),
    ],
)
def test_mistakes(results, tmp, name, words):
    result = results[name]
    assert result.status == 2 and words in result.err and "Traceback" not in result.err
    assert not (tmp / "none").exists() and not (tmp / "none.mp4").exists()
