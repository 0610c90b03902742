"""Measures the input pipeline in turn with those of timm, torchvision and grain's users.

    python -m launch.benchmark --input --compare=timm,torchvision,grain --peer_python=python3

All read the same JPEG files, which it writes, one thread each, and give batches of uint8 crops:
random resized crop to 224 (bicubic, antialiased) and flip, without and with two operations of
RandAugment (`rand-m9-mstd0.5-inc1`). Prints a JSON line about each pipeline for each kind of photos
and augmentation: images per second of a core's time and of the clock, and how many times faster
ours is per core, by the median of pairs of repetitions that follow each other.

* timm: its data set, transforms and collation, in the process of `--peer_python`.
* torchvision: its JPEG decoder and transforms of tensors (v2), likewise. Its RandAugment has other
  operations than timm's.
* grain: what its users write, with Pillow. RandAugment is ours, since grain has none.
* opencv: the same with OpenCV, which has no antialiased bicubic: another augmentation.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import grain
import numpy as np
from absl import flags
from PIL import Image

from common.config import require
from common.data.augment_increasing import IncreasingRandAugment
from common.data.image_transform import TrainTransform
from common.data.pipeline import train_stream
from common.data.preprocess import random_resized_part
from common.data.sources import FolderSource
from common.errors import UserError
from launch.main import run_main

PEERS = ("timm", "torchvision", "grain", "opencv")
SIZE, BATCH = 224, 16
# Width and height of photos: how many are written, and batches of a repetition.
PHOTOS = {(500, 375): (96, 8), (2000, 1500): (16, 2)}
RANDAUGMENT = {"none": None, "rand-m9-mstd0.5-inc1": IncreasingRandAugment()}
_SCRIPT = Path(__file__).parent / "input_peers.py"

_COMPARE = flags.DEFINE_list("compare", None, f"Which of {', '.join(PEERS)}.")
_PEER_PYTHON = flags.DEFINE_string(
    "peer_python", sys.executable, "Python of an environment with PyTorch, torchvision and timm."
)
_REPEATS = flags.DEFINE_integer("repeats", 9, "Repetitions of each.", lower_bound=1)

Seconds = tuple[float, float]  # of the clock, and of the processor


def main(argv: list[str]) -> None:
    """Measures what the flags say."""
    del argv
    unknown = sorted({*_COMPARE.value} - {*PEERS})
    require(bool(_COMPARE.value) and not unknown, f"--compare: choose of {', '.join(PEERS)}")
    for (width, height), (count, batches) in PHOTOS.items():
        with tempfile.TemporaryDirectory() as folder:
            write_photos(Path(folder) / "train", width, height, count)
            for randaugment in RANDAUGMENT:
                work = {"photos": f"{width}x{height}", "randaugment": randaugment}
                times = _measured(Path(folder), randaugment, batches)
                for line in results(times, batches * BATCH):
                    print(json.dumps(work | line), flush=True)


def _measured(folder: Path, randaugment: str, batches: int) -> dict[str, list[Seconds]]:
    """Seconds of each repetition of ours and of each peer, in turn."""
    augment = RANDAUGMENT[randaugment]
    repetitions = {"ours": repetition(our_batches(folder, augment), batches)}
    processes = []
    try:
        for peer in _COMPARE.value:
            if peer == "grain":
                made = grain_batches(folder, augment, cut_by_pillow)
                repetitions[peer] = repetition(made, batches)
            elif peer != "opencv":
                name = "" if augment is None else randaugment
                processes.append(_Process(_PEER_PYTHON.value, peer, folder, batches, name))
                repetitions[peer] = processes[-1].repetition
            elif augment is None:
                made = grain_batches(folder, augment, cut_by_opencv)
                repetitions[peer] = repetition(made, batches)
        times = {name: [] for name in repetitions}
        for _ in range(_REPEATS.value):
            for name, run in repetitions.items():
                times[name].append(run())
    finally:
        for process in processes:
            process.close()
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


def repetition(stream: grain.MapDataset, batches: int) -> Callable[[], Seconds]:
    """Returns what makes that many further batches of a stream and says how long it took."""
    done = 0

    def run() -> Seconds:
        nonlocal done
        start, busy = time.perf_counter(), time.process_time()
        for index in range(done, done + batches):
            stream[index]
        done += batches
        return time.perf_counter() - start, time.process_time() - busy

    run()
    return run


def our_batches(folder: Path, augment: IncreasingRandAugment | None) -> grain.MapDataset:
    """Returns the batches that the trainer reads."""
    transform = TrainTransform(
        size=SIZE,
        crop="random_resized",
        min_area=0.08,
        interpolation="bicubic",
        flip=True,
        shift=0,
        randaugment=augment,
    )
    return train_stream(FolderSource(folder), transform, batch_size=BATCH, seed=0)


def grain_batches(
    folder: Path,
    augment: IncreasingRandAugment | None,
    cut: Callable[[Path, np.random.Generator], np.ndarray],
) -> grain.MapDataset:
    """Returns the batches of a pipeline as grain's users write it.

    Args:
      folder: of the folder `train`, with class folders of JPEG files.
      augment: what is done to a crop.
      cut: reads a file and gives a random crop, uint8 `[SIZE, SIZE, 3]`.
    """

    def made(path: Path, rng: np.random.Generator) -> dict[str, np.ndarray]:
        image = cut(path, rng)
        if rng.random() < 0.5:
            image = image[:, ::-1]
        if augment is not None:
            image = augment(image, rng)
        return {"image": image, "label": np.int32(0)}

    paths = sorted(folder.glob("train/*/*.jpg"))
    stream = grain.MapDataset.source(paths).seed(0).shuffle().repeat().random_map(made)
    return stream.batch(BATCH)


def cut_by_pillow(path: Path, rng: np.random.Generator) -> np.ndarray:
    """Returns a random crop of a file, antialiased, uint8 `[SIZE, SIZE, 3]`."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    top, left, height, width = random_resized_part(image.height, image.width, SIZE, rng)
    part = image.crop((left, top, left + width, top + height))
    return np.asarray(part.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def cut_by_opencv(path: Path, rng: np.random.Generator) -> np.ndarray:
    """Returns a random crop of a file, not antialiased, uint8 `[SIZE, SIZE, 3]`."""
    content = np.frombuffer(path.read_bytes(), np.uint8)
    image = cv2.cvtColor(cv2.imdecode(content, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    top, left, height, width = random_resized_part(*image.shape[:2], SIZE, rng)
    part = image[top : top + height, left : left + width]
    return cv2.resize(part, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)


def write_photos(folder: Path, width: int, height: int, count: int) -> None:
    """Writes JPEGs of quality 95: parts of bundled photos, or many of them side by side.

    Args:
      folder: made, with two class folders of them.
      width: of each in pixels.
      height: likewise.
      count: of them.
    """
    from skimage import data
    from sklearn.datasets import load_sample_images

    photos = [data.astronaut(), data.coffee(), data.rocket(), *load_sample_images().images]
    rng = np.random.default_rng(0)
    for number in range(count):
        image = Image.new("RGB", (width, height))
        for top in range(0, height, 375):
            for left in range(0, width, 500):
                photo = Image.fromarray(photos[rng.integers(len(photos))])
                x = int(rng.integers(photo.width - 500 + 1))
                y = int(rng.integers(photo.height - 375 + 1))
                image.paste(photo.crop((x, y, x + 500, y + 375)), (left, top))
        path = folder / str(number % 2) / f"{number:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=95)


class _Process:
    """A peer in a process of another Python, warm."""

    def __init__(self, python: str, peer: str, folder: Path, batches: int, randaugment: str):
        work = {
            "peer": peer,
            "photos": folder / "train",
            "size": SIZE,
            "batch": BATCH,
            "batches": batches,
        }
        command = [python, str(_SCRIPT), f"--randaugment={randaugment}"]
        command += [f"--{flag}={value}" for flag, value in work.items()]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        try:
            self._process = subprocess.Popen(command, **pipes)
        except OSError as error:
            raise UserError(f"can't run {python}: {error.strerror}") from error
        if self._process.stdout.readline() != "ready\n":
            self.close()
            needs = "--peer_python needs PyTorch, torchvision with its JPEG decoder, and timm"
            raise UserError(f"{peer} did not start in {python}: {needs}; its own message is above")

    def close(self) -> None:
        """Ends the process."""
        with self._process:
            self._process.kill()

    def repetition(self) -> Seconds:
        """Runs one repetition."""
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        clock, busy = map(float, self._process.stdout.readline().split())
        return clock, busy


if __name__ == "__main__":
    flags.mark_flags_as_required(["compare"])
    run_main(main)
