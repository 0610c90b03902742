"""Measures reading, decoding and augmenting training images, without a model.

    python -m launch.benchmark --input --config=configs/maxvit_folder.py \\
        --config.data.root=photos --workers=0,1,2 --accelerator_images_per_second=3000

Prints one JSON line per number of workers (0: threads of this process), after a warm-up, and one
about a single thread: images per second of a core's time, however busy the machine is, and where
the time goes: reading files, decoding, augmenting (everything else that is done to an example) and
batching. Takes any recipe; of restoration an image is one crop.
Fields such as `--config.data.batch_size=64` change what is measured, `data.num_workers` doesn't.

With `--accelerator_images_per_second`, the rate of a training step by `train/images_per_second` of
a run that hardly waits (`train/data_wait`), a last line says how many workers keep it busy.
"""

import contextlib
import cProfile
import json
import math
import os
import time
from typing import Any

import numpy as np
from absl import flags
from ml_collections import config_flags

from common.config import require
from common.data.crops import read_crop
from common.data.images import CorruptImage, decode, decode_part
from common.data.pipeline import train_batches
from common.task import Dataset, LoaderConfig
from common.train.corrupt import CorruptCounter
from launch.main import load_config, run_main
from launch.tasks import make_task

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, with `:k=v,k=v` arguments.")
_WORKERS = flags.DEFINE_list("workers", ["0", "1", "2"], "Numbers of workers to measure.")
_SECONDS = flags.DEFINE_float("seconds", 10.0, "To measure each for, at least.", lower_bound=0.0)
_ACCELERATOR = flags.DEFINE_float(
    "accelerator_images_per_second", None, "What the workers are to keep up with.", lower_bound=0.0
)

# Batches that a worker may have ready when the last one starts: not part of the steady state.
_READY = 6


def main(argv: list[str]) -> None:
    """Measures what the flags say."""
    del argv
    counts = _WORKERS.value
    require(
        bool(counts) and all(count.isdecimal() for count in counts),
        f"--workers={','.join(counts)}: expected numbers, such as 0,1,2",
    )
    counts = [int(count) for count in counts]
    wanted = _ACCELERATOR.value
    require(not wanted or max(counts) > 0, "--accelerator_images_per_second needs --workers=1")
    config = load_config(_CONFIG)
    task = make_task(config)
    dataset = task.train_data()
    rates = {}
    for count in counts:
        result = measure(dataset, task.data, count, config["seed"], _SECONDS.value)
        rates[count] = result["images_per_second"]
        print(json.dumps(result), flush=True)
    print(json.dumps(one_thread(dataset, task.data.batch_size, config["seed"])))
    if wanted:
        print(_advice(rates, wanted))


def measure(
    dataset: Dataset, data: LoaderConfig, workers: int, seed: int, seconds: float
) -> dict[str, float]:
    """Reads training batches as the trainer does, as fast as they come.

    Args:
      dataset: what to read.
      data: gives the batch size, and how many unreadable images are tolerated.
      workers: processes, or 0 for threads of this one.
      seed: of order and augmentation.
      seconds: at least so long, and at least one batch of every worker.

    Returns:
      `workers`, `images_per_second`, `batch_size`, `batches` and the `seconds` they took.

    Raises:
      UserError: as for training.
    """
    size, corrupt = data.batch_size, CorruptCounter(dataset.source, data.max_corrupt)
    batches = train_batches(*dataset, batch_size=size, seed=seed, num_workers=workers)
    with contextlib.closing(batches):
        for _ in range(_READY * max(workers, 1)):
            corrupt.take(next(batches))
        start, count, elapsed = time.perf_counter(), 0, 0.0
        # Threads and workers deliver several batches at a time: count whole rounds of them.
        while elapsed < seconds or not count:
            for _ in range(4 * max(workers, 1)):
                corrupt.take(next(batches))
                count += 1
            elapsed = time.perf_counter() - start
    return {
        "workers": workers,
        "images_per_second": round(count * size / elapsed, 1),
        "batch_size": size,
        "batches": count,
        "seconds": round(elapsed, 2),
    }


def one_thread(dataset: Dataset, batch_size: int, seed: int, images: int = 200) -> dict[str, Any]:
    """Says what one thread costs, and where its time goes by Python's profiler.

    Args:
      dataset: what to read; unreadable images are left out.
      batch_size: images that are put together at a time.
      seed: of the augmentation.
      images: how many to look at, of the first one's group.

    Returns:
      `images_per_core_second`, where waiting costs nothing, and `shares` of the time, where it
      does: `read`, `decode`, `augment` and `batch`, which add up to 1.
    """
    rng = np.random.default_rng(seed)
    groups = dataset.groups if dataset.groups is not None else np.zeros(len(dataset.source), int)
    alike = np.flatnonzero(groups == groups[0])  # can be put together

    def read(index: int) -> Any:
        return dataset.source[index]

    def transform(example: Any) -> dict[str, np.ndarray]:
        return dataset.transform(example, rng)

    def batch(examples: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        return {key: np.stack([example[key] for example in examples]) for key in examples[0]}

    def work() -> int:
        examples = []
        for index in rng.choice(alike, size=images).tolist():
            with contextlib.suppress(CorruptImage):
                examples.append(transform(read(index)))
        for start in range(0, len(examples), batch_size):
            batch(examples[start : start + batch_size])
        return len(examples)

    profile = cProfile.Profile()
    busy = time.thread_time()
    count = profile.runcall(work)
    busy = time.thread_time() - busy
    spent = {entry.code: entry.totaltime for entry in profile.getstats()}
    seconds = {function.__name__: spent.get(function.__code__, 0.0) for function in (read, batch)}
    # One of them is what a transform calls; `read_crop` calls the first for some formats.
    seconds["decode"] = max(spent.get(f.__code__, 0.0) for f in (decode, decode_part, read_crop))
    seconds["augment"] = spent.get(transform.__code__, 0.0) - seconds["decode"]
    total = sum(seconds.values())
    names = ("read", "decode", "augment", "batch")
    return {
        "images_per_core_second": round(count / busy, 1),
        "shares": {name: round(seconds[name] / total, 3) for name in names},
    }


def _advice(rates: dict[int, float], wanted: float) -> str:
    """How many workers keep up with an accelerator."""
    per_worker, count = max((rate / count, count) for count, rate in rates.items() if count)
    return (
        f"{wanted:g} images/s need {math.ceil(wanted / per_worker)} workers, by linear"
        f" extrapolation from {per_worker:.1f} images/s of each of {count}: it takes as many cores"
        f" (here: {os.cpu_count()}), and disks that keep up"
    )


if __name__ == "__main__":
    flags.mark_flags_as_required(["config"])
    run_main(main)
