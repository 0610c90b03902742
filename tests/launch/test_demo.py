"""`launch.demo` as a user has it: started from a shell, asked over HTTP and by a browser."""

import base64
import contextlib
import csv
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from tests.demo.chromium import Chromium, find_chromium
from tests.launch.demo_runs import RUNS, write_run
from tests.launch.forks import ENVIRONMENT, ROOT, run_commands, succeeded

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (40, 56, 3), np.uint8)
LIMITS = ("--max_megabytes=0.1", "--max_megapixels=0.01")


@pytest.fixture(scope="module")
def tmp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    Image.fromarray(PHOTO).save(folder / "cup.png")
    (folder / "notes.png").write_text("no photo")
    return folder


@contextlib.contextmanager
def served(*arguments):
    """Address of the page, for as long as the block lasts; then it ends as by Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "-m", "launch.demo", "--port=0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
    )
    try:
        page = re.compile(r"the page is at (http://127\.0\.0\.1:\d+) ")
        lines = map(page.match, process.stdout)  # slow reading is told before it
        found = next(filter(None, lines), None)
        assert found, process.communicate(timeout=60)
        yield found[1]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0 and "Traceback" not in errors, errors
    finally:
        process.kill()
        process.communicate()


def ask(address, demo, photo=None, **settings):
    """Status and JSON of a run."""
    values = {"demo": demo} | settings
    if photo is not None:
        values["photo"] = FileStorage(io.BytesIO(photo.read_bytes()), photo.name)
    boundary, body = encode_multipart(values)
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    try:
        request = urllib.request.Request(f"{address}/run", body, kind)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def pixels(url):
    """Of an image in a data URL."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


@pytest.fixture(scope="module")
def digits(tmp):
    """The page of a classifier."""
    workdir = write_run(tmp, "digits")
    with served(f"--workdir={workdir}", *LIMITS, "--top=3") as address:
        yield workdir, address


def test_the_page_predicts_what_the_command_does(digits, tmp):
    workdir, address = digits
    command = ["launch.predict", f"--workdir={workdir}", f"--input={tmp}/cup.png", "--top=3"]
    result = run_commands({"predict": [*command, f"--output={tmp}/cup.csv"]}, tmp / "results")
    succeeded(result["predict"])
    with (tmp / "cup.csv").open(newline="") as file:
        expected = list(csv.DictReader(file))
    status, answer = ask(address, str(workdir), tmp / "cup.png")
    line, bars = answer["shown"]
    assert status == 200 and bars["title"] == "probability" and len(bars["bars"]) == 3
    for bar, row in zip(bars["bars"], expected, strict=True):
        assert bar["name"] == f"class {row['class']}" and row["class"] in line["text"]
        assert bar["share"] == pytest.approx(float(row["probability"]), abs=1e-5)


def test_bad_files_are_told_by_the_page(digits, tmp):
    workdir, address = digits
    (tmp / "large.bin").write_bytes(b"0" * 400_000)
    for name, status, line in (
        ("notes.png", 400, "can't read notes.png: not an image of a known format"),
        ("large.bin", 413, "a photo may have 0.1 MB at most"),
    ):
        assert ask(address, str(workdir), tmp / name) == (status, {"error": line})


@pytest.mark.skipif(find_chromium() is None, reason="there is no Chromium: apt install chromium")
def test_a_browser_shows_the_result(digits, tmp):
    workdir, address = digits
    _, answer = ask(address, str(workdir), tmp / "cup.png")
    with Chromium(find_chromium(), tmp / "profile") as browser:
        browser.open(address)
        browser.until("document.querySelector('form button')")
        press = "document.querySelector('form button').click()"
        browser.evaluate(press)
        error = "document.querySelector('.error').textContent"
        assert browser.until(error) == "choose a photo first"
        browser.choose("[type=file]", tmp / "cup.png")
        browser.until("document.querySelector('.photo img').naturalWidth == 56")
        browser.evaluate(press)
        browser.until("document.querySelector('.bars')")
        cells = "[...document.querySelectorAll('.bars tr')]"
        cells += ".map(row => [...row.cells].map(cell => cell.textContent))"
        shown = browser.evaluate(cells)
        for row, bar in zip(shown, answer["shown"][1]["bars"], strict=True):
            assert row == [bar["name"], "", f"{100 * bar['share']:.1f} %"]
        assert browser.evaluate("document.querySelector('.status').textContent") == ""
        browser.choose("[type=file]", tmp / "notes.png")
        browser.evaluate(press)
        assert "not an image" in browser.until(error)
        assert browser.evaluate("document.querySelector('.results').childElementCount") == 0
        elsewhere = [
            url for url in browser.requested if not url.startswith((address, "data:", "blob:"))
        ]
        assert not elsewhere
        refused = [e for e in browser.errors if not e.get("url", "").endswith("/run")]
        assert not refused  # but for the photo that is none


MISTAKES = {
    "nothing": ([], "give either --workdir, or --model and --weights"),
    "unpublished": (["--model=aewin_tiny"], "no weights of aewin_tiny are published"),
    "no run": (["--workdir={tmp}/none"], "no run directory"),
    "twice": (["--workdir={tmp}/digits", "--workdir={tmp}/digits"], "is given twice"),
    "port": (["--workdir={tmp}/digits", "--port={port}"], "Address already in use; choose another"),
    "host": (["--workdir={tmp}/digits", "--host=192.0.2.1"], "can't listen at --host=192.0.2.1"),
    "option": (["--workdir={tmp}/digits", "--score=0.5"], "--score does not apply"),
}


@pytest.fixture(scope="module")
def mistakes(digits, tmp):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        lines = {
            name: ["launch.demo", "--port=0", *(a.format(tmp=tmp, port=port) for a in arguments)]
            for name, (arguments, _) in MISTAKES.items()
        }
        return run_commands(lines, tmp / "mistakes")


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(mistakes, name):
    """One line, status 2."""
    result = mistakes[name]
    error = result.err.splitlines()[-1]
    assert result.status == 2 and error.startswith("error: "), result.err
    assert MISTAKES[name][1] in error and "Traceback" not in result.err


@pytest.mark.slow  # every model is compiled
def test_every_job_has_a_tab(tmp):
    workdirs = {name: str(write_run(tmp / "all", name)) for name in RUNS}
    photo, shown = tmp / "cup.png", {}
    with served(*(f"--workdir={workdir}" for workdir in workdirs.values())) as address:
        for name, workdir in workdirs.items():
            given = {"seed": 5} if name == "gan" else {"photo": photo}
            status, answer = ask(address, workdir, **given)
            assert status == 200, answer
            shown[name] = answer["shown"]
        other_seed = ask(address, workdirs["gan"], seed=6)[1]["shown"]
        status, answer = ask(address, workdirs["gan"], seed=6, truncation=0)
        assert (status, answer["error"][:15]) == (400, "truncation='0':")

    (compared,) = shown["photos"]
    assert compared["name"] == "cup.restored.png"
    np.testing.assert_array_equal(pixels(compared["before"]), PHOTO)
    after = pixels(compared["after"])
    assert after.shape == PHOTO.shape and (after != PHOTO).any()

    line, label_map, overlay, legend = shown["land"]
    assert (label_map["name"], overlay["name"]) == ("cup.png", "cup.overlay.jpg")
    counts = np.bincount(pixels(label_map["url"]).ravel(), minlength=3) / PHOTO[..., 0].size
    names, colors = (RUNS["land"][1][key] for key in ("class_names", "palette"))
    for bar in legend["bars"]:
        index = names.index(bar["name"])
        assert bar["share"] == pytest.approx(counts[index], abs=1e-5)
        assert bar["color"] == colors[index]
    assert sum(bar["share"] for bar in legend["bars"]) == pytest.approx(1, abs=1e-4)

    line, picture, results, table = shown["cups"]
    assert pixels(picture["url"]).shape == PHOTO.shape
    found = json.loads(base64.b64decode(results["url"].partition(",")[2]))
    assert len(found) == len(table["rows"]) and found[0]["image_id"] == "cup"

    line, votes = shown["quality"]
    assert [bar["name"] for bar in votes["bars"]] == ["1", "2", "3", "4", "5"]
    mean = sum(float(bar["name"]) * bar["share"] for bar in votes["bars"])
    assert float(line["text"].split()[0]) == pytest.approx(mean, abs=1e-3)

    (sheet,) = shown["gan"]
    assert sheet["name"] == "seed_5.png" and sheet["url"] != other_seed[0]["url"]
