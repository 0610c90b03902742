"""Predicts from photos: one, or a folder with all its subfolders.

    python -m launch.predict --model=caformer_s18 --weights=caformer_s18.pth --input=photo.jpg
    python -m launch.predict --workdir=runs/digits --input=scans --output=predictions.csv --top=3
    python -m launch.predict --workdir=runs/seg --input=photos --output=masks

What is predicted is what the run was trained for. A classifier's photos of any size and kind are
prepared as its weights say (a run's, or what `launch.convert` stored), or else as the model was
published. Classes are numbers, and names where they are known: those of a run whose data is at
hand, or of `--class_names`, a file with one name per line.

Where what is predicted are pictures, the output is a folder: per photo of a segmentation model a
PNG of class indices with a palette and an overlay, and one table (`predictions.csv`) with the share
of every class; `classes.csv` has names and colours.

Exit status: 0 all is done, 1 some photos could not be read (they are named), 2 a mistake in the
arguments.
"""

import contextlib
import csv
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from absl import flags
from etils import epath

from common.config import require
from common.data.images import CorruptImage
from common.data.sources import IMAGE_SUFFIXES
from common.errors import TooLarge
from common.predict import Predictor
from common.progress import ProgressReport
from common.report import write_bytes
from common.train.run_directory import read_config, read_model_name
from launch.main import compilation_cache, run_main
from launch.options import JobFlags
from launch.tasks import task_of, task_of_weights

Row = dict[str, Any]

_MODEL = flags.DEFINE_string("model", None, "Model name, such as caformer_s18.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Weights of the model, in any known format.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Run to take the model from, instead of these two.")
_INPUT = flags.DEFINE_string("input", None, "Photo, or folder of photos.")
_OUTPUT = flags.DEFINE_string("output", None, "CSV file, or folder of pictures, to write.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "Photos at once.", lower_bound=1)
_DTYPE = flags.DEFINE_string("dtype", "float32", "Compute type, such as bfloat16.")
_OPTIONS = JobFlags("predict_options")

_SECONDS_BETWEEN_LINES = 10


def main(argv: list[str]) -> None:
    """Predicts what the flags say."""
    del argv
    compilation_cache()
    paths, output = _photos(Path(_INPUT.value)), _OUTPUT.value
    taken = f"--output: {output} exists already: choose another or remove it"
    require(not output or not Path(output).exists(), taken)
    predictor = _predictor(len(paths))
    table = output
    if output and predictor.writes_files:
        table = f"{output}/predictions.csv"
        Path(output).mkdir(parents=True)
        for name, content in predictor.folder_files().items():
            write_bytes(epath.Path(output) / name, content)
    with _csv_writer(table) as write:
        failed = _predict_all(predictor, paths, write)
    print(
        f"predicted {len(paths) - len(failed)} of {len(paths)} photos"
        + f", {len(failed)} could not be read" * bool(failed)
        + f"; the table is in {table}" * bool(table)
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


def _predictor(photos: int) -> Predictor:
    workdir, name, weights = _WORKDIR.value, _MODEL.value, _WEIGHTS.value
    require(
        bool(workdir) != bool(name or weights), "give either --workdir, or --model and --weights"
    )
    if workdir:
        name, weights, job = read_model_name(workdir), workdir, task_of(read_config(workdir))
    else:
        require(bool(name and weights), "--model and --weights go together")
        job = task_of_weights(name, weights)
    options, batch_size = _OPTIONS.options(job), min(_BATCH_SIZE.value, photos)
    return job.predictor(name, weights, options, batch_size=batch_size, dtype=_DTYPE.value)


def _predict_all(
    predictor: Predictor, paths: list[Path], write: Callable[[Path, list[Row]], None]
) -> list[Path]:
    """Prints and writes what is predicted of every photo; returns those that can't be read."""
    failed, named, prepared = [], [], []
    folder = Path(_OUTPUT.value) if _OUTPUT.value and predictor.writes_files else None
    places = _places(paths) if folder else {}
    with ProgressReport(len(paths), unit="photo") as progress:
        started = shown = time.monotonic()
        for done, path in enumerate(paths, start=1):
            try:
                prepared.append(predictor.prepare(_read(path)))
                named.append(path)
            except CorruptImage as error:
                failed.append(path)
                progress.log(f"can't read {path}: {error}")
            if prepared and (len(prepared) == predictor.batch_size or done == len(paths)):
                try:
                    results = predictor.run(prepared)
                except TooLarge as error:
                    failed += named
                    progress.log(f"can't do {', '.join(map(str, named))}: {error}")
                    named, results = [], []
                for path, result in zip(named, results, strict=True):
                    progress.log(f"{path}: {predictor.text(result)}")
                    write(path, predictor.rows(result))
                    for ending, content in predictor.files(result).items() if folder else ():
                        place = folder / f"{places[path]}{ending}"
                        place.parent.mkdir(parents=True, exist_ok=True)
                        write_bytes(epath.Path(place), content)
                named, prepared = [], []
            progress.advance(done)
            if (now := time.monotonic()) - shown > _SECONDS_BETWEEN_LINES:
                progress.metrics(done, {"images_per_second": done / (now - started)})
                shown = now
    return failed


def _places(paths: list[Path]) -> dict[Path, Path]:
    """Where in the output folder a photo's files begin: its name without suffix, if that is enough
    to tell it from the others."""
    source = Path(_INPUT.value)
    inside = {
        path: path.relative_to(source if source.is_dir() else source.parent) for path in paths
    }
    stems = Counter(place.with_suffix("") for place in inside.values())
    return {
        path: place if stems[place.with_suffix("")] > 1 else place.with_suffix("")
        for path, place in inside.items()
    }


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CorruptImage(error.strerror) from error


@contextlib.contextmanager
def _csv_writer(target: str | None) -> Iterator[Callable[[Path, list[Row]], None]]:
    """Gives a function that takes a photo's rows; the file is complete or not there."""
    if not target:
        yield lambda path, rows: None
        return
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with scratch.open("w", newline="") as file:
            table = csv.writer(file)

            def write(photo: Path, rows: list[Row]) -> None:
                if rows and not file.tell():
                    table.writerow(["image", *rows[0]])
                for row in rows:
                    table.writerow([photo, *row.values()])

            yield write
        scratch.rename(path)
    finally:
        scratch.unlink(missing_ok=True)


if __name__ == "__main__":
    flags.mark_flag_as_required("input")
    run_main(main)
