"""Evaluation on crops and on whole images, with restorers whose results are known."""

import base64
import csv
import io
import json
import re

import numpy as np
import pytest
from etils import epath
from PIL import Image

from common.data.pair_transform import EvalPair
from common.errors import UserError
from common.kept_results import KeptResults
from common.task import Dataset
from maxim_jax import evaluation
from maxim_jax.evaluation import RestorationEvaluator, compare_pairs, evaluate_pairs
from maxim_jax.protocols import PROTOCOLS, Protocol, measure

NAMES = [f"scene/{i}.png" for i in range(10)]
SIDES = {name: (24 + i, 40 - i) for i, name in enumerate(NAMES)}


def encode(pixels):
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def make_pair(name):
    """A target with 10..245, and an input that is darker by 10."""
    rng = np.random.default_rng(NAMES.index(name))
    target = rng.integers(10, 246, (*SIDES[name], 3), np.uint8)
    return target - 10, target


def whole(source):
    return Dataset(source, EvalPair(size=None))


class Pairs:
    """Encoded pairs by name; some replaced."""

    def __init__(self, names=NAMES, **replaced):
        self.names, self.replaced = list(names), replaced

    def __len__(self):
        return len(self.names)

    def name(self, index):
        return self.names[index]

    def __getitem__(self, index):
        image, target = map(encode, make_pair(self.names[index]))
        pair = {"input": image, "target": target, "name": self.name(index)}
        return pair | self.replaced.get(str(index), {})


class Brighten:
    """Leaves more error from image to image: undoes all but 1, 2, 3 .. of the 10 levels."""

    def __init__(self):
        self.calls = 0

    def __call__(self, image):
        assert image.dtype == np.float32 and image.min() >= 0 and image.max() <= 1
        self.calls += 1
        return image + np.float32((10 - self.calls) / 255)


def expected_psnr(levels):
    return 20 * np.log10(255 / levels)


# ---------------------------------------------------------------- crops, during training


def crops():
    rng = np.random.default_rng(0)
    target = rng.integers(0, 256, (4, 16, 20, 3), np.uint8)
    restored = np.float32(target) / 255 + np.float32(rng.normal(0, 0.03, target.shape))
    blurred = np.uint8(target // 2)
    batch = {"input": blurred, "target": target, "mask": np.array([1, 1, 0, 1])}
    return {"restored": restored}, batch


def test_evaluator_means_over_images_not_over_padding():
    outputs, batch = crops()
    outputs["restored"][2] = np.nan  # padding
    evaluator = RestorationEvaluator()
    evaluator.update(*[{k: v[:2] for k, v in x.items()} for x in (outputs, batch)])
    evaluator.update(*[{k: v[2:] for k, v in x.items()} for x in (outputs, batch)])
    each = [
        measure(outputs["restored"][i], batch["target"][i], PROTOCOLS["rgb"])
        | {
            f"{k}_input": v
            for k, v in measure(batch["input"][i], batch["target"][i], PROTOCOLS["rgb"]).items()
        }
        for i in (0, 1, 3)
    ]
    expected = {key: np.mean([row[key] for row in each]) for key in each[0]}
    assert list(expected) == ["psnr", "ssim", "psnr_input", "ssim_input"]
    assert evaluator.compute() == pytest.approx(expected)


def test_evaluator_leaves_out_what_was_filled_up():
    outputs, batch = crops()
    batch["size"] = np.int32([[16, 20], [12, 20], [16, 20], [16, 13]])
    spoilt = {"restored": outputs["restored"].copy()}
    spoilt["restored"][1, 12:] = 9
    spoilt["restored"][3, :, 13:] = 9
    clean, dirty = RestorationEvaluator(), RestorationEvaluator()
    clean.update(outputs, batch)
    dirty.update(spoilt, batch)
    assert clean.compute() == dirty.compute()
    whole = RestorationEvaluator()
    whole.update(outputs, {k: v for k, v in batch.items() if k != "size"})
    assert whole.compute() != clean.compute()


def test_evaluator_takes_float_inputs():
    """Synthetic noise comes unrounded, on the scale of 0..1."""
    outputs, batch = crops()
    rounded, floats = RestorationEvaluator(), RestorationEvaluator()
    rounded.update(outputs, batch)
    floats.update(outputs, batch | {"input": np.float32(batch["input"]) / 255})
    assert rounded.compute() == floats.compute()


def test_evaluator_mistakes():
    outputs, batch = crops()
    with pytest.raises(UserError, match="no image was evaluated"):
        RestorationEvaluator().compute()
    with pytest.raises(UserError, match="not finite"):
        RestorationEvaluator().update({"restored": outputs["restored"] * np.inf}, batch)


def test_tiny_images_have_no_ssim():
    evaluator, (outputs, batch) = RestorationEvaluator(), crops()
    evaluator.update(outputs, batch | {"size": np.int32([[16, 20], [1, 1], [1, 1], [16, 20]])})
    some = RestorationEvaluator()
    some.update(outputs, batch | {"mask": np.array([1, 0, 0, 1])})
    assert evaluator.compute()["ssim"] == some.compute()["ssim"]
    assert np.isfinite(evaluator.compute()["psnr"])


# ---------------------------------------------------------------- whole images


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder, done = tmp_path_factory.mktemp("report"), []
    summary = evaluate_pairs(
        Brighten(), whole(Pairs()), PROTOCOLS["rgb"], folder, progress=done.append
    )
    assert done == list(range(1, 11))
    return folder, summary


def test_files(evaluated):
    assert {path.name for path in evaluated[0].iterdir()} == {
        *("per_image.csv", "metrics.json", "report.html", "worst.png", "best.png")
    }


def test_per_image(evaluated):
    with (evaluated[0] / "per_image.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == NAMES
    assert [(int(row["height"]), int(row["width"])) for row in rows] == list(SIDES.values())
    psnr = [float(row["psnr"]) for row in rows]
    assert psnr == pytest.approx([expected_psnr(i) for i in range(1, 11)], rel=1e-5)
    inputs = [float(row["psnr_input"]) for row in rows]
    assert inputs == pytest.approx([expected_psnr(10)] * 10, rel=1e-5)
    for i, row in enumerate(rows):
        image, target = make_pair(NAMES[i])
        ssim = measure(image, target, PROTOCOLS["rgb"])["ssim"]
        assert float(row["ssim_input"]) == pytest.approx(ssim, rel=1e-5)
        assert ssim - 1e-5 <= float(row["ssim"]) < 1
        assert float(row["seconds"]) >= 0


def test_summary(evaluated):
    folder, summary = evaluated
    each = [expected_psnr(i) for i in range(1, 11)]
    assert summary["images"] == 10 and summary["skipped"] == []
    assert summary["mean"]["psnr"] == pytest.approx(np.mean(each))
    assert summary["std"]["psnr"] == pytest.approx(np.std(each))
    assert summary["std"]["psnr_input"] == pytest.approx(0, abs=1e-9)
    assert summary["protocol"] == PROTOCOLS["rgb"].describe()
    assert json.loads((folder / "metrics.json").read_text()) == summary


@pytest.mark.parametrize(("sheet", "first"), [("worst", 9), ("best", 0)])
def test_sheets_show_the_extremes_in_order(evaluated, sheet, first):
    """Rows of input, restored, target; each restored panel has the levels its place tells."""
    pixels = np.asarray(Image.open(evaluated[0] / f"{sheet}.png"), np.int16)
    cases = [first - i if first else i for i in range(4)]
    y = 2
    for i in cases:
        height, width = SIDES[NAMES[i]]
        shown, wide = (round(256 * side / max(height, width)) for side in (height, width))
        panels = [pixels[y : y + shown, x : x + wide] for x in (2, 262, 522)]
        error = [np.abs(panel - panels[2]).max() for panel in panels[:2]]
        assert error == [10, i + 1]
        assert panels[2].std() > 30  # a picture, not a background
        y += shown + 20


def test_page(evaluated):
    folder, summary = evaluated
    page = (folder / "report.html").read_text()
    images = re.findall('src="data:image/png;base64,([^"]+)"', page)
    assert page.count("src=") == 2 and "href" not in page
    assert [base64.b64decode(image) for image in images] == [
        (folder / f"{name}.png").read_bytes() for name in ("worst", "best")
    ]
    assert f"{summary['mean']['psnr']:.2f} ± {summary['std']['psnr']:.2f}" in page
    assert "clipped and rounded to 8 bits" in page and "Pairs left out" not in page


def test_crop_is_where_the_error_is(tmp_path):
    """Of an image larger than a panel, at full resolution."""
    target = np.random.default_rng(0).integers(0, 256, (300, 600, 3), np.uint8)
    spot = np.zeros_like(target)
    spot[20:30, 560:570] = 255

    class One(Pairs):
        def __getitem__(self, index):
            return {"input": target, "target": target, "name": "a"}

    def restore(image):
        return image + spot

    evaluate_pairs(restore, whole(One(["a.png"])), PROTOCOLS["rgb"], tmp_path)
    panels = np.asarray(Image.open(tmp_path / "worst.png"))[2:258]
    restored, shown = panels[:, 262:518], panels[:, 522:778]
    where = np.argwhere((restored != shown).any(2))
    assert (where.max(0) - where.min(0)).tolist() == [9, 9]  # the spot, unscaled
    y, x = np.array([20, 560]) - where.min(0)
    assert (shown == target[y : y + 256, x : x + 256]).all()


def test_restored_images_are_saved(tmp_path):
    """As measured; below the folder whatever they are called."""
    names = ["scene/0.png", "scene/1.png"]
    pairs = Pairs(names)
    pairs.name = lambda index: ["../scene/0.jpg", "/scene/1.png"][index]
    folder = tmp_path / "report"
    folder.mkdir()
    evaluate_pairs(Brighten(), whole(pairs), PROTOCOLS["rgb"], folder, save_images=True)
    saved = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("scene/*")}
    assert saved == {"report/restored/scene/0.jpg.png", "report/restored/scene/1.png"}
    for number, file in enumerate(("0.jpg.png", "1.png")):
        darker, _ = make_pair(names[number])
        with Image.open(folder / "restored" / "scene" / file) as image:
            np.testing.assert_array_equal(np.asarray(image), darker + 9 - number)


def test_interrupted_evaluation_goes_on(tmp_path, monkeypatch):
    """With the pair under way, and the same files; one that can't be read is tried again."""
    monkeypatch.setattr(
        evaluation, "_timed", lambda restore, image: (restore(image / np.float32(255)), 0.5)
    )

    def evaluate(name, last=99):
        restored, folder = [], tmp_path / name
        folder.mkdir(exist_ok=True)

        def restore(image):
            if len(restored) == last:
                raise KeyboardInterrupt
            restored.append(image)
            return image + np.float32(len(image) % 7 / 255)

        kept = KeptResults(epath.Path(tmp_path / "kept")) if name == "cut" else None
        dataset = whole(Pairs(**{"1": {"target": b"no image"}}))
        evaluate_pairs(restore, dataset, PROTOCOLS["rgb"], folder, save_images=True, kept=kept)
        return len(restored)

    assert evaluate("whole") == 9
    with pytest.raises(KeyboardInterrupt):
        evaluate("cut", last=6)
    assert evaluate("cut") == 3
    whole_files, files = (
        {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*.*")}
        for name in ("whole", "cut")
    )
    assert files == whole_files and len(files) == 9 + 5


def test_images_of_any_program(tmp_path):
    """Two folders are compared as they are, without a model."""
    summary = compare_pairs(whole(Pairs()), PROTOCOLS["rgb"], tmp_path)
    assert summary["mean"].keys() == {"psnr", "ssim"} and summary["images"] == len(NAMES)
    assert summary["mean"]["psnr"] == pytest.approx(expected_psnr(10))
    assert json.loads((tmp_path / "metrics.json").read_text())["mean"] == summary["mean"]
    with (tmp_path / "per_image.csv").open() as file:
        assert [row["name"] for row in csv.DictReader(file)] == NAMES


def test_bad_pairs_are_named(tmp_path):
    small = encode(np.zeros((5, 6, 3), np.uint8))
    source = Pairs(**{"1": {"target": b"no image"}, "4": {"input": small}})
    summary = evaluate_pairs(lambda x: x, whole(source), PROTOCOLS["rgb"], tmp_path)
    assert summary["images"] == 8
    first, second = summary["skipped"]
    assert first["name"] == NAMES[1] and first["reason"]
    assert second == {"name": NAMES[4], "reason": "input is 6x5, target 36x28"}
    page = (tmp_path / "report.html").read_text()
    assert "Pairs left out: 2" in page and NAMES[4] in page
    assert len((tmp_path / "per_image.csv").read_text().splitlines()) == 9


def test_nothing_measured(tmp_path):
    source = Pairs(NAMES[:1], **{"0": {"input": b""}})
    with pytest.raises(UserError, match=r"nothing could be measured \(scene/0.png: "):
        evaluate_pairs(lambda x: x, whole(source), PROTOCOLS["rgb"], tmp_path)
    with pytest.raises(UserError, match="there are none"):
        evaluate_pairs(lambda x: x, whole(Pairs([])), PROTOCOLS["rgb"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_sets_are_averaged_without_weights(tmp_path):
    protocol = Protocol("two", "any", sets=("A", "B", "C"))
    source = Pairs()
    source.name = lambda i: f"test/{'AB'[i >= 8]}/{i}.png"
    summary = evaluate_pairs(Brighten(), whole(source), protocol, tmp_path)
    parts = [np.mean([expected_psnr(i) for i in levels]) for levels in (range(1, 9), (9, 10))]
    assert {name: row["images"] for name, row in summary["sets"].items()} == {"A": 8, "B": 2}
    assert [row["psnr"] for row in summary["sets"].values()] == pytest.approx(parts)
    assert summary["mean"]["psnr"] == pytest.approx(np.mean(parts))
    assert summary["averaged"] == "over the means of A, B"
    assert "<td>B</td><td>2</td>" in (tmp_path / "report.html").read_text()


def test_one_set_alone_is_averaged_over_images(tmp_path):
    summary = evaluate_pairs(Brighten(), whole(Pairs()), PROTOCOLS["rain13k"], tmp_path)
    assert "sets" not in summary and summary["averaged"] == "over images"


def test_images_outside_all_sets_are_not_left_out(tmp_path):
    protocol = Protocol("two", "any", sets=("A", "B"))
    source = Pairs()
    source.name = lambda i: f"test/{'A' if i >= 8 else 'other'}/{i}.png"
    summary = evaluate_pairs(Brighten(), whole(source), protocol, tmp_path)
    assert summary["averaged"] == "over images"


def test_perfect_images(tmp_path):
    """An infinite PSNR is no number for JSON."""
    summary = evaluate_pairs(
        lambda x: x + np.float32(10 / 255), whole(Pairs()), PROTOCOLS["rgb"], tmp_path
    )
    assert summary["mean"]["psnr"] == float("inf") and summary["mean"]["ssim"] == 1
    stored = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert stored["mean"]["psnr"] is None and stored["std"]["psnr"] is None


def test_degraded_at_full_size(tmp_path):
    """A transform gives float inputs, which the restorer gets as they are."""
    seen = []

    def transform(example):
        target = np.full((20, 30, 3), 100, np.uint8)
        return {"input": np.float32(target) / 255 + 0.7, "target": target}

    def restore(image):
        seen.append(image)
        return image - np.float32(0.7)

    dataset = Dataset(Pairs(NAMES[:1]), transform)
    summary = evaluate_pairs(restore, dataset, PROTOCOLS["rgb"], tmp_path)
    assert seen[0].dtype == np.float32 and seen[0].max() > 1
    assert summary["mean"]["psnr"] == float("inf")
    assert summary["mean"]["psnr_input"] == pytest.approx(20 * np.log10(255 / 155))


def test_names_are_text_on_the_page(tmp_path):
    source = Pairs(NAMES[:2], **{"0": {"input": b""}})
    source.name = lambda i: f"<b>{i}</b>"
    evaluate_pairs(lambda x: x, whole(source), PROTOCOLS["rgb"], tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<b>" not in page and "&lt;b&gt;0&lt;/b&gt;" in page
