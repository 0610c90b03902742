"""`launch.compare` as a user types it."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.launch.forks import run_commands

ROWS = {"out/a_out.png": 100, "clean/a.png": 110, "out/b_out.png": 50, "clean/b.png": 50}
FOLDERS = ["launch.compare", "--restored={tmp}/out", "--target={tmp}/clean"]


@pytest.fixture(scope="module")
def tmp(tmp_path_factory):
    tmp = tmp_path_factory.mktemp("compare")
    for name, level in ROWS.items():
        (tmp / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 16), (level,) * 3).save(tmp / name)
    Image.new("RGB", (20, 16)).save(tmp / "clean" / "c.png")
    return tmp


def test_two_folders(tmp):
    lines = {
        "named": [*FOLDERS, "--naming={id}_out:{id}", "--output={tmp}/report"],
        "equal": [*FOLDERS, "--output={tmp}/none"],
    }
    lines = {name: [part.replace("{tmp}", str(tmp)) for part in x] for name, x in lines.items()}
    results = run_commands(lines, tmp / "results")
    named, equal = results["named"], results["equal"]
    assert named.status == 1  # a target has no image
    assert f"left out: target without input: {tmp}/clean/c.png" in named.err
    assert "2 images, averaged over images; the report is in" in named.out
    table = (tmp / "report" / "per_image.csv").read_text().splitlines()
    assert table[0] == "name,width,height,psnr,ssim"
    a, b = (row.split(",") for row in table[1:])
    assert (a[0], float(a[3])) == ("a_out.png", pytest.approx(20 * np.log10(25.5), abs=1e-3))
    assert b[:4] == ["b_out.png", "20", "16", "inf"]
    assert json.loads((tmp / "report" / "metrics.json").read_text())["images"] == 2
    assert equal.status == 2
    (line,) = equal.err.splitlines()
    assert line.startswith("error: no pairs in") and not (tmp / "none").exists()
