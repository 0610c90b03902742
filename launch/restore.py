"""Restores photos and videos: one, or a folder of them.

    python -m launch.restore --model=maxim_s2 --weights=checkpoint.npz --input=photo.jpg \\
        --output=restored
    python -m launch.restore --model=maxim_s3.denoising_sidd --input=photo.jpg --output=restored
    python -m launch.restore --workdir=runs/photos --input=holiday --output=restored --tile=512

Weights are a file in any known format, those of a run of our own (--workdir), or published ones,
which are fetched by name. A folder is restored with all its subfolders; what has a result is
skipped, so that an interrupted folder goes on where it ended, and so does a video. Photos of many
sizes share few compiled programs (--few_sizes); those that memory does not suffice for are restored
in tiles (--tile). Names, bit depth, gray, transparency, pages, color description, texts and EXIF
are kept, and what can't be is named; see docs/restoring.md. Videos need PyAV.

Exit status: 0 all is restored, 1 some files could not be, or are videos with damaged frames (their
names are printed), 2 a mistake in the arguments.
"""

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from absl import flags
from PIL import Image

import maxim_jax
from common import video
from common.config import require
from common.data.images import CorruptImage, corrupt_image, decode
from common.data.sources import IMAGE_SUFFIXES
from common.errors import UserError, did_you_mean
from common.photo_names import shown
from common.pictures import comparison_sheet
from common.progress import Pace, ProgressReport
from common.video import VIDEO_SUFFIXES
from common.video_parts import VideoParts, remove_parts
from common.weights.checksum import checksum
from launch.input_files import input_files
from launch.main import compilation_cache, run_main
from launch.tasks import weights_of_flags
from launch.video_files import write_videos
from maxim_jax.checkpoints import checkpoint_table
from maxim_jax.inference import Restorer
from maxim_jax.photo_info import PhotoInfo
from maxim_jax.photo_size import photo_size
from maxim_jax.photos import FORMATS, read_pages, require_writable, write_pages, write_photo

_MODEL = flags.DEFINE_string("model", None, "Model name, such as maxim_s2.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Weights: a path, an address or a name.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Run to take the model from, instead of these two.")
_INPUT = flags.DEFINE_string("input", None, "Photo, video or folder.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder, or for one photo or a video also a file.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace results that exist.")
_TILE = flags.DEFINE_string(
    "tile",
    "auto",
    "Side of tiles for large photos; none: all are restored whole; auto: whole if memory suffices,"
    " else in tiles of 512.",
)
_OVERLAP = flags.DEFINE_integer("overlap", 64, "Pixels that neighbouring tiles share at least.")
_FEW_SIZES = flags.DEFINE_bool(
    "few_sizes",
    True,
    "Pad photos of a folder further where that saves compiling for another size; --nofew_sizes:"
    " as the official code does.",
)
_ENSEMBLE = flags.DEFINE_integer("ensemble", 1, "Mean over 4 or 8 rotated and mirrored views.")
_DTYPE = flags.DEFINE_string("dtype", "float32", "Compute type, such as bfloat16.")
_QUALITY = flags.DEFINE_integer(
    "jpeg_quality", 95, "Of JPEG files.", lower_bound=1, upper_bound=100
)
_FORMAT = flags.DEFINE_enum(
    "format", None, [suffix[1:] for suffix in FORMATS], "Of photos, instead of their own."
)
_COMPARE = flags.DEFINE_bool("compare", False, "Write a sheet of photos before and after.")

_TILES = {"auto": "auto", "none": None}
_SHEET_ROWS = 8
_SHEET_SIDE = 256


def main(argv: list[str]) -> None:
    """Restores what the flags say."""
    del argv
    compilation_cache()
    source, output = Path(_INPUT.value), Path(_OUTPUT.value)
    require(source.exists(), f"--input: there is no {source}")
    jobs = _folder_jobs(source, output) if source.is_dir() else [_file_job(source, output)]
    photos, videos = ([job for job in jobs if _is_video(job[0]) == kind] for kind in (False, True))
    require(not (_COMPARE.value and not photos), "--compare is for photos")
    rest = [[job for job in kind if _to_do(job[1])] for kind in (photos, videos)]
    for video_job in videos:
        if video_job not in rest[1]:
            remove_parts(video_job[1])
    failed, damaged = [], []
    if rest[0] or rest[1]:
        restorer, settings = _restorer()
        _plan(restorer, photos, rest[0])
        failed = _restore_photos(restorer, rest[0])
        failed_videos, damaged = _restore_videos(restorer, settings, dict(rest[1]))
        failed += failed_videos
    for kind, all_of_it, todo in zip(("photos", "videos"), (photos, videos), rest, strict=True):
        if all_of_it:
            print(_summary(kind, len(all_of_it), todo, failed, damaged))
    if _COMPARE.value:
        folder = output if source.is_dir() else photos[0][1].parent
        _write_sheet([job for job in photos if job[0] not in failed], folder)
    if failed or damaged:
        sys.exit(1)


def _summary(
    kind: str, count: int, todo: list[tuple[Path, Path]], failed: list[Path], damaged: list[Path]
) -> str:
    lost, worse = (sum(path in some for path, _ in todo) for some in (failed, damaged))
    earlier = count - len(todo)
    return (
        f"restored {len(todo) - lost} of {count} {kind}"
        + f", {earlier} were there already" * bool(earlier)
        + f", {lost} failed" * bool(lost)
        + f", {worse} of damaged files" * bool(worse)
    )


def _restorer() -> tuple[Restorer, str]:
    """And in words, what its results depend on."""
    name, weights = weights_of_flags(_WORKDIR.value, _MODEL.value, _WEIGHTS.value)
    what, hint = _WORKDIR.value or "--model", did_you_mean(name, maxim_jax.list_models())
    require(maxim_jax.knows(name), f"{what}: {name} restores no photos; {hint}")
    model, variables = maxim_jax.load_pretrained(name, weights, dtype=_DTYPE.value)
    how = {"tile": _tile(), "overlap": _OVERLAP.value, "ensemble": _ENSEMBLE.value}
    return Restorer(model, variables, **how), f"{model} {checksum(variables)} {how}"


def _plan(
    restorer: Restorer, photos: list[tuple[Path, Path]], todo: list[tuple[Path, Path]]
) -> None:
    sizes = {path: size for path, _ in photos if (size := photo_size(path))}
    if _FEW_SIZES.value:
        # Also of those with a result: where a folder was interrupted makes no difference.
        restorer.expect(sizes.values())
    restorer.compile_ahead(sizes[path] for path, _ in todo if path in sizes)


def _tile() -> int | Literal["auto"] | None:
    if _TILE.value in _TILES:
        return _TILES[_TILE.value]
    try:
        return int(_TILE.value)
    except ValueError as error:
        raise UserError(f"--tile={_TILE.value}: a number of pixels, auto or none") from error


# ---------------------------------------------------------------- what goes where


def _folder_jobs(folder: Path, output: Path) -> list[tuple[Path, Path]]:
    """Files of a folder and where they go; an output folder inside it is no input."""
    require(not output.exists() or output.is_dir(), f"--output: {output} is a file")
    _require_not_original(output.resolve() == folder.resolve(), output)
    found = input_files(folder, output, (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))
    jobs = [(path, output / _written(path.relative_to(folder))) for path in found]
    originals = {path.resolve() for path in found}
    taken: dict[Path, Path] = {}
    for path, target in jobs:
        other = taken.setdefault(target, path)
        require(other is path, f"--input: {other} and {path} would both become {target}: move one")
        _require_not_original(target.resolve() in originals, target)
    return jobs


def _file_job(source: Path, output: Path) -> tuple[Path, Path]:
    suffix = source.suffix.lower()
    require(
        suffix in IMAGE_SUFFIXES or suffix in VIDEO_SUFFIXES,
        f"--input: {source} is no photo ({', '.join(IMAGE_SUFFIXES)})"
        f" and no video ({', '.join(VIDEO_SUFFIXES)})",
    )
    return source, _target(source, output, video.FORMATS if _is_video(source) else FORMATS)


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _to_do(target: Path) -> bool:
    return _OVERWRITE.value or not target.exists()


def _target(source: Path, output: Path, suffixes: Iterable[str]) -> Path:
    """Where one file goes: to the output if that is named as a file, else into it as a folder."""
    if output.is_dir() or not output.suffix or _OUTPUT.value.endswith(os.sep):
        output = output / _written(Path(source.name))
    known = ", ".join(suffixes)
    require(
        output.suffix.lower() in suffixes,
        f"--output: can't write {output}: choose {known}, or end a folder's name with {os.sep}",
    )
    _require_not_original(output.resolve() == source.resolve(), output)
    require(
        _OVERWRITE.value or not output.exists(),
        f"--output: {output} exists already: --overwrite replaces it",
    )
    return output


def _require_not_original(original: bool, target: Path) -> None:
    require(not original, f"--output: {target} is of the input: originals are never overwritten")


def _written(path: Path) -> Path:
    """The name of a result: `--format`'s; what can be read but not written (GIF) becomes PNG."""
    if _is_video(path):
        return video.written_name(path)
    if _FORMAT.value and path.suffix.lower() in IMAGE_SUFFIXES:
        return path.with_suffix(f".{_FORMAT.value}")
    readable = path.suffix.lower() in IMAGE_SUFFIXES and path.suffix.lower() not in FORMATS
    return path.with_name(f"{path.name}.png") if readable else path


# ---------------------------------------------------------------- photos


def _restore_photos(restorer: Restorer, jobs: list[tuple[Path, Path]]) -> list[Path]:
    """Restores photo by photo; returns those that could not be."""
    if not jobs:
        return []
    if _TILE.value not in _TILES:
        Image.MAX_IMAGE_PIXELS = None  # memory is bounded, but for the photo itself
    failed = []
    with ProgressReport(len(jobs), unit="photo") as progress:
        pace = Pace(progress, len(jobs))
        for done, (path, target) in enumerate(jobs, start=1):
            target.parent.mkdir(parents=True, exist_ok=True)
            restore = partial(_restored, restorer, path, target, pace)
            try:
                lost = write_pages(target, restore(), jpeg_quality=_QUALITY.value)
                if lost:
                    progress.log(f"{shown(path)}: left out: {'; '.join(lost)}")
            except OSError as error:  # of what is written: of reading it is a CorruptImage
                if error.errno != errno.ENAMETOOLONG:
                    raise
                failed.append(path)
                progress.log(f"failed: {shown(path)}: {error.strerror}")
            except Exception as error:  # readers raise about any type
                failed.append(path)
                known = isinstance(error, MemoryError | UserError)
                progress.log(f"failed: {shown(path)}: {error if known else corrupt_image(error)}")
            pace(done)
    return failed


def _restored(
    restorer: Restorer, path: Path, target: Path, pace: Pace
) -> Iterator[tuple[np.ndarray, PhotoInfo]]:
    """The pages of a photo, restored."""
    try:
        for number, (pixels, info) in enumerate(read_pages(path), start=1):
            require_writable(target, info)
            name = path.name if info.pages == 1 else f"{path.name} {number}/{info.pages}"
            yield restorer(pixels, partial(pace.part, name)), info
    except OSError as error:
        raise CorruptImage(error.strerror) from error
    except CorruptImage as error:
        if isinstance(error.__cause__, Image.DecompressionBombError):
            limit = 2 * Image.MAX_IMAGE_PIXELS // 10**6
            raise CorruptImage(f"more than {limit} million pixels: use --tile=512") from error
        raise


def _write_sheet(jobs: list[tuple[Path, Path]], folder: Path) -> None:
    """The first photos as a whole and a part of each in full resolution, before and after."""
    rows, captions = [], []
    for path, target in jobs[:_SHEET_ROWS]:
        try:
            before, after = (decode(p.read_bytes()) for p in (path, target))
        except CorruptImage:  # an earlier result that something else damaged
            continue
        height, width = before.shape[:2]
        rows.append([_thumbnail(before), _thumbnail(after), _center(before), _center(after)])
        captions.append([f"{path.name} {width}x{height}", "restored", "center", "restored"])
    if not rows:
        return
    sheet, number = folder / "comparison.png", 1
    while sheet.exists():
        number += 1
        sheet = folder / f"comparison-{number}.png"
    picture = comparison_sheet(rows, captions, side=_SHEET_SIDE)
    write_photo(sheet, picture / np.float32(255), PhotoInfo())
    print(f"the comparison is in {sheet}")


def _thumbnail(image: np.ndarray) -> np.ndarray:
    small = Image.fromarray(image)
    small.thumbnail((_SHEET_SIDE, _SHEET_SIDE))
    return np.asarray(small)


def _center(image: np.ndarray) -> np.ndarray:
    y, x = (max(0, (side - _SHEET_SIDE) // 2) for side in image.shape[:2])
    return image[y : y + _SHEET_SIDE, x : x + _SHEET_SIDE]


# ---------------------------------------------------------------- video


def _restore_videos(
    restorer: Restorer, settings: str, targets: dict[Path, Path]
) -> tuple[list[Path], list[Path]]:
    """See `write_videos`."""

    def restored(frames: Iterator[np.ndarray], _: VideoParts) -> Iterator[np.ndarray]:
        return map(restorer, frames)

    return write_videos(targets, partial(video.rewrite_video, change=restored, settings=settings))


if __name__ == "__main__":
    __doc__ = f"{__doc__}\nPublished weights:\n\n{checkpoint_table()}\n"
    flags.mark_flags_as_required(["input", "output"])
    run_main(main)
