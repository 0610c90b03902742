"""Predicts from photos and videos: one, or a folder with all its subfolders.

    python -m launch.predict --model=caformer_s18 --weights=caformer_s18.pth --input=photo.jpg
    python -m launch.predict --model=maxvit_tiny --input=photo.jpg
    python -m launch.predict --workdir=runs/digits --input=scans --output=predictions.csv --top=3
    python -m launch.predict --workdir=runs/seg --input=photos --output=masks
    python -m launch.predict --workdir=runs/coins_found --input=clip.mp4 --output=found

What is predicted is what the run was trained for. A classifier's photos of any size and kind are
prepared as its weights say (a run's, or what `launch.convert` stored), or else as the model was
published. Classes are numbers, and names where they are known: those of a run whose data is at
hand, or of `--class_names`, a file with one name per line.

Without `--weights` the published weights of the model are fetched; docs/weights.md has their names.

Where there is more than a table, the output is a folder: per photo of a segmentation model a PNG
of class indices with a palette and an overlay, and one table (`predictions.csv`) with the share of
every class; `classes.csv` has names and colours. What a detector writes is in docs/detection.md,
what a model of quality does in docs/quality.md.

Detectors take videos too, which needs PyAV: a video with the objects drawn in, and a table of them
beside it. Other models leave videos out, and name them.

Until all is done, the table is called `predictions.unfinished.csv` (`all.unfinished.csv` for
`all.csv`). That is what an interruption leaves, and the same command goes on with it.

Exit status: 0 all is done, 1 some files could not be read, or are videos with damaged frames (they
are named), 2 a mistake in the arguments.
"""

import contextlib
import errno
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags
from etils import epath

from common.config import require
from common.data.images import CorruptImage, corrupt_image
from common.data.sources import IMAGE_SUFFIXES
from common.errors import TooLarge, UserError, readable
from common.news import announced
from common.photo_names import image_ids, places, relative_paths, shown
from common.photo_table import TABLE, PhotoTable, photo_table, unfinished
from common.predict import FilePredictor, Predictor
from common.predicted_video import predict_video
from common.progress import Pace, ProgressReport
from common.regular_files import read_file
from common.unfinished import write_bytes
from common.video import VIDEO_SUFFIXES, written_name
from common.video_parts import remove_parts
from launch.input_files import input_files
from launch.main import compilation_cache, run_main
from launch.options import JobFlags
from launch.tasks import job_of_flags
from launch.video_files import write_videos

_MODEL = flags.DEFINE_string("model", None, "Model name, such as caformer_s18.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Weights: a path, an address or a name.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Run to take the model from, instead of these two.")
_INPUT = flags.DEFINE_string("input", None, "Photo or video, or folder of them.")
_OUTPUT = flags.DEFINE_string("output", None, "CSV file, or folder of pictures, to write.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "Photos at once.", lower_bound=1)
_DTYPE = flags.DEFINE_string("dtype", "float32", "Compute type, such as bfloat16.")
_OPTIONS = JobFlags("predict_options")


def main(argv: list[str]) -> None:
    """Predicts what the flags say."""
    del argv
    compilation_cache()
    source, output = Path(_INPUT.value), Path(_OUTPUT.value) if _OUTPUT.value else None
    taken = f"--output: {output} exists already: choose another or remove it"
    goes_on = output and unfinished(output / TABLE).is_file()
    require(not output or not output.exists() or goes_on, taken)
    found = input_files(source, output, (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))
    photos, films = ([p for p in found if _is_video(p) == kind] for kind in (False, True))
    predictor = _predictor(_BATCH_SIZE.value if films else len(photos))
    videos, left_out = (films, []) if predictor.takes_videos else ([], films)
    no_videos = f"--input: {source}: this model takes no videos, give their frames as photos"
    require(bool(photos or videos), no_videos)
    if videos:
        _require_folder(output)
    folder = output if output and predictor.writes_files else None
    path = folder / TABLE if folder else output
    require(not path or not path.exists(), taken)
    everything, root = photos + videos, source if source.is_dir() else source.parent
    inside = relative_paths(root, everything) if folder else {}
    place_of = places({path: place for path, place in inside.items() if not _is_video(path)})
    id_of = image_ids(place_of)
    with photo_table(path) if path else contextlib.nullcontext() as table:
        todo = _rest(table, photos) if table else photos
        if folder:
            _write_folder_files(predictor, folder)

        def write(photo: Path, result: Any) -> None:
            if folder:
                _write_all(folder, place_of[photo], predictor.files(result, id_of[photo]))
            if table:
                table.write(photo, predictor.rows(result))

        failed = _predict_photos(predictor, todo, write)
        targets = {video: written_name(folder / inside[video]) for video in videos}
        for target in filter(Path.exists, targets.values()):
            remove_parts(target)
        targets = {video: target for video, target in targets.items() if not target.exists()}
        failed_videos, damaged = write_videos(targets, partial(predict_video, predictor))
        failed += failed_videos
        if folder:
            with announced("writing the files about all photos", "written"):
                _write_all(folder, "", predictor.closing_files(folder))
    todo = [*todo, *targets]
    earlier = len(everything) - len(todo)
    kinds = " and ".join(["photos"] * bool(photos) + ["videos"] * bool(videos))
    print(
        f"predicted {len(todo) - len(failed)} of {len(everything)} {kinds}"
        + f", {earlier} were there already" * bool(earlier)
        + f", {len(failed)} could not be read" * bool(failed)
        + f", {len(damaged)} of damaged files" * bool(damaged)
        + f"; the table is in {path}" * bool(path and path.exists())
        + f"; left out, as this model takes no videos: {_listed(left_out)}" * bool(left_out)
    )
    if failed or damaged:
        sys.exit(1)


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _require_folder(output: Path | None) -> None:
    """Videos and their tables need one."""
    require(output is not None, "--output is missing: the folder for what is found in videos")
    hint = f"a folder is written: name one, such as {output.with_suffix('')}"
    require(not _is_video(output), f"--output: {output} is a video's name, {hint}")


def _rest(table: PhotoTable, paths: list[Path]) -> list[Path]:
    """The photos that a table lacks."""
    others = sorted(table.done - {str(path) for path in paths})
    named = ", ".join(others[:3])
    is_of_others = f"{table.path} is of other photos ({named}): give their --input to go on"
    require(not others, f"--output: {is_of_others}, or choose another --output")
    if table.done:
        there = f"{table.path} has {len(table.done)} of {len(paths)} photos"
        print(f"{there}: going on with the others; another --output begins again")
    return [path for path in paths if str(path) not in table.done]


def _write_folder_files(predictor: FilePredictor, folder: Path) -> None:
    for name, content in predictor.folder_files().items():
        place = folder / name
        require(
            not place.exists() or place.read_bytes() == content,
            f"--output: {place} is of another model: choose another --output, or remove {folder}",
        )
        write_bytes(epath.Path(place), content)


def _write_all(folder: Path, start: Path | str, files: Mapping[str, bytes]) -> None:
    """Writes files whose names start alike."""
    for ending, content in files.items():
        place = folder / f"{start}{ending}"
        place.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(epath.Path(place), content)


def _predictor(largest_batch: int) -> Predictor:
    name, weights, job = job_of_flags(_WORKDIR.value, _MODEL.value, _WEIGHTS.value)
    options, batch_size = _OPTIONS.options(job), min(_BATCH_SIZE.value, largest_batch)
    return job.predictor(name, weights, options, batch_size=batch_size, dtype=_DTYPE.value)


def _predict_photos(
    predictor: Predictor, paths: list[Path], write: Callable[[Path, Any], None]
) -> list[Path]:
    """Prints and writes what is predicted of every photo; returns those that can't be read."""
    failed, named, prepared = [], [], []
    with ProgressReport(len(paths), unit="photo") as progress:
        pace = Pace(progress, len(paths))
        for done, path in enumerate(paths, start=1):
            try:
                prepared.append(predictor.prepare(_read(path)))
                named.append(path)
            except UserError:  # of what was asked for, not of this photo
                raise
            except Exception as error:  # readers raise about any type
                failed.append(path)
                progress.log(f"can't read {shown(path)}: {corrupt_image(error)}")
            if prepared and (len(prepared) == predictor.batch_size or done == len(paths)):
                try:
                    results = predictor.run(prepared)
                except TooLarge as error:
                    failed += named
                    progress.log(f"can't do {_listed(named)}: {error}")
                    named, results = [], []
                for photo, result in zip(named, results, strict=True):
                    progress.log(f"{shown(photo)}: {readable(predictor.text(result))}")
                    try:
                        write(photo, result)
                    except OSError as error:
                        if error.errno != errno.ENAMETOOLONG:
                            raise
                        failed.append(photo)
                        progress.log(f"can't write the files of {shown(photo)}: {error.strerror}")
                named, prepared = [], []
            pace(done)
    return failed


def _listed(paths: list[Path]) -> str:
    return ", ".join(map(shown, paths))


def _read(path: Path) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        raise CorruptImage(error.strerror) from error


if __name__ == "__main__":
    flags.mark_flag_as_required("input")
    run_main(main)
