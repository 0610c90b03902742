"""`launch.explain` and `launch.probe` as a user types them, with a model too small to be right."""

import csv
import json
from pathlib import Path

import numpy as np
import optax
import pytest
from jax import numpy as jnp
from PIL import Image
from pyarrow import parquet

import maxvit_jax
from common.data.images import CorruptImage
from common.errors import UserError
from common.pictures import encoded
from common.train.checkpoint import CheckpointConfig, Checkpoints
from common.train.state import create_state
from configs import maxvit_digits
from maxvit_jax.data_defaults import DataDefaults
from maxvit_jax.explain import _grad_cam
from maxvit_jax.explained_photos import METHODS, ExplainedPhotos, ExplainOptions
from maxvit_jax.photo_options import LoadedClassifier
from tests.golden.weights import make_variables
from tests.launch.forks import run_commands, succeeded
from tests.launch.photos import write_photos

FIELDS = {"stem_widths": (4, 8), "widths": (32,), "depths": (1,), "window_size": 2}
DATA = DataDefaults(image_size=8, mean=(127.5,) * 3, std=(60.0,) * 3, eval_method="resize")
NAMES = ["dark", "light"]


def explain(*arguments, output="new"):
    given = ("--workdir={tmp}/run", "--input={tmp}/photos", "--output={tmp}/" + output)
    return ["launch.explain", *given, *arguments]


CLASSES = ("--config.data.root={tmp}/three", "--config.data.image_size=8")
WEIGHTS = ("--model=maxvit_tiny", "--weights={tmp}/run")
COMMANDS = {
    "explain": explain(output="explained"),
    "go on": explain(output="interrupted"),
    "probe": ["launch.probe", "--workdir={tmp}/run", "--embeddings=parquet"],
    "probe weights": ["launch.probe", *WEIGHTS, *CLASSES, "--output={tmp}/probed"],
}
# Command line: what its one line must say.
MISTAKES = {
    "taken": (explain(output="explained"), "--output: {tmp}/explained exists already"),
    "empty": (explain("--input={tmp}/run"), "no photos in {tmp}/run (.jpg,"),
    "other job": (explain("--crop=64"), "--crop does not apply: it is for restoration models"),
}


def write_run(folder, variables):
    """A run on a folder of two classes, as if it had been trained."""
    config = maxvit_digits.get_config()
    config.model.update(FIELDS | {"num_classes": 2})
    data = {"source": "folder", "root": str(folder.with_name("two")), "image_size": 8}
    config.data.update(data)
    folder.mkdir()
    values = json.loads(config.to_json())
    (folder / "config.json").write_text(json.dumps(values))
    checkpoints = Checkpoints(str(folder), CheckpointConfig())
    checkpoints.save(create_state(variables, optax.identity(), ema=True), values)
    checkpoints.close()


@pytest.fixture(scope="module")
def loaded():
    model = maxvit_jax.create_model("maxvit_tiny", **FIELDS, num_classes=2)
    return LoadedClassifier(model, make_variables(model, jnp.zeros((1, 8, 8, 3))), DATA, NAMES)


@pytest.fixture(scope="module")
def tmp(tmp_path_factory, loaded):
    folder = tmp_path_factory.mktemp("explain")
    write_run(folder / "run", loaded.variables)
    rng = np.random.default_rng(0)
    write_photos(folder / "photos", *rng.integers(0, 256, (2, 20, 30, 3), np.uint8))
    for root, names in (("two", NAMES), ("three", [*NAMES, "blinding"])):
        for label, name in enumerate(names):
            (folder / root / name).mkdir(parents=True)
            for i in range(20):
                shade = rng.integers(0, 60, (9, 9, 3)) + 97 * label
                picture = Image.fromarray(shade.astype(np.uint8))
                picture.save(folder / root / name / f"{i}.png")
    (folder / "interrupted").mkdir()
    line = "image,class,name,probability,method,stage\r\n"
    row = f"{folder}/photos/a.jpg,1,1,0.5,grad_cam,stage_1\r\n"
    cut = row.replace("a.jpg", "a.png") + f"{folder}/photos/inner/b.png,1,1,0"
    (folder / "interrupted" / "explanations.unfinished.csv").write_text(line + row + cut)
    return folder


@pytest.fixture(scope="module")
def commands(tmp):
    lines = COMMANDS | {name: line for name, (line, _) in MISTAKES.items()}
    lines = {
        name: [part.replace("{tmp}", str(tmp)) for part in line] for name, line in lines.items()
    }
    return run_commands(lines, tmp / "results")


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(commands, tmp, name):
    """One line, status 2, no traceback, nothing written."""
    result = commands[name]
    error = result.err.splitlines()[-1]
    assert error.startswith("error: ") and "Traceback" not in result.err, result.err
    assert MISTAKES[name][1].replace("{tmp}", str(tmp)) in error
    assert result.status == 2 and not (tmp / "new").exists()


def test_folder(commands, tmp):
    """A picture and a row for every photo that can be read; the one that can't is named."""
    result, folder = commands["explain"], tmp / "explained"
    assert result.status == 1 and "Traceback" not in result.err, result.err
    assert f"can't explain {tmp}/photos/broken.png: not an image of a known" in result.out
    assert "explained 4 of 5 photos, 1 could not be; the pictures are in" in result.out
    with (folder / "explanations.csv").open(newline="") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    names = {"a.png": "a.png.png", "a.jpg": "a.jpg.png", "turned.jpg": "turned.png"}
    names["inner/b.png"] = "inner/b.png"
    assert rows.keys() == {f"{tmp}/photos/{name}" for name in names}
    for name, picture in names.items():
        with Image.open(folder / picture) as image:
            assert image.width > 640
        row = rows[f"{tmp}/photos/{name}"]
        assert row["name"] == NAMES[int(row["class"])] and row["method"] == "grad_cam"
        assert 0.5 <= float(row["probability"]) <= 1
    assert not list(folder.glob("**/.*"))


def test_interrupted_folder_goes_on(commands, tmp):
    """The last photos, whose rows may be cut off, are done again; those before them are not."""
    result = commands["go on"]
    assert "explained 3 of 5 photos, 1 were there already, 1 could not be" in result.out
    assert not (tmp / "interrupted" / "a.jpg.png").exists()
    assert (tmp / "interrupted" / "a.png.png").exists()


def test_probe(commands, tmp):
    """Of a run: brightness is in its features even where nothing was learnt."""
    out, folder = succeeded(commands["probe"]).out, tmp / "run" / "report" / "step_0" / "probe"
    report = json.loads((folder / "probe.json").read_text())
    assert report["images"] == {"train": 33, "eval": 7} and report["dimensions"] == 32
    assert report["linear"]["accuracy"] == 1 and report["neighbours"] == {"accuracy": 1, "k": 20}
    assert "linear probe: 100.00%" in out and f"the report is in {folder}" in out
    table = parquet.read_table(folder / "eval.parquet").to_pydict()
    assert table["class"] == sorted(table["class"]) and {*table["class"]} == {*NAMES}
    assert [Path(name).parent.name for name in table["name"]] == table["class"]


def test_probe_of_weights_on_other_classes(commands, tmp):
    """Three classes, where the weights have two: the head of the file is left out."""
    succeeded(commands["probe weights"])
    report = json.loads((tmp / "probed" / "probe.json").read_text())
    assert report["images"] == {"train": 52, "eval": 8}
    assert report["linear"]["accuracy"] == 1
    with np.load(tmp / "probed" / "train.npz") as file:
        assert file["class_names"].tolist() == ["blinding", "dark", "light"]
        assert file["vectors"].shape == (52, 32) and {*file["labels"].tolist()} == {0, 1, 2}
        assert {Path(name).parent.name for name in file["names"]} == {*NAMES, "blinding"}


@pytest.mark.parametrize("method", METHODS)
def test_methods(loaded, method):
    """Each draws a figure; what it doesn't take is refused."""
    photo = encoded(np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8))
    look = ExplainedPhotos(loaded, ExplainOptions(method=method))
    found = look("a.png", photo)
    assert found.row["stage"] == "stage_1" and found.row["method"] == method
    assert found.row["name"] == NAMES[found.row["class"]] in found.text
    height, width, _ = found.picture.shape
    # Photo, mean and one head; photo and field; photo, map and both.
    rows, columns = {"attention": (2, 3), "receptive_field": (1, 2)}.get(method, (1, 3))
    side = 160 if method == "attention" else 320
    assert side * rows < height < side * rows + 80 and side * columns < width < side * columns + 80
    with pytest.raises(CorruptImage):
        look("b.png", b"no photo")
    wrong = {"position": "0,0"} if method == "grad_cam" else {"target_class": "1"}
    with pytest.raises(UserError, match=f"does not apply to {method}, only to"):
        ExplainOptions(method=method, **wrong)
    for stage in (0, 2):
        with pytest.raises(UserError, match=f"--stage={stage}: the model has stages 1 to 1"):
            ExplainedPhotos(loaded, ExplainOptions(method=method, stage=stage))


def test_one_program_for_all_photos(loaded):
    look, before = ExplainedPhotos(loaded, ExplainOptions()), _grad_cam._cache_size()
    for side in (8, 9):
        look("a", encoded(np.zeros((side, side, 3), np.uint8)))
    assert _grad_cam._cache_size() <= before + 1


def test_class_and_position(loaded):
    for text in ("1", "light"):
        look = ExplainedPhotos(loaded, ExplainOptions(target_class=text))
        assert look("a", encoded(np.zeros((8, 8, 3), np.uint8))).row["class"] == 1
    with pytest.raises(UserError, match="--target_class=lihgt: did you mean 'light'"):
        ExplainedPhotos(loaded, ExplainOptions(target_class="lihgt"))
    options = ExplainOptions(method="rollout", position="1,0.5")
    assert options.pixel((8, 12)) == (4, 11)
    with pytest.raises(UserError, match="--method=gradcam: did you mean 'grad_cam'"):
        ExplainOptions(method="gradcam")
    for text in ("0.5", "a,b", "0.5,1.5", "nan,0"):
        with pytest.raises(UserError, match=f"--position={text}: two numbers from 0 to 1"):
            ExplainedPhotos(loaded, ExplainOptions(method="rollout", position=text))
