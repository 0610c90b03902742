"""Videos of gray levels, of which a predictor says how bright they are."""

import csv

import numpy as np
import pytest

from common import video_parts
from common.errors import UserError
from common.predicted_video import predict_video, table_of
from tests.test_video import make_video, read_video

LEVELS = np.arange(12) * 20  # by frame


class Brightness:
    """Knows frames but dark ones, and pictures their negative."""

    batch_size = 5
    settings = "brightness"
    columns = ("level", "shape")

    def __init__(self, darkest=50):
        self.darkest, self.batches = darkest, []

    def prepare(self, frame):
        assert frame.dtype == np.uint8
        return frame

    def run(self, frames):
        self.batches.append(len(frames))
        return frames

    def rows(self, frame):
        level = round(frame.mean() / 20) * 20
        return [{"level": level, "shape": frame.shape}] * 2 if level > self.darkest else []

    def picture(self, frame):
        return 255 - frame


@pytest.fixture
def source(tmp_path):
    frames = [np.full((48, 64, 3), level, np.uint8) for level in LEVELS]
    return make_video(tmp_path / "in.mkv", frames=frames, colors=(1, 1))


def rows(target):
    with table_of(target).open(newline="") as file:
        return list(csv.reader(file))


def test_every_frame_in_batches(tmp_path, source):
    predictor, target, seen = Brightness(), tmp_path / "out" / "in.mkv", []
    summary = predict_video(predictor, source, target, seen.append)
    assert (summary.frames, summary.copied, predictor.batches) == (12, 1, [5, 5, 2])
    assert seen == list(range(1, 13))
    known = [[str(i), str(level), "(48, 64, 3)"] for i, level in enumerate(LEVELS) if level > 50]
    assert rows(target) == [["frame", "level", "shape"], *(row for row in known for _ in range(2))]
    levels = [frame.mean() for frame in read_video(target)[0]]
    np.testing.assert_allclose(levels, 255 - LEVELS, atol=2)
    assert {path.name for path in target.parent.iterdir()} == {"in.mkv", "in.mkv.csv"}


def test_nothing_found(tmp_path, source):
    predict_video(Brightness(darkest=255), source, tmp_path / "out.mkv", print)
    assert rows(tmp_path / "out.mkv") == [["frame", "level", "shape"]]


def test_an_interrupted_video_goes_on_with_its_table(tmp_path, source, monkeypatch):
    """Frames in complete parts, and their rows, are not looked for again."""
    monkeypatch.setattr(video_parts, "FRAMES", 4)

    class Interrupted(Brightness):
        def rows(self, frame):
            if len(self.batches) == 2:
                raise KeyboardInterrupt
            return super().rows(frame)

    whole, target = tmp_path / "whole.mkv", tmp_path / "out.mkv"
    predict_video(Brightness(), source, whole, print)
    with pytest.raises(KeyboardInterrupt):
        predict_video(Interrupted(), source, target, print)
    assert not target.exists() and not table_of(target).exists()
    predictor = Brightness()
    summary = predict_video(predictor, source, target, print)
    assert predictor.batches == [5, 3] and summary.frames == 12  # frames 4 to 11
    assert table_of(target).read_bytes() == table_of(whole).read_bytes()
    levels = [frame.mean() for frame in read_video(target)[0]]
    np.testing.assert_allclose(levels, 255 - LEVELS, atol=2)


def test_a_failure_leaves_nothing(tmp_path, source):
    class Failing(Brightness):
        def rows(self, frame):
            if len(self.batches) == 2:
                raise KeyboardInterrupt
            return super().rows(frame)

    with pytest.raises(KeyboardInterrupt):
        predict_video(Failing(), source, tmp_path / "out" / "in.mkv", print)
    with pytest.raises(UserError, match=r"can't write .*out.wmv"):
        predict_video(Brightness(), source, tmp_path / "out" / "out.wmv", print)
    assert not list((tmp_path / "out").iterdir())
