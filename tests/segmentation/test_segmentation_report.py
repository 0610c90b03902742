"""An interrupted evaluation of label maps goes on with the same report; no network is needed."""

import numpy as np
import pytest
from etils import epath

from common.data.images import CorruptImage
from common.kept_results import KeptResults
from common.task import Dataset
from maxvit_jax.segmentation_report import evaluate_images

NAMES = ["ground", "red", "blue"]
PALETTE = np.uint8([[0, 0, 0], [255, 0, 0], [0, 0, 255]])


class Scenes:
    """Label maps of several sizes; the third can't be read."""

    def __len__(self):
        return 9

    def __getitem__(self, index):
        if index == 2:
            raise CorruptImage("no image")
        truth = np.random.default_rng(index).integers(0, 3, (20 + index, 30), np.uint8)
        return {"image": np.repeat(truth[..., None] * 90, 3, 2), "label_map": truth}

    def name(self, index):
        return f"scene {index}"


class Guess:
    """Is right but for the pixels of some rows, ever more; stops after so many photos."""

    def __init__(self, photos=99):
        self.left, self.seen = photos, 0

    def __call__(self, photo):
        if self.seen == self.left:
            raise KeyboardInterrupt
        self.seen += 1
        found = photo[..., 0] // 90
        found[: len(found) % 8] = 1
        return found, None


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_interrupted_evaluation_goes_on(tmp_path):
    def evaluate(name, guess):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        kept = KeptResults(epath.Path(tmp_path / "kept")) if name == "cut" else None
        dataset = Dataset(Scenes(), lambda example: example)
        return evaluate_images(guess, dataset, NAMES, PALETTE, folder, kept=kept)

    whole = evaluate("whole", Guess())
    with pytest.raises(KeyboardInterrupt):
        evaluate("cut", Guess(5))
    guess = Guess()
    assert evaluate("cut", guess) == whole and guess.seen == 3
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    assert [row["name"] for row in whole["skipped"]] == ["scene 2"]
