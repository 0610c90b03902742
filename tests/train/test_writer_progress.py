"""What a run writes, and what it shows on a terminal and in a pipe."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from common.progress import ProgressReport
from common.train.writer import Writer
from tests.train.event_files import read_summaries

VALUES = {"train/loss": 1.23456, "train/accuracy_top1": 0.5, "train/data_wait": 0.01}


def report(steps=(1, 2)):
    progress = ProgressReport(10, 0, unit="step")
    with progress:
        for step in steps:
            progress.advance(step)
            progress.metrics(step, VALUES)
        progress.log("step 2  eval/accuracy_top1 0.75 [not markup]")


def test_plain_lines_when_piped(capsys):
    report()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and not any("\x1b" in line for line in lines)
    shown = "loss 1.235  accuracy_top1 0.5  data_wait 0.01"
    assert lines[0] == f"step 1/10  {shown}"  # nothing is known of the pace yet
    assert lines[1] == f"step 2/10  {shown}  ETA 0:00:00"
    assert lines[2] == "step 2  eval/accuracy_top1 0.75 [not markup]"


@pytest.mark.parametrize("columns", [60, 200])
def test_live_view_on_a_terminal(capsys, monkeypatch, columns):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(columns))
    report(range(1, 8))
    out = capsys.readouterr().out
    assert "\x1b[" in out and "ETA" in out
    for part in ("7/10", "1.235", "accuracy_top1"):
        assert part in out
    assert "step 2  eval/accuracy_top1 0.75 [not markup]" in out  # a line that stays
    assert out.count("data_wait") < 7  # redrawn, not a line per step


def test_quiet(capsys):
    progress = ProgressReport(10, 0, unit="step", quiet=True)
    with progress:
        progress.metrics(1, VALUES)
        progress.log("line")
    assert not capsys.readouterr().out


def test_scalars(tmp_path):
    writer = Writer(str(tmp_path))
    writer.scalars(2, {"train/loss": np.float32(0.5), "train/bad": math.nan, "train/inf": math.inf})
    writer.scalars(4, {"train/loss": 0.25})
    writer.close()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line, parse_constant=pytest.fail) for line in lines] == [
        {"step": 2, "train/loss": 0.5, "train/bad": None, "train/inf": None},
        {"step": 4, "train/loss": 0.25},
    ]
    (events,) = tmp_path.glob("events.*")
    found = {(summary.step, summary.tag): summary.value for summary in read_summaries(events)}
    assert found[4, "train/loss"] == 0.25 and math.isnan(found[2, "train/bad"])


def test_images(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    writer = Writer(str(tmp_path))
    writer.images(30, {"eval_images": picture})
    writer.close()
    (path,) = (tmp_path / "samples").iterdir()
    assert path.name == "eval_images_00000030.png"
    np.testing.assert_array_equal(Image.open(path), picture)
    (events,) = tmp_path.glob("events.*")
    (summary,) = read_summaries(events)
    assert (summary.step, summary.tag) == (30, "eval_images")
    np.testing.assert_array_equal(summary.value, picture)


def test_cut_back_to_the_step_a_run_continues_from(tmp_path):
    lines = [json.dumps({"step": step, "x": 1}) for step in (2, 4, 6)]
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join(lines) + '\n{"step": 8, "x')
    Writer(str(tmp_path), 4).close()
    assert path.read_text().splitlines() == lines[:2]
    assert not (tmp_path / "damaged").exists()  # a cut line is no damage
    Writer(str(tmp_path)).close()
    assert path.read_text() == ""


def test_lines_that_cannot_be_read_do_not_stop_a_run(tmp_path, caplog):
    """The others stay as they are, to the byte, and the file as it was is kept."""
    good = [json.dumps({"step": step, "x": [step / 3]}).encode() for step in range(1, 5)]
    flipped = bytearray(good[1])
    flipped[9] ^= 128
    bad = [bytes(flipped), b"null", b"7", b"[1]", b"", b'{"step": "2"}', b'{"step": NaN}', b"\0\0"]
    path = tmp_path / "metrics.jsonl"
    whole = b"\n".join([good[0], *bad, *good[2:]]) + b"\n"
    path.write_bytes(whole)
    Writer(str(tmp_path), 3).close()
    assert path.read_bytes() == b"\n".join([good[0], good[2]]) + b"\n"
    (copy,) = (tmp_path / "damaged").iterdir()
    assert copy.read_bytes() == whole
    message = f"{path}: 8 line(s) can't be read and are left out; the file as it was is {copy}"
    assert message in caplog.text
    caplog.clear()
    Writer(str(tmp_path), 3).close()
    assert [copy] == list((tmp_path / "damaged").iterdir()) and not caplog.text
