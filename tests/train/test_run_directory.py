"""Whose run a directory is, and who may work on it."""

import errno
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import types

import pytest
from etils import epath

from common.errors import UserError
from common.train import trainer
from common.train.labels import unknown_to_run
from common.train.manifest import write_manifest
from common.train.run_directory import (
    checkpoint_steps,
    open_run,
    read_config,
    read_labels,
    read_model_name,
)
from launch.tasks import make_task
from maxvit_jax.tasks.classification import ClassificationTask
from tests.golden.cases import FOLDER as GOLDEN
from tests.train import tiny


def opened(workdir, config):
    """What opening a directory says, after which it is closed again."""
    with open_run(str(workdir), config, resumable=ClassificationTask.resumable) as lines:
        return lines


def make_run(workdir, config):
    """A directory that looks like a run with a checkpoint."""
    opened(workdir, config)
    (workdir / "checkpoints" / "2").mkdir(parents=True)


def test_a_mistake_before_the_first_step_leaves_no_directory(tmp_path):
    """Such as weights that can't be fetched; what is more than a config is kept."""
    (tmp_path / "mine").mkdir()
    for name, written in (("new", None), ("mine", None), ("begun", "metrics.jsonl")):
        with (
            pytest.raises(UserError, match="no weights"),
            open_run(str(tmp_path / name), {"train": {}}, labels={"class_names": ["a"]}),
        ):
            (tmp_path / name / "checkpoints").mkdir()
            if written:
                (tmp_path / name / written).touch()
            raise UserError("no weights")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun", "mine"]
    assert (tmp_path / "begun" / "config.json").exists()


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("optimizer.learning_rate", 0.5, "optimizer.learning_rate: 0.001 -> 0.5"),
        ("model.depths", [1], "model.depths: [2] -> [1]"),
        ("seed", 1, "seed: 0 -> 1"),
        ("data.batch_size", 16, "data.batch_size: 8 -> 16"),
        ("train.accumulate_steps", 2, "train.accumulate_steps: absent -> 2"),
        ("schedule.decay_steps", 9, "schedule.decay_steps: 20 -> 9"),
    ],
)
def test_other_config_is_refused(tmp_path, field, value, shown):
    make_run(tmp_path, tiny.config())
    before = (tmp_path / "config.json").read_text()
    with pytest.raises(UserError, match="another config") as error:
        opened(tmp_path, tiny.config({field: value, "train.num_steps": 99}))
    assert shown in str(error.value) and "num_steps" not in str(error.value)
    assert (tmp_path / "config.json").read_text() == before


def test_fields_that_an_older_run_lacks_are_told_of(tmp_path):
    make_run(tmp_path, tiny.config())
    remedy = f"fields that the run is too old to have can be added to {tmp_path}/config.json"
    with pytest.raises(UserError, match=f"train.added: absent -> 0.*{remedy}"):
        opened(tmp_path, tiny.config({"train.added": 0}))
    with pytest.raises(UserError) as error:
        opened(tmp_path, tiny.config({"seed": 1}))
    assert remedy not in str(error.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("train.num_steps", 99),
        ("train.log_every", 1),
        ("train.sample_images", False),
        ("eval.every_steps", 7),
        ("checkpoint.every_steps", 7),
        ("checkpoint.keep_best", 7),
        ("data.num_workers", 2),
        ("data.eval_batch_size", 4),
        ("data.max_corrupt", 4),
        ("mesh.data", 2),
        ("mesh", {"data": 1, "fsdp": 2}),
    ],
)
def test_circumstances_may_change(tmp_path, field, value):
    make_run(tmp_path, tiny.config())
    new = tiny.config({field: value})
    lines = opened(tmp_path, new)
    assert lines and all(line.startswith(field) and " -> " in line for line in lines)
    assert json.loads((tmp_path / "config.json").read_text()) == new


def test_same_config_changes_nothing(tmp_path):
    make_run(tmp_path, tiny.config())
    assert opened(tmp_path, tiny.config()) == []


def test_run_without_checkpoint_may_begin_again(tmp_path):
    opened(tmp_path, tiny.config())
    (tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp").mkdir(parents=True)
    opened(tmp_path, tiny.config({"seed": 5}))
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 5


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("thesis.txt", "years of work", "not empty and holds no config.json"),
        ("config.json", '{"seed": ', "damaged"),
        ("config.json", "[]", "no run directory"),
        ("config.json", '{"family": "maxvit"}', "no run directory"),
    ],
)
def test_other_directories_are_refused(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        tiny.run(tiny.quick(), tmp_path, small=True)
    assert [p.name for p in tmp_path.iterdir()] == [name] and path.read_text() == content


DAMAGE = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_text(""),
    "cut": lambda path: path.write_text(path.read_text()[:40]),
    "binary": lambda path: path.write_bytes(b"\xff\xfe"),
    "another": lambda path: path.write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_lost_config_is_found_in_a_checkpoint(tmp_path, damage):
    make_run(tmp_path, tiny.config())
    for step in (2, 4, 6):
        stored = tmp_path / "checkpoints" / str(step) / "config" / "metadata"
        stored.parent.mkdir(parents=True)
        stored.write_text(json.dumps(tiny.config()))
        write_manifest(epath.Path(tmp_path / "checkpoints" / str(step)))
    stored.write_text(json.dumps(tiny.config())[:-9])  # of step 6: no help
    path = tmp_path / "config.json"
    damage(path)
    cure = f"; {tmp_path}/checkpoints/4/config/metadata holds the same: copy it to {path}"
    for read in (lambda: opened(tmp_path, tiny.config()), lambda: read_config(str(tmp_path))):
        with pytest.raises(UserError, match=re.escape(cure)):
            read()
    shutil.copy(tmp_path / "checkpoints" / "4" / "config" / "metadata", path)
    assert opened(tmp_path, tiny.config()) == []


@pytest.mark.parametrize("lost", ["model", "name"])
def test_config_with_one_bit_flipped_in_the_name_of_a_field(tmp_path, lost):
    opened(tmp_path, tiny.config())
    assert read_model_name(str(tmp_path)) == "maxvit_tiny"
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace(f'"{lost}"', f'"{lost[:-1]}m"'))
    with pytest.raises(UserError, match=r"config.json names no model$"):
        read_model_name(str(tmp_path))


def test_config_that_is_lost_for_good(tmp_path):
    make_run(tmp_path, tiny.config())
    (tmp_path / "config.json").unlink()
    with pytest.raises(UserError, match=r"is no run directory: it has no config.json$"):
        opened(tmp_path, tiny.config())


def test_names_of_checkpoints(tmp_path):
    assert checkpoint_steps(tmp_path) == []
    for name in ("10", "9", "0", "007", "²", "٣", "-1", "6.bak", "8.orbax-checkpoint-tmp", "best"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert checkpoint_steps(tmp_path) == [0, 9, 10]


@pytest.mark.parametrize(
    ("steps", "end"),
    [
        ([], "when that is mended, the same command begins"),
        ([2], "its checkpoints are kept, and when that is mended, the same command goes on"),
    ],
)
def test_directory_that_cannot_be_written(tmp_path, steps, end):
    for step in steps:
        (tmp_path / "checkpoints" / str(step)).mkdir(parents=True)
    (tmp_path / "config.json").write_text('{"train": {}}')
    message = f"can't write to {tmp_path}: Read-only file system; {end}"
    with (
        pytest.raises(UserError, match=f"^{re.escape(message)}$"),
        open_run(str(tmp_path), {"train": {}}),
    ):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


HOLDER = """
import sys
from common.train.run_directory import open_run
with open_run(sys.argv[1], {"train": {}}):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_one_trainer_at_a_time(tmp_path):
    """The second is refused and changes nothing; a lock ends with its holder, however that ends."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"open\n"
        before = (tmp_path / "config.json").read_text()
        with pytest.raises(
            UserError, match=rf"in use by another trainer \(process {holder.pid} on"
        ):
            opened(tmp_path, tiny.config())
        assert (tmp_path / "config.json").read_text() == before
        holder.kill()
    assert opened(tmp_path, {"train": {}}) == []
    assert opened(tmp_path, {"train": {}}) == []


@pytest.mark.parametrize(
    ("name", "recipe", "given"),
    [
        ("digits", "maxvit_digits", {}),
        ("photos", "maxim_photos:smoke=true", {"kind": "adamw"}),  # the recipe's was another
    ],
)
def test_run_of_an_earlier_version_goes_on(name, recipe, given, tmp_path):
    """Configs written before jobs had names: fields came since, none with another default.

    What the recipe has changed since is given on the command line.
    """
    old = json.loads((GOLDEN / "configs" / f"{name}.json").read_text())
    make_run(tmp_path, old)
    file, _, arg = recipe.partition(":")
    config = importlib.import_module(f"configs.{file}").get_config(arg)
    new = json.loads(json.dumps(config.to_dict()))
    for section in ("model", "data", "train", "schedule"):  # what the command line had set
        new[section] |= old[section]
    new["optimizer"] |= given
    assert {"kind"} <= new["task"].keys() - old["task"].keys()
    job = types.SimpleNamespace(task=make_task(new), plain=new)
    with trainer._opened(str(tmp_path), job) as changes:
        assert all("keeps no names of its classes" in line for line in changes)
    new["task"]["kind"] = "another"
    with pytest.raises(UserError, match=r"task\.kind"), trainer._opened(str(tmp_path), job):
        pass


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["aardfox", "cat", "dog"], "the data lacks 'fox', and the data has 'aardfox' besides"),
        (["cat", "dog"], "3 there and 2 here; the data lacks 'fox'"),
        (["cat", "dog", "fox", "gnu"], "3 there and 4 here; the data has 'gnu' besides"),
        (["dog", "cat", "fox"], "number 0 is 'cat' there and 'dog' here; the same names in"),
    ],
)
def test_other_classes_are_refused_with_the_difference(tmp_path, names, said):
    with open_run(str(tmp_path), {"train": {}}, labels={"class_names": ["cat", "dog", "fox"]}):
        pass
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    with (
        pytest.raises(UserError) as caught,
        open_run(str(tmp_path), {"train": {}}, labels={"class_names": names}),
    ):
        pass
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_an_older_run_says_what_it_does_not_keep(tmp_path):
    with open_run(str(tmp_path), {"train": {}}):
        pass
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    found = {"class_names": ["a", "b"], "held_out": "by name"}
    with open_run(str(tmp_path), {"train": {}}, labels=found) as lines:
        assert "keeps no names of its classes" in lines[0]
        assert "was trained before images were held out by name" in lines[1]
    stored = read_labels(str(tmp_path))
    assert stored == {"class_names": ["a", "b"]}  # the rule is not what it was trained with
    assert len(unknown_to_run("run", stored, found)) == 1
    assert not unknown_to_run("run", found, found) and not unknown_to_run("run", {}, {})
