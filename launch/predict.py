"""Classifies photos: one, or a folder with all its subfolders.

    python -m launch.predict --model=caformer_s18 --weights=caformer_s18.pth --input=photo.jpg
    python -m launch.predict --workdir=runs/digits --input=scans --output=predictions.csv --top=3

Photos of any size and kind are prepared as the weights say (a run's, or what `launch.convert`
stored), or else as the model was published. Classes are numbers, and names where they are known:
those of a run whose data is at hand, or of `--class_names`, a file with one name per line.

Exit status: 0 all are classified, 1 some photos could not be read (they are named), 2 a mistake in
the arguments.
"""

import contextlib
import csv
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import flags

import maxim_jax
import maxvit_jax
from common.config import require
from common.data.images import CorruptImage
from common.data.sources import IMAGE_SUFFIXES
from common.train.progress import ProgressReport
from common.train.run_directory import read_model_name
from launch.main import compilation_cache, run_main
from maxvit_jax.data_defaults import data_of_weights, published_fields
from maxvit_jax.inference import Classifier, Prediction

_MODEL = flags.DEFINE_string("model", None, "Model name, such as caformer_s18.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Weights of the model, in any known format.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Run to take the model from, instead of these two.")
_INPUT = flags.DEFINE_string("input", None, "Photo, or folder of photos.")
_OUTPUT = flags.DEFINE_string("output", None, "CSV file to write.")
_TOP = flags.DEFINE_integer("top", 5, "Classes per photo.", lower_bound=1)
_CLASS_NAMES = flags.DEFINE_string("class_names", None, "File with one name per class and line.")
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", None, "Side in pixels that the model sees, if not its weights'.", lower_bound=1
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "Photos at once.", lower_bound=1)
_DTYPE = flags.DEFINE_string("dtype", "float32", "Compute type, such as bfloat16.")

_SECONDS_BETWEEN_LINES = 10


def main(argv: list[str]) -> None:
    """Classifies what the flags say."""
    del argv
    compilation_cache()
    paths = _photos(Path(_INPUT.value))
    with _csv_writer(_OUTPUT.value) as write:
        failed = _classify_all(_classifier(len(paths)), paths, write)
    print(
        f"classified {len(paths) - len(failed)} of {len(paths)} photos"
        + f", {len(failed)} could not be read" * bool(failed)
        + f"; the table is in {_OUTPUT.value}" * bool(_OUTPUT.value)
    )
    if failed:
        sys.exit(1)


def _photos(source: Path) -> list[Path]:
    require(source.exists(), f"--input: there is no {source}")
    if not source.is_dir():
        return [source]
    found = sorted(
        path
        for path in source.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(source).parts)
    )
    require(bool(found), f"--input: no photos in {source} ({', '.join(IMAGE_SUFFIXES)})")
    return found


def _classifier(photos: int) -> Classifier:
    workdir, name, weights = _WORKDIR.value, _MODEL.value, _WEIGHTS.value
    require(
        bool(workdir) != bool(name or weights), "give either --workdir, or --model and --weights"
    )
    if workdir:
        name, weights = read_model_name(workdir), workdir
    require(bool(name and weights), "--model and --weights go together")
    restores = name in maxim_jax.list_models()
    require(not restores, f"{name} restores photos: python -m launch.restore")
    fields = published_fields(name, _IMAGE_SIZE.value) | {"dtype": _DTYPE.value}
    model, variables = maxvit_jax.load_pretrained(name, weights, **fields)
    data, class_names = data_of_weights(name, weights, _IMAGE_SIZE.value)
    if _CLASS_NAMES.value:
        text = Path(_CLASS_NAMES.value).read_text(encoding="utf-8", errors="replace")
        class_names = text.splitlines()
    batch_size = min(_BATCH_SIZE.value, photos)
    return Classifier(model, variables, data, class_names, batch_size=batch_size)


def _classify_all(
    classifier: Classifier, paths: list[Path], write: Callable[[Path, list[Prediction]], None]
) -> list[Path]:
    """Prints and writes the classes of every photo; returns the photos that can't be read."""
    failed, named, prepared = [], [], []
    with ProgressReport(len(paths), unit="photo") as progress:
        started = shown = time.monotonic()
        for done, path in enumerate(paths, start=1):
            try:
                prepared.append(classifier.prepare(_read(path)))
                named.append(path)
            except CorruptImage as error:
                failed.append(path)
                progress.log(f"can't read {path}: {error}")
            if prepared and (len(prepared) == classifier.batch_size or done == len(paths)):
                for path, row in zip(named, classifier.classify_prepared(prepared), strict=True):
                    best = classifier.best(row, _TOP.value)
                    progress.log(f"{path}: {', '.join(map(_text, best))}")
                    write(path, best)
                named, prepared = [], []
            progress.advance(done)
            if (now := time.monotonic()) - shown > _SECONDS_BETWEEN_LINES:
                progress.metrics(done, {"images_per_second": done / (now - started)})
                shown = now
    return failed


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CorruptImage(error.strerror) from error


def _text(prediction: Prediction) -> str:
    index, name, probability = prediction
    return f"{probability:.2%} {index}" + f" ({name})" * bool(name)


@contextlib.contextmanager
def _csv_writer(target: str | None) -> Iterator[Callable[[Path, list[Prediction]], None]]:
    """Gives a function that takes a photo's classes; the file is complete or not there."""
    if not target:
        yield lambda path, best: None
        return
    path = Path(target)
    require(not path.exists(), f"--output: {path} exists already: choose another or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with scratch.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["image", "rank", "class", "name", "probability"])

            def write(photo: Path, best: list[Prediction]) -> None:
                for rank, (index, name, probability) in enumerate(best, start=1):
                    rows.writerow([photo, rank, index, name, f"{probability:.6g}"])

            yield write
        scratch.rename(path)
    finally:
        scratch.unlink(missing_ok=True)


if __name__ == "__main__":
    flags.mark_flag_as_required("input")
    run_main(main)
