"""TensorBoard's event files."""

import contextlib
import math
import pathlib
import time

import numpy as np

from common.train.events import EventFile
from tests.train.event_files import read_events, read_summaries

# What clu 0.0.12's `metric_writers.SummaryWriter` wrote by TensorFlow 2.21, given the same.
GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "events" / "tensorflow.tfevents"


def write(folder):
    """Scalars and pictures, all that a run writes; returns the file."""
    file = EventFile(folder)
    file.scalars(2, {"train/loss": np.float32(0.1), "train/accuracy": 0.5, "train/steps": 3})
    file.scalars(4, {"train/loss": math.nan, "train/norm": math.inf, "train/least": -math.inf})
    file.images(2**40, {"eval_images": np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)})
    file.close()
    (path,) = folder.iterdir()
    return path


def test_say_what_tensorflow_wrote(tmp_path):
    ours, golden = read_summaries(write(tmp_path)), read_summaries(GOLDEN)
    assert len(golden) == 7
    for found, expected in zip(ours, golden, strict=True):
        assert found._replace(value=None) == expected._replace(value=None)
        np.testing.assert_array_equal(found.value, expected.value)


def test_begin_as_tensorboard_expects(tmp_path):
    before = time.time()
    first, *others = read_events(write(tmp_path))
    assert first.file_version == read_events(GOLDEN)[0].file_version == "brain.Event:2"
    assert all(before <= event.wall_time <= time.time() for event in (first, *others))


def test_are_whole_after_every_call(tmp_path):
    """A run that is killed leaves what it wrote."""
    file = EventFile(tmp_path / "new" / "run")
    (path,) = (tmp_path / "new" / "run").iterdir()
    assert "tfevents" in path.name and len(read_events(path)) == 1
    file.scalars(1, {"loss": 1.0})
    assert [(s.step, s.tag, s.value) for s in read_summaries(path)] == [(1, "loss", 1.0)]
    file.close()


def test_of_one_second_do_not_overwrite_each_other(tmp_path):
    for step in range(3):
        with contextlib.closing(EventFile(tmp_path)) as file:
            file.scalars(step, {"loss": step})
    assert sorted(read_summaries(path)[0].step for path in tmp_path.iterdir()) == [0, 1, 2]
