"""The mains as a user types them: what goes wrong ends in one line, what goes right leaves files.

All commands run in `commands`, once; the tests look at what each left.
"""

import csv
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix

import maxvit_jax
from common.data.sources import digits_source
from common.train.checkpoint import restore_variables
from common.weights.mapping import flatten
from common.weights.readers import read_arrays
from tests.launch.forks import ENVIRONMENT, ROOT, run_commands

DIGITS = "configs/maxvit_digits.py"
SMALL = {
    "model.widths": "(32,)",
    "model.depths": "(1,)",
    "model.stem_widths": "(4,8)",
    "data.image_size": 16,
    "train.num_steps": 4,
    "train.log_every": 2,
    "eval.every_steps": 2,
    "schedule.warmup_steps": 1,
}


def train(config=DIGITS, workdir="{tmp}/new", **overrides):
    fields = [f"--config.{n.replace('__', '.')}={v}" for n, v in overrides.items()]
    return ["launch.train", f"--config={config}", f"--workdir={workdir}", *fields]


def small(**overrides):
    return train(**SMALL, **overrides)


def weights(*arguments):
    return ["launch.evaluate", "--model=maxvit_tiny", *arguments]


# Command line: what its one line must say. {tmp} is a folder with the file `file`.
MISTAKES = {
    "config file": (train("configs/maxvit_digit.py"), "did you mean 'configs/maxvit_digits.py'"),
    "config argument": (train(f"{DIGITS}:smok=1"), "argument 'smok': did you mean 'smoke'?"),
    "argument value": (train(f"{DIGITS}:smoke=maybe"), "expected smoke=<bool>"),
    "two lengths": (train(train__num_steps=9, train__num_epochs=2), "num_epochs: give one of them"),
    "no epochs": (train(train__num_epochs=0), "num_epochs must be positive"),
    "field": (train(optimizer__learning_rte=1), "'learning_rte': did you mean 'learning_rate'?"),
    "section": (train(optimzer__learning_rate=1), "'optimzer': did you mean 'optimizer'?"),
    "field of the model": (train(model__window=7), "'window': did you mean 'window_size'"),
    "not a number": (train(optimizer__learning_rate="fast"), "learning_rate=fast"),
    "not an integer": (train(data__batch_size=1.5), "batch_size=1.5"),
    "open field": (train(data__eval_batch_size="abc"), "eval_batch_size=abc"),
    "choice": (train(data__crop="centre"), "config.data.crop='centre': choose from"),
    "interpolation": (train(data__interpolation="cubic"), "did you mean 'bicubic'"),
    "two channels": (train(data__mean="(1,2)"), "1, 3 or 4 finite numbers each"),
    "no value": ([*train()[:-1], "--workdir"], "Missing value for flag --workdir"),
    "no steps": (train(train__num_steps=0), "num_steps must be positive"),
    "no batch": (train(data__batch_size=0), "batch_size and eval_batch_size must be positive"),
    "workers": (train(data__num_workers=-1), "num_workers must not be negative"),
    "too many workers": (train(data__num_workers=10**5), "num_workers=100000: at most 1024"),
    "seed": (train(seed=10**19), "config.seed must be an integer, 0 or more and less"),
    "shift": (train(data__shift=32), "data.shift=32: images have 32 pixels"),
    "None": (train(train__num_steps=None), "config.train.num_steps=None: expected int"),
    "None of no field": (train(data__rot=None), "config.data has no field 'rot': did you mean"),
    "schedule": (train(schedule__warmup_steps=1000), "must exceed warmup_steps=1000"),
    "accumulation": (train(train__accumulate_steps=3), "nearest valid: 126 or 129"),
    "mesh": (train(mesh__fsdp=3), "does not fit 1 devices"),
    "model": (train(model__name="maxvit_tinny"), "did you mean 'maxvit_tiny'"),
    "dtype": (train(model__dtype="float17"), "unknown dtype 'float17'"),
    "stages": (train(model__widths="(32,)"), "one positive number per stage"),
    "classes": (train(model__num_classes=7), "has 10 classes"),
    "image size": (
        train(data__image_size=20),
        "image height 20 does not fit stage_1, whose map at stride 4",
    ),
    "imagenet": (train("configs/maxvit_tiny.py"), "download_and_prepare()"),
    "data set": (train("configs/maxvit_tiny.py", data__name="imagenett2012"), "'imagenet2012'"),
    "no folder given": (train("configs/maxvit_folder.py"), "needs root"),
    "folder": (train("configs/maxvit_folder.py", data__root="{tmp}/no"), "no folder '{tmp}/no'"),
    "no weights": (small(init__weights="{tmp}/no"), "{tmp}/no does not exist"),
    "no weights given": (small(init__weights=""), "needs --config.init.weights"),
    "other run": ([*small()[:2], "--workdir={tmp}/run"], "holds a run with another config"),
    "workdir is a file": ([*small(), "--workdir={tmp}/file"], "{tmp}/file: Not a directory"),
    "workdir in a file": ([*small(), "--workdir={tmp}/file/run"], "Not a directory"),
    "workdir can't be made": ([*small(), "--workdir=/proc/runs/one"], "can't use /proc/runs"),
    "workdir of something else": ([*small(), "--workdir={tmp}"], "it is no run directory"),
    "no workdir": (["launch.train", f"--config={DIGITS}"], "--workdir is missing"),
    "no config": (["launch.train", "--workdir={tmp}/new"], "--config is missing"),
    "flag": ([*train(), "--work_dir={tmp}/new"], "Did you mean: workdir ?"),
    "argument": ([*train(), "digits"], "unexpected argument 'digits'"),
    "evaluate nothing": (["launch.evaluate"], "give either --workdir, or --model and --weights"),
    "evaluate both": (["launch.evaluate", "--workdir=a", "--weights=b"], "give either"),
    "evaluate what": (["launch.evaluate", "--workdir={tmp}/no"], "{tmp}/no is no run directory"),
    "evaluate which": (
        ["launch.evaluate", "--weights={tmp}/no", "--output={tmp}/r"],
        "needs --model",
    ),
    "no report": (weights("--weights={tmp}/no"), "--weights needs --output"),
    "evaluate imagenet": (
        weights("--weights={tmp}/own", "--output={tmp}/out"),
        "download_and_prepare()",
    ),
    "evaluate classes": (
        weights("--weights={tmp}/own", "--output={tmp}/out", "--config.model.num_classes=7"),
        "{tmp}/own has 10 classes: classes=7",
    ),
    "evaluate by another config": (
        weights("--weights={tmp}/own", "--output={tmp}/out", "--config=configs/maxvit_base.py"),
        "--config is for maxvit_base, not maxvit_tiny: add --config.model.name=maxvit_tiny",
    ),
    "convert nothing": (["launch.convert"], "is missing"),
    "convert text": (
        ["launch.convert", "--model=maxvit_tiny", "--input={tmp}/file", "--output={tmp}/out"],
        "{tmp}/file is not a weight file we know",
    ),
    "convert to": (
        ["launch.convert", "--to=onnx"],
        "should be one of <safetensors|official|timm|torch>",
    ),
    "convert for timm": (
        ["launch.convert", "--model=maxvit_tiny", "--to=torch", "--input=no", "--output={tmp}/out"],
        "--to=torch does not apply: maxvit_tiny has names by official, timm",
    ),
    "convert for nobody": (
        ["launch.convert", "--model=aewin_tiny", "--to=timm", "--input=no", "--output={tmp}/out"],
        "--to=timm does not apply: aewin_tiny is published by nobody else",
    ),
    "convert for a size": (
        [
            *("launch.convert", "--model=maxim_s1", "--image_size=384"),
            *("--input=no", "--output={tmp}/out"),
        ],
        "--image_size does not apply: maxim_s1 takes any",
    ),
    "convert another model": (
        ["launch.convert", "--model=maxvit_base", "--input={tmp}/run", "--output={tmp}/out"],
        "{tmp}/run holds maxvit_tiny, not maxvit_base",
    ),
    "benchmark model": (["launch.benchmark", "--model=maxvit"], "unknown model 'maxvit'"),
    "benchmark size": (["launch.benchmark", "--size=100"], "nearest valid: 224"),
    "benchmark mode": (["launch.benchmark", "--mode=x"], "invalid choice: 'x'"),
    "benchmark batch": (["launch.benchmark", "--batch=0"], "argument --batch"),
    "benchmark without peer": (
        ["launch.benchmark", "--model=moat_0", "--peer_python={tmp}/no"],
        "timm has no moat_0 for 224 pixels: leave --peer_python",
    ),
    "benchmark peer": (["launch.benchmark", "--peer_python={tmp}/no"], "can't run {tmp}/no"),
}

PHOTOS = {
    "data.source": "folder",
    "data.root": "{tmp}/photos",
    "data.train_split": "test",
    "data.eval_split": "test",
    "data.eval_batch_size": 50,
}


def work(tmp):
    """What goes right, in this order."""
    run = ["--workdir={tmp}/run"]
    fields = maxvit_digits_fields() | PHOTOS
    return {
        "train": [*small(), *run],
        "resume": [*small(), *run, "--config.train.num_steps=6", "--nokeep_freed_memory"],
        "evaluate": ["launch.evaluate", *run],
        "evaluate again": ["launch.evaluate", *run, "--config.data.eval_batch_size=50"],
        "evaluate best": ["launch.evaluate", *run, "--checkpoint=best", "--output={tmp}/best"],
        "convert": [
            *("launch.convert", "--model=maxvit_tiny"),
            *("--input={tmp}/run", "--output={tmp}/own"),
        ],
        "to timm": [
            *("launch.convert", "--model=maxvit_tiny", "--to=timm"),
            *("--input={tmp}/own", "--output={tmp}/timm.safetensors"),
        ],
        "evaluate timm": weights(
            "--weights={tmp}/timm.safetensors",
            "--output={tmp}/photo_report",
            *[f"--config.{name}={value}" for name, value in fields.items()],
        ),
        "evaluate own": weights(
            "--weights={tmp}/own",
            "--output={tmp}/own_report",
            *[f"--config.{name}={value}" for name, value in PHOTOS.items()],
        ),
        "start from a run": [
            *small(),
            "--workdir={tmp}/second",
            "--config.init.weights={tmp}/run",
            "--config.init.reset_head",
            "--config.train.num_steps=1",
        ],
    }


def maxvit_digits_fields():
    """What the digits recipe says about model and preprocessing, as overrides."""
    model = {n: v for n, v in SMALL.items() if n.startswith("model.")}
    preprocessing = {"data.eval_method": "resize", "data.image_size": 16}
    half = "(127.5,127.5,127.5)"
    return model | preprocessing | {"model.window_size": 4, "data.mean": half, "data.std": half}


@pytest.fixture(scope="module")
def tmp(tmp_path_factory):
    """A folder with a text file, and the digits' test split as class folders of PNG files."""
    folder = tmp_path_factory.mktemp("mains")
    (folder / "file").write_text("years of work")
    source = digits_source("test")
    for i in range(len(source)):
        example = source[i]
        parent = folder / "photos" / "test" / source.class_names[example["label"]]
        parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(example["image"]).save(parent / f"{i}.png")
    return folder


@pytest.mark.slow
def test_digits(tmp_path):
    """The recipe, cut short, learns: the full one reaches more than 98 %."""
    steps = 250
    recipe = train(
        workdir=tmp_path / "run",
        data__batch_size=64,
        train__num_steps=steps,
        schedule__decay_steps=steps,
        schedule__warmup_steps=25,
        eval__every_steps=steps,
        checkpoint__every_steps=steps,
    )
    environment = os.environ | ENVIRONMENT
    environment.pop("XLA_FLAGS")  # so many steps are worth compiling well
    command = [sys.executable, "-m", *recipe]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if line.startswith("eval/")]
    metrics = dict(line.split(": ") for line in lines)
    assert float(metrics["eval/examples"]) == 359
    assert float(metrics["eval/accuracy_top1"]) >= 0.95


@pytest.fixture(scope="module")
def commands(tmp):
    """What every command left, by name."""
    lines = work(tmp) | {name: line for name, (line, _) in MISTAKES.items()}
    lines = {
        name: [part.replace("{tmp}", str(tmp)) for part in line] for name, line in lines.items()
    }
    return run_commands(lines, tmp / "results")


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(commands, tmp, name):
    """One line, status 2, no traceback; some are seen only after weights are loaded."""
    result = commands[name]
    lines = [line for line in result.err.splitlines() if not line.endswith("arrays used")]
    assert len(lines) == 1 and lines[0].startswith("error: "), result.err
    assert "Traceback" not in lines[0]
    assert MISTAKES[name][1].replace("{tmp}", str(tmp)) in lines[0]
    assert result.status == 2


def test_mistakes_leave_nothing(commands, tmp):
    assert not (tmp / "out").exists() and not (ROOT / "no").exists()
    assert (tmp / "file").read_text() == "years of work"


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("name", work(None))
def test_success(commands, name):
    result = commands[name]
    assert result.status == 0, result.err
    assert "Traceback" not in result.err and "arning" not in result.err, result.err


def trained(tmp):
    """The trainer's last evaluation of the run."""
    text = (tmp / "run" / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    last = [line for line in lines if "eval/accuracy_top1" in line][-1]
    assert last["step"] == 6
    return {name.removeprefix("eval/"): v for name, v in last.items() if name.startswith("eval/")}


def test_training(commands, tmp):
    out = commands["train"].out
    assert "1,438 training examples" in out and "step 4/4 " in out
    assert "continuing from step 4; train.num_steps: 4 -> 6" in commands["resume"].out
    assert f"eval/accuracy_top1: {trained(tmp)['accuracy_top1']:.4f}" in commands["resume"].out
    assert commands["train"].err == "" == commands["resume"].err
    if sys.platform == "linux":
        said = ["freed memory is kept" in commands[name].out for name in ("train", "resume")]
        assert said == [True, False]


def test_weights_to_start_from_are_reported(commands, tmp):
    err = commands["start from a run"].err
    assert f"restoring step 6 of {tmp}/run" in err
    assert "arrays used" in err and "left in the file: head/inner/bias" in err
    old, new = (
        flatten(restore_variables(str(tmp / name))[1])[
            "params/stage_1_block_0/mbconv/se/reduce/bias"
        ]
        for name in ("run", "second")
    )
    assert np.abs(old).max() > 0  # zero in the beginning
    np.testing.assert_allclose(new, old, atol=0.01)  # one step further


# ---------------------------------------------------------------- evaluation


def test_report(commands, tmp):
    folder = tmp / "run" / "report" / "step_6" / "eval"
    assert {path.name for path in folder.iterdir()} == {
        *("metrics.json", "predictions.csv", "per_class.csv", "confusions.csv", "report.html"),
        *("images.png", "confusion.png", "mistakes.png"),
    }
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics == pytest.approx(trained(tmp), rel=1e-6)
    assert metrics["examples"] == 359
    assert f"eval/accuracy_top1: {metrics['accuracy_top1']:.4f}" in commands["evaluate"].out
    assert f"the report is in {folder}" in commands["evaluate"].out
    for name in ("images", "confusion"):
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.size > (400, 400)


def test_report_per_class(commands, tmp):
    """Against scikit-learn's confusion matrix of the model's own predictions."""
    model, variables = maxvit_jax.load_pretrained("maxvit_tiny", tmp / "own")
    source = digits_source("test")
    images = np.stack([source[i]["image"] for i in range(len(source))])
    images = np.stack([np.asarray(Image.fromarray(x).resize((16, 16), 3)) for x in images])
    labels = [source[i]["label"] for i in range(len(source))]
    logits = jax.jit(model.apply)(variables, np.float32(images) / 127.5 - 1)
    confusion = confusion_matrix(labels, np.argmax(logits, axis=1))
    with (tmp / "run" / "report" / "step_6" / "eval" / "per_class.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == [str(digit) for digit in range(10)]
    assert [int(row["examples"]) for row in rows] == confusion.sum(1).tolist()
    expected = np.diag(confusion) / confusion.sum(1)
    np.testing.assert_allclose([float(row["recall"]) for row in rows], expected, atol=1e-6)


def test_report_is_never_overwritten(commands, tmp):
    """And a batch size that does not divide the data changes nothing."""
    first, second = (tmp / "run" / "report" / "step_6" / name for name in ("eval", "eval-2"))
    assert f"the report is in {second}" in commands["evaluate again"].out
    one, other = (json.loads((f / "metrics.json").read_text()) for f in (first, second))
    assert one == pytest.approx(other, rel=1e-5)


def test_weights_on_a_folder(commands, tmp):
    """The run's weights by way of timm's format, on the same images as PNG files."""
    metrics = json.loads((tmp / "photo_report" / "eval" / "metrics.json").read_text())
    assert metrics == pytest.approx(trained(tmp), rel=1e-4)
    assert "timm names): " in commands["evaluate timm"].err


def test_weights_bring_their_preprocessing_along(commands, tmp):
    """Our own directory of the run says how its images are prepared, and its model's fields."""
    metrics = json.loads((tmp / "own_report" / "eval" / "metrics.json").read_text())
    assert metrics == pytest.approx(trained(tmp), rel=1e-4)
    config = json.loads((tmp / "own" / "config.json").read_text())
    assert config["preprocessing"]["eval_method"] == "resize"
    assert config["preprocessing"]["image_size"] == 16
    assert config["class_names"] == [str(digit) for digit in range(10)]


# ---------------------------------------------------------------- conversion


def test_run_converts(commands, tmp):
    """A custom model comes back by the name its config has, with the fields stored."""
    step, variables = restore_variables(str(tmp / "run"))
    assert step == 6
    expected = {name: np.asarray(a) for name, a in flatten(variables).items()}
    for path in ("run", "own"):
        model, loaded = maxvit_jax.load_pretrained("maxvit_tiny", tmp / path)
        assert (model.widths, model.depths, model.num_classes) == ((32,), (1,), 10)
        assert (model.window_size, model.norm_momentum) == (4, 0.9)
        assert flatten(loaded).keys() == expected.keys()
        for name, array in flatten(loaded).items():
            np.testing.assert_array_equal(array, expected[name], err_msg=name)
    assert "(run, our names)" in commands["convert"].out
    model, loaded = maxvit_jax.load_pretrained(model, tmp / "timm.safetensors")
    for name, array in flatten(loaded).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    assert "stem.conv1.weight" in read_arrays(tmp / "timm.safetensors").arrays


# ---------------------------------------------------------------- what is imported

BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ImportError(name + " is not to be imported here")
sys.meta_path.insert(0, Block())
"""

BENCHMARK = """
import contextlib, io, runpy, maxvit_jax
from launch import ceilings
maxvit_jax.FAMILIES["maxvit"].variants["maxvit_micro"] = {
    "stem_widths": (4, 8), "widths": (32,), "depths": (1,), "window_size": 2}
maxvit_jax.FAMILIES["metaformer"].variants["random_micro"] = {  # no statistics, but constants
    "widths": (8,), "depths": (1,), "mixers": ("random",), "image_size": 8}
ceilings._SIZES["cpu"] = ceilings._Sizes(values=64, side=8, calls=1)
for model, mode in (("maxvit_micro", "infer"), ("random_micro", "train")):
    sys.argv = ["benchmark", f"--model={model}", "--size=8", "--batch=2", "--repeats=2",
                f"--mode={mode}", "--dtype=bfloat16" if mode == "infer" else "--remat"]
    runpy.run_module("launch.benchmark", run_name="__main__", alter_sys=True)
"""


def run_blocked(code, blocked):
    return subprocess.run(
        [sys.executable, "-c", BLOCK.format(blocked=set(blocked)) + code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        timeout=120,
    )


def test_benchmark_needs_little():
    """One line of JSON each, where only jax, flax, optax and our packages are."""
    blocked = "tensorflow tensorflow_datasets clu ml_collections grain orbax torch sklearn PIL"
    result = run_blocked(BENCHMARK, blocked.split())
    assert result.returncode == 0, result.stderr
    infer, training = map(json.loads, result.stdout.splitlines())
    assert (infer["mode"], infer["dtype"], infer["remat"]) == ("infer", "bfloat16", False)
    assert (training["mode"], training["dtype"], training["remat"]) == ("train", "float32", True)
    assert (infer["model"], training["model"]) == ("maxvit_micro", "random_micro")
    for line in (infer, training):
        assert line["batch"] == 2
        assert line["step_seconds_min"] <= line["step_seconds"] <= line["step_seconds_max"]
        assert line["images_per_second"] == pytest.approx(2 / line["step_seconds"])
        assert line["flops_per_second"] == pytest.approx(line["flops"] / line["step_seconds"])
        assert line["flops_share_of_matmul"] > 0 and line["bytes_share_of_copy"] > 0
        assert line["compile_seconds"] > 0 and line["peak_memory_bytes"] > 2**20


def test_library_imports_neither_tensorflow_nor_torch():
    code = "import maxvit_jax, common.layers.attention, common.layers.mbconv"
    result = run_blocked(code, ["tensorflow", "torch", "clu", "grain", "tensorflow_datasets"])
    assert result.returncode == 0, result.stderr
