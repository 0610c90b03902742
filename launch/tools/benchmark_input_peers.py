"""Measures the input pipeline in turn with those of timm, torchvision and grain's users.

    python -m launch.benchmark --input --compare=timm,torchvision,grain --peer_python=python3

All read the same JPEG files, which it writes, one thread each, and give batches of uint8 crops:
random resized crop to 224 (bicubic, antialiased) and flip, without and with two operations of
RandAugment (`rand-m9-inc1`). Prints a JSON line about each pipeline for each kind of photos
and augmentation: images per second of a core's time and of the clock, and how many times faster
ours is per core, by the median of pairs of repetitions that follow each other.

* timm: its data set, transforms and collation, in the process of `--peer_python`.
* torchvision: its JPEG decoder and transforms of tensors (v2), likewise. Its RandAugment has other
  operations than timm's.
* grain: what its users write, with Pillow. RandAugment is ours, since grain has none.
* opencv: the same with OpenCV, which has no antialiased bicubic: another augmentation.
"""

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image

from common.config import require
from common.errors import UserError
from launch.main import run_main

PEERS = ("timm", "torchvision", "grain", "opencv")
SIZE, BATCH = 224, 16
# Width and height of photos: how many are written, and batches of a repetition.
PHOTOS = {"500x375": (96, 8), "2000x1500": (16, 2)}
# Grain's shuffle takes a third of a millisecond for a place among a hundred, and next to nothing
# among as many as data sets have.
NAMES = 4096
# As timm calls it. Without its usual spread of magnitudes, which lets it ask for posterizing to 0
# bits now and then: Pillow 13 refuses that.
RANDAUGMENT = ("", "rand-m9-inc1")
_OURS = ("ours", "grain", "opencv")

_COMPARE = flags.DEFINE_list("compare", None, f"Which of {', '.join(PEERS)}.")
_PEER_PYTHON = flags.DEFINE_string(
    "peer_python", sys.executable, "Python of an environment with PyTorch, torchvision and timm."
)
_PHOTOS = flags.DEFINE_list("photos", [*PHOTOS], "Sizes of the photos.")
_REPEATS = flags.DEFINE_integer("repeats", 9, "Repetitions of each.", lower_bound=1)

Seconds = tuple[float, float]  # of the clock, and of the processor


def main(argv: list[str]) -> None:
    """Measures what the flags say."""
    del argv
    unknown = sorted({*_COMPARE.value} - {*PEERS})
    require(bool(_COMPARE.value) and not unknown, f"--compare: choose of {', '.join(PEERS)}")
    sizes = _PHOTOS.value
    require({*sizes} <= {*PHOTOS}, f"--photos={','.join(sizes)}: choose of {', '.join(PHOTOS)}")
    for size in sizes:
        count, batches = PHOTOS[size]
        with tempfile.TemporaryDirectory() as folder:
            write_photos(Path(folder) / "train", *map(int, size.split("x")), count, NAMES)
            for randaugment in RANDAUGMENT:
                work = {"photos": size, "randaugment": randaugment or "none"}
                times = _measured(Path(folder), randaugment, batches)
                for line in results(times, batches * BATCH):
                    print(json.dumps(work | line), flush=True)


def _measured(folder: Path, randaugment: str, batches: int) -> dict[str, list[Seconds]]:
    """Seconds of each repetition of ours and of each peer, in turn."""
    pipelines = ["ours", *_COMPARE.value]
    if randaugment and "opencv" in pipelines:
        pipelines.remove("opencv")
    work = {"photos": folder, "randaugment": randaugment}
    work |= {"size": SIZE, "batch": BATCH, "batches": batches}
    with contextlib.ExitStack() as stack:
        processes = {}
        for name in pipelines:
            process = _Process(name, work)
            processes[name] = stack.enter_context(contextlib.closing(process))
        times = {name: [] for name in pipelines}
        for _ in range(_REPEATS.value):
            for name, process in processes.items():
                times[name].append(process.repetition())
    return times


def results(times: dict[str, list[Seconds]], images: int) -> Iterator[dict[str, str | float]]:
    """Yields what is printed of each pipeline.

    Args:
      times: by pipeline, one pair for each repetition; of all as many; `"ours"` is one of them.
      images: of a repetition.
    """
    for name, values in times.items():
        clock, busy = (statistics.median(seconds) for seconds in zip(*values, strict=True))
        line = {
            "pipeline": name,
            "images_per_core_second": round(images / busy, 1),
            "images_per_second": round(images / clock, 1),
        }
        if name != "ours":
            pairs = zip(values, times["ours"], strict=True)
            ratio = statistics.median(theirs / ours for (_, theirs), (_, ours) in pairs)
            line["ours_faster_by"] = round(ratio, 3)
        yield line


def write_photos(folder: Path, width: int, height: int, count: int, names: int) -> None:
    """Writes JPEGs of quality 95: parts of bundled photos, or many of them side by side.

    Args:
      folder: made, with two class folders of them.
      width: of each in pixels.
      height: likewise.
      count: of them.
      names: that these files have, taken in turn.
    """
    from skimage import data
    from sklearn.datasets import load_sample_images

    photos = [data.astronaut(), data.coffee(), data.rocket(), *load_sample_images().images]
    rng = np.random.default_rng(0)
    for part in ("0", "1"):
        (folder / part).mkdir(parents=True)
    paths = [folder / str(number % 2) / f"{number:04}.jpg" for number in range(names)]
    for path in paths[:count]:
        image = Image.new("RGB", (width, height))
        for top in range(0, height, 375):
            for left in range(0, width, 500):
                photo = Image.fromarray(photos[rng.integers(len(photos))])
                x = int(rng.integers(photo.width - 500 + 1))
                y = int(rng.integers(photo.height - 375 + 1))
                image.paste(photo.crop((x, y, x + 500, y + 375)), (left, top))
        image.save(path, quality=95)
    for number, path in enumerate(paths[count:]):
        path.hardlink_to(paths[number % count])


class _Process:
    """A pipeline in a process of its own, warm."""

    def __init__(self, name: str, work: Mapping[str, Path | str | int]):
        self._name = name
        python = sys.executable if name in _OURS else _PEER_PYTHON.value
        script = [str(Path(__file__).parent / "input_peers.py")]
        command = [python, *(["-m", "launch.tools.input_pipelines"] if name in _OURS else script)]
        command += [f"--{flag}={value}" for flag, value in {"pipeline": name, **work}.items()]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        try:
            self._process = subprocess.Popen(command, **pipes)
        except OSError as error:
            raise UserError(f"can't run {python}: {error.strerror}") from error
        if self._process.stdout.readline() != "ready\n":
            self.close()
            needs = "--peer_python needs PyTorch, torchvision with its JPEG decoder, and timm"
            raise UserError(f"{name} did not start in {python}: {needs}; its own message is above")

    def close(self) -> None:
        """Ends the process."""
        with self._process:
            self._process.kill()

    def repetition(self) -> Seconds:
        """Runs one repetition."""
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        require(bool(line), f"{self._name} ended in between; its own message is above")
        clock, busy = map(float, line.split())
        return clock, busy


if __name__ == "__main__":
    flags.mark_flags_as_required(["compare"])
    run_main(main)
