"""From a source to batches: order, randomness, sharding over processes, workers. Built on grain.

The order is a function of (seed, position in the stream) alone: not of threads, worker processes or
the number of JAX processes. So the step is the data position, and resuming is starting there.
"""

import contextlib
import functools
import itertools
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from typing import Any

import cloudpickle
import grain
import numpy as np
from absl import flags, logging

from common.data.grouped_order import ENDLESS, GroupedOrder, eval_order
from common.data.images import CorruptImage
from common.data.sources import Example, Source
from common.errors import UserError

Batch = dict[str, np.ndarray]
Parts = tuple[Sequence[int], int]
_MAX_TRIES = 16
_MAX_LOSSES = 3
_LOST_WORKER = "Worker process was terminated unexpectedly"  # said by grain


def train_batches(
    source: Source,
    transform: Callable[[Example, np.random.Generator], Batch],
    groups: np.ndarray | None = None,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    num_workers: int = 0,
    prefetch: int = 4,
    parts: Parts = ((0,), 1),
) -> Iterator[Batch]:
    """Yields endless training batches, every epoch in another order.

    Batches run over the ends of epochs. An unreadable example is replaced by the next readable one
    of its group. Workers that are killed are replaced; nothing is skipped or read twice.

    Args:
      source: labelled images.
      transform: turns an example and a generator into a dict of arrays of fixed shapes; raises
        CorruptImage for an example that can't be used. It must not keep the generator. For workers
        it must be picklable; the fewer modules it comes from, the faster they start.
      groups: int `[examples]`: a batch is of one group, so that shapes need only be fixed within
        each; see `GroupedOrder`. None: all examples are of one.
      batch_size: examples per step over all processes.
      seed: of order and augmentation, 0 or more.
      start_step: the first batch to yield; costs nothing.
      num_workers: 0 reads in threads of this process, more in as many processes.
      prefetch: batches made in advance: in all with threads (as many as there are threads), per
        worker with processes.
      parts: which parts of every batch to yield, one after another, and of how many equal,
        contiguous ones: `((2, 3), 4)` is the second half.

    Returns:
      An iterator of what `transform` returns, stacked, `[examples of the parts, ...]`, and
      `index` (int64, position in the source) and `corrupt` (bool: the example at `index` was
      unreadable, another stands in its place). `close()` it to end its workers early.

    Raises:
      UserError: an empty source, sizes that don't divide, groups of other examples, or, while
        iterating, too many unreadable examples in a row, or workers that keep ending.
    """
    stream = train_stream(source, transform, groups, batch_size=batch_size, seed=seed, parts=parts)
    return _prefetched(stream[start_step:], num_workers, prefetch)


def train_stream(
    source: Source,
    transform: Callable[[Example, np.random.Generator], Batch],
    groups: np.ndarray | None = None,
    *,
    batch_size: int,
    seed: int,
    parts: Parts = ((0,), 1),
) -> grain.MapDataset:
    """Returns the batches of `train_batches` as they are made: each when it is asked for.

    Args:
      source: as all others in `train_batches`.
      transform: likewise.
      groups: likewise.
      batch_size: likewise.
      seed: likewise.
      parts: likewise.

    Raises:
      UserError: as there.
    """
    _check(source, groups, batch_size, parts)
    if seed < 0:
        raise UserError(f"seed={seed} is negative; choose 0 or more")
    if groups is None:
        epochs = ENDLESS // len(source)
        stream = grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat(epochs)
    else:
        stream = GroupedOrder(groups, batch_size, seed)
    stream = stream.random_map(_TrainExample(source, transform, groups))
    stream = _BatchParts(stream, batch_size, parts)
    return stream.batch(stream.per_batch)


def eval_batches(
    source: Source,
    transform: Callable[[Example], Batch],
    groups: np.ndarray | None = None,
    *,
    batch_size: int,
    start_batch: int = 0,
    num_workers: int = 0,
    prefetch: int = 4,
    parts: Parts = ((0,), 1),
) -> Iterator[Batch]:
    """Yields every example of a source once, in order, or group by group.

    The last batch of a group is filled up with zeros; all processes get the same number of batches.

    Args:
      source: labelled images.
      transform: turns an example into a dict of arrays of fixed shapes; otherwise as for training.
      groups: as for training.
      batch_size: examples per step over all processes.
      start_batch: the first one to yield; costs nothing.
      num_workers: as for training.
      prefetch: as for training.
      parts: as for training.

    Returns:
      A finite iterator of what `transform` returns, stacked, and `mask` (float32: 1 for a real,
      readable example, else 0), `index` (int64, position in the source, -1 for filling) and
      `corrupt` (bool).

    Raises:
      UserError: as for training.
    """
    _check(source, groups, batch_size, parts)
    if groups is None:
        groups = np.zeros(len(source), np.int8)
    order = eval_order(groups, batch_size)
    stream = grain.MapDataset.source(order).map(_EvalExample(source, transform, groups))
    stream = _BatchParts(stream, batch_size, parts)
    return _prefetched(stream.batch(stream.per_batch)[start_batch:], num_workers, prefetch)


def _check(source: Source, groups: np.ndarray | None, batch_size: int, parts: Parts) -> None:
    if not len(source):
        raise UserError("the data source is empty")
    if groups is not None and np.shape(groups) != (len(source),):
        raise UserError(
            f"groups of shape {np.shape(groups)} don't fit {len(source)} examples; give one of each"
        )
    _, count = parts
    if batch_size < 1 or batch_size % count:
        raise UserError(
            f"batch_size={batch_size} can't be divided into {count} parts; "
            f"choose a multiple of {count}"
        )


class _TrainExample:
    """Reads and transforms the example at a position, or the next readable one of its group."""

    def __init__(self, source: Source, transform: Callable, groups: np.ndarray | None):
        self._source, self._transform, self._groups = source, transform, groups

    def __call__(self, index: int, rng: np.random.Generator) -> Batch:
        tries = 0
        for position in _alike(index, len(self._source), self._groups):
            with contextlib.suppress(CorruptImage):
                example = self._transform(self._source[position], rng)
                return example | {"index": np.int64(index), "corrupt": np.bool_(tries > 0)}
            tries += 1
        raise _too_many_corrupt(self._source, index, tries)


class _EvalExample:
    """Reads and transforms the example at a position; zeros for fillings and unreadable ones.

    A filling is a negative number, `~position` of an example of its group.
    """

    def __init__(self, source: Source, transform: Callable, groups: np.ndarray):
        self._source, self._transform, self._groups = source, transform, groups
        self._blanks: dict[int, Batch] = {}

    def __call__(self, index: int) -> Batch:
        if index < 0:
            return self._flagged(self._blank(~index), -1, mask=0, corrupt=False)
        try:
            example = self._transform(self._source[index])
        except CorruptImage:
            return self._flagged(self._blank(index), index, mask=0, corrupt=True)
        return self._flagged(example, index, mask=1, corrupt=False)

    def _flagged(self, example: Batch, index: int, mask: int, corrupt: bool) -> Batch:
        return example | {
            "mask": np.float32(mask),
            "index": np.int64(index),
            "corrupt": np.bool_(corrupt),
        }

    def _blank(self, index: int) -> Batch:
        """Zeros in the shapes of the group of an example."""
        first = int(np.argmax(self._groups == self._groups[index]))
        if first not in self._blanks:
            self._blanks[first] = self._zeros(first)
        return self._blanks[first]

    def _zeros(self, first: int) -> Batch:
        tries = 0
        for position in _alike(first, len(self._source), self._groups):
            with contextlib.suppress(CorruptImage):
                example = self._transform(self._source[position])
                return {key: np.zeros_like(value) for key, value in example.items()}
            tries += 1
        raise _too_many_corrupt(self._source, first, tries)


def _alike(index: int, examples: int, groups: np.ndarray | None) -> Iterator[int]:
    """Positions to try: this one and those of its group that come next, around the end."""
    around = ((index + offset) % examples for offset in range(examples))
    if groups is not None:
        around = (position for position in around if groups[position] == groups[index])
    return itertools.islice(around, _MAX_TRIES)


def _too_many_corrupt(source: Source, index: int, tries: int) -> UserError:
    try:
        source[index]
        reason = ""
    except CorruptImage as error:
        reason = f" ({error})"
    return UserError(
        f"{tries} examples in a row can't be read, from {source.name(index)} on{reason}; "
        "check the files"
    )


class _BatchParts(grain.MapDataset):
    """The parts of every global batch that belong to one process, one after another."""

    def __init__(self, parent: grain.MapDataset, batch: int, parts: Parts):
        super().__init__(parent)
        (self._parts, count), self._batch = parts, batch
        self._size = batch // count

    @property
    def per_batch(self) -> int:
        """Examples of one batch."""
        return self._size * len(self._parts)

    def __len__(self) -> int:
        return len(self._parent) // self._batch * self.per_batch

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        step, position = divmod(index, self.per_batch)
        part, position = divmod(position, self._size)
        return self._parent[step * self._batch + self._parts[part] * self._size + position]


def _prefetched(batches: grain.MapDataset, num_workers: int, prefetch: int) -> Iterator[Batch]:
    """Yields all batches, and ends threads and workers when the consumer is done with them."""
    threads = 1 if num_workers else prefetch
    ahead = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)
    if not num_workers:
        with contextlib.closing(iter(batches.to_iter_dataset(ahead))) as reader:
            yield from reader
        return
    if not flags.FLAGS.is_parsed():  # in a notebook or test nobody parses flags; grain reads one
        flags.FLAGS.mark_as_parsed()
    options = grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=1)
    done = losses = 0
    while done < len(batches):
        try:
            with contextlib.ExitStack() as stack:
                with _in_file(batches) as light, _main_hidden(), _signals_blocked():
                    rest = light[done:].to_iter_dataset(ahead).mp_prefetch(options, _init_worker)
                    reader = stack.enter_context(contextlib.closing(iter(rest)))
                    started = list(itertools.islice(reader, num_workers))  # one from each
                for batch in itertools.chain(started, reader):
                    done, losses = done + 1, 0
                    yield batch
        except RuntimeError as error:
            if _LOST_WORKER not in str(error):
                raise
            losses += 1
            reason = re.search(r"exit code (-?\d+)", str(error))
            status = reason[1] if reason else "unknown"
            if losses == _MAX_LOSSES:
                raise UserError(
                    f"{losses} data workers in a row ended before their first batch (the last with"
                    f" exit status {status}; -9 is often for want of memory): try fewer"
                    " config.data.num_workers"
                ) from error
            logging.warning("a data worker ended (exit status %s); starting them again", status)


class _FromFile(grain.MapDataset):
    """A data set that is read from a file when its first element is asked for."""

    def __init__(self, path: str, length: int):
        super().__init__()
        self._path, self._length = path, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        return self._stored[index]

    @functools.cached_property
    def _stored(self) -> grain.MapDataset:
        with open(self._path, "rb") as file:
            return cloudpickle.load(file)


@contextlib.contextmanager
def _in_file(stored: grain.MapDataset) -> Iterator[_FromFile]:
    """A data set in a temporary file, so that little has to be handed to a process that starts.

    Python hands it over in a pipe, both ends of which it holds: should the process die before it
    has read all, then what exceeds the pipe is never taken, and the start never ends.
    """
    # On Linux it has no name, so that nothing is left of it however this process ends.
    nameless = sys.platform == "linux"
    with contextlib.ExitStack() as stack:
        try:
            make = tempfile.TemporaryFile if nameless else tempfile.NamedTemporaryFile
            file = stack.enter_context(make())
            file.write(cloudpickle.dumps(stored))
            file.flush()
        except OSError as error:
            stack.pop_all()  # to close it would raise the same again
            raise UserError(
                f"can't hand the data workers their data set in a temporary file: {error.strerror};"
                " let the environment variable TMPDIR name a directory with space"
            ) from error
        path = f"/proc/{os.getpid()}/fd/{file.fileno()}" if nameless else file.name
        yield _FromFile(path, len(stored))


@contextlib.contextmanager
def _main_hidden() -> Iterator[None]:
    """Keeps processes that start meanwhile from importing the main module again.

    They need nothing of it (what is defined there travels by value), it may import TensorFlow, and
    a script without the `__name__` guard would start itself over and over.
    """
    main = sys.modules["__main__"]
    hidden = {key: main.__dict__.pop(key) for key in ("__file__",) if key in main.__dict__}
    hidden["__spec__"], main.__spec__ = main.__spec__, None
    try:
        yield
    finally:
        main.__dict__.update(hidden)


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Keeps SIGINT and SIGTERM from processes that start meanwhile, from their first moment on.

    A terminal or SLURM sends them to all, but they are meant for the trainer, which gets them in
    another of its threads, or afterwards.
    """
    resource_tracker.ensure_running()  # when it starts, it unblocks signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _init_worker(index: int, count: int) -> None:
    os.environ["JAX_PLATFORMS"] = "cpu"  # the accelerator belongs to the parent
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_platforms", "cpu")
    threading.Thread(target=_exit_after_parent, daemon=True).start()


def _exit_after_parent() -> None:
    """Ends this process once its parent is gone, however that ended."""
    multiprocessing.parent_process().join()
    os._exit(1)
