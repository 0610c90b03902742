"""Our input pipeline and those that grain's users write, one thread each.

Run by launch.tools.benchmark_input_peers. Imports no JAX, like the workers of a run.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import grain
import numpy as np
from PIL import Image

from common.data.augment_increasing import IncreasingRandAugment
from common.data.image_transform import TrainTransform
from common.data.pipeline import train_stream
from common.data.preprocess import random_resized_part
from common.data.sources import FolderSource

Cut = Callable[[Path, int, np.random.Generator], np.ndarray]


def main() -> None:
    """Prints `ready`, then for every line the seconds and processor seconds of some batches."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pipeline", choices=("ours", "grain", "opencv"))
    parser.add_argument("--photos", type=Path, help="folder of the folder `train`")
    parser.add_argument("--size", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--batches", type=int, help="of a repetition")
    parser.add_argument("--randaugment", help="empty: none")
    args = parser.parse_args()

    cv2.setNumThreads(1)
    augment = IncreasingRandAugment(magnitude_std=0.0) if args.randaugment else None
    if args.pipeline == "ours":
        stream = our_batches(args.photos, args.size, args.batch, augment)
    else:
        cut = {"grain": cut_by_pillow, "opencv": cut_by_opencv}[args.pipeline]
        stream = grain_batches(args.photos, args.size, args.batch, augment, cut)
    steps = itertools.count()

    def timed() -> tuple[float, float]:
        start, busy = time.perf_counter(), time.process_time()
        for step in itertools.islice(steps, args.batches):
            stream[step]
        return time.perf_counter() - start, time.process_time() - busy

    timed()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(*timed(), flush=True)


def our_batches(
    folder: Path, size: int, batch: int, augment: IncreasingRandAugment | None
) -> grain.MapDataset:
    """Returns the batches that the trainer reads.

    Args:
      folder: as all others in `grain_batches`.
      size: likewise.
      batch: likewise.
      augment: likewise.
    """
    transform = TrainTransform(
        size=size,
        crop="random_resized",
        min_area=0.08,
        interpolation="bicubic",
        flip=True,
        shift=0,
        randaugment=augment,
    )
    return train_stream(FolderSource(folder), transform, batch_size=batch, seed=0)


def grain_batches(
    folder: Path, size: int, batch: int, augment: IncreasingRandAugment | None, cut: Cut
) -> grain.MapDataset:
    """Returns the batches of a pipeline as grain's users write it.

    Args:
      folder: of the folder `train`, with class folders of JPEG files.
      size: side of the crops in pixels.
      batch: images of a batch.
      augment: what is done to a crop.
      cut: takes a file, the size and a generator, and gives a random crop, uint8 `[size, size, 3]`.
    """

    def made(path: Path, rng: np.random.Generator) -> dict[str, np.ndarray]:
        image = cut(path, size, rng)
        if rng.random() < 0.5:
            image = image[:, ::-1]
        if augment is not None:
            image = augment(image, rng)
        return {"image": image, "label": np.int32(0)}

    paths = sorted(folder.glob("train/*/*.jpg"))
    stream = grain.MapDataset.source(paths).seed(0).shuffle().repeat().random_map(made)
    return stream.batch(batch)


def cut_by_pillow(path: Path, size: int, rng: np.random.Generator) -> np.ndarray:
    """Returns a random crop of a file, antialiased, uint8 `[size, size, 3]`."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    top, left, height, width = random_resized_part(image.height, image.width, size, rng)
    part = image.crop((left, top, left + width, top + height))
    return np.asarray(part.resize((size, size), Image.Resampling.BICUBIC))


def cut_by_opencv(path: Path, size: int, rng: np.random.Generator) -> np.ndarray:
    """Returns a random crop of a file, not antialiased, uint8 `[size, size, 3]`."""
    content = np.frombuffer(path.read_bytes(), np.uint8)
    image = cv2.cvtColor(cv2.imdecode(content, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    top, left, height, width = random_resized_part(*image.shape[:2], size, rng)
    part = image[top : top + height, left : left + width]
    return cv2.resize(part, (size, size), interpolation=cv2.INTER_CUBIC)


if __name__ == "__main__":
    main()
