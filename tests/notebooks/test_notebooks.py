"""Notebooks run from beginning to end, and what is stored with them is of such a run."""

import json
import pathlib
import re

import pytest

FOLDER = pathlib.Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
# Another is run, and what it prints compared, in tests/layers/test_beyond_images.py.
RUN_HERE = [path for path in NOTEBOOKS if path.stem != "beyond_images"]
SECONDS = 600  # for a notebook, on a machine that is busy
_MACHINE = re.compile(r"(?<![\w.:/<])/(?:home|root|tmp|work|usr|opt|var|Users|content)/\w")


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def texts(cell):
    """What a cell printed or returned, but for pictures."""
    for output in cell["outputs"]:
        yield from output.get("text", [])
        yield from output.get("data", {}).get("text/plain", [])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_run_is_stored_with_it(path):
    notebook = json.loads(path.read_text())
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    draws = any("Image.fromarray" in line for cell in cells for line in cell["source"])
    assert draws == any("image/png" in output.get("data", {}) for output in outputs)
    found = [text for cell in cells for text in texts(cell) if _MACHINE.search(text)]
    assert not found
    assert path.stat().st_size < 500_000


@pytest.mark.slow
@pytest.mark.parametrize("path", RUN_HERE, ids=lambda path: path.stem)
def test_runs(path, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # as users compile
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=SECONDS, resources=resources).execute()
    for cell in code_cells(notebook):
        assert not [text for text in texts(cell) if _MACHINE.search(text)]
