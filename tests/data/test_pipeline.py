import functools
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from common.data import pipeline
from common.data.images import CorruptImage
from common.data.pipeline import eval_batches, train_batches
from common.data.sources import ArraySource
from common.errors import UserError

EXAMPLES, BATCH = 26, 8


class Source(ArraySource):
    """Example i is an image full of i; those in `broken` can't be read."""

    def __init__(self, broken=(), examples=EXAMPLES):
        images = np.arange(examples, dtype=np.uint8)[:, None, None, None]
        images = np.broadcast_to(images, (examples, 2, 2, 3)).copy()
        super().__init__(images, np.arange(examples) % 3, ["a", "b", "c"])
        self._broken = broken

    def __getitem__(self, index):
        if index in self._broken:
            raise CorruptImage("broken on purpose")
        return super().__getitem__(index)


def augment(example, rng):
    image = example["image"].astype(np.float32) + rng.random(dtype=np.float32)
    return {"image": image, "label": np.int32(example["label"])}


def plain(example):
    return {"image": example["image"].astype(np.float32), "label": np.int32(example["label"])}


def train(count, source=None, **options):
    options = {"batch_size": BATCH, "seed": 7} | options
    batches = train_batches(source or Source(), augment, **options)
    taken = list(itertools.islice(batches, count))
    batches.close()
    return taken


def assert_same(actual, expected):
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])
            assert one[key].dtype == other[key].dtype


@functools.cache
def reference():
    return train(10, prefetch=1)


def concatenated(parts):
    return [
        {key: np.concatenate([part[key] for part in step]) for key in step[0]}
        for step in zip(*parts, strict=True)
    ]


def test_train_batch_contents():
    for batch in reference():
        assert batch["image"].shape == (BATCH, 2, 2, 3) and batch["image"].dtype == np.float32
        np.testing.assert_array_equal(batch["image"][:, 0, 0, 0].astype(int), batch["index"])
        np.testing.assert_array_equal(batch["label"], batch["index"] % 3)
        assert batch["index"].dtype == np.int64 and batch["corrupt"].dtype == bool
        assert not batch["corrupt"].any()


def test_batches_of_one_over_many_epochs():
    batches = train(3 * EXAMPLES, batch_size=1)
    for epoch in range(3):
        part = batches[epoch * EXAMPLES : (epoch + 1) * EXAMPLES]
        assert sorted(int(batch["index"][0]) for batch in part) == list(range(EXAMPLES))


def test_every_epoch_has_every_example_in_another_order():
    stream = np.concatenate([batch["index"] for batch in reference()])[: 3 * EXAMPLES]
    epochs = stream.reshape(3, EXAMPLES)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(EXAMPLES), (3, 1)))
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_augmentation_differs_between_examples_and_epochs():
    noise = np.concatenate([batch["image"][:, 0, 0, 0] % 1 for batch in reference()])
    assert len(np.unique(noise)) > 0.99 * noise.size


def test_seed_changes_order():
    assert not np.array_equal(train(1, seed=8)[0]["index"], reference()[0]["index"])


@pytest.mark.parametrize("prefetch", [2, 16])
def test_train_is_the_same_for_any_number_of_threads(prefetch):
    assert_same(train(10, prefetch=prefetch), reference())


def test_train_is_the_same_for_any_number_of_workers():
    """One is asked to resume, below."""
    assert_same(train(10, num_workers=3), reference())


@pytest.mark.parametrize(("start_step", "num_workers"), [(1, 0), (7, 0), (3, 1)])
def test_train_resumes_anywhere(start_step, num_workers):
    resumed = train(10 - start_step, start_step=start_step, num_workers=num_workers)
    assert_same(resumed, reference()[start_step:])


def test_train_starts_late_at_no_cost():
    start = time.perf_counter()
    train(1, start_step=10**9)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_each_batch(count):
    parts = [train(10, parts=((i,), count)) for i in range(count)]
    assert parts[0][0]["image"].shape[0] == BATCH // count
    assert_same(concatenated(parts), reference())


def test_process_may_have_parts_that_are_no_neighbours():
    found, size = train(3, parts=((0, 3), 4)), BATCH // 4
    for batch, whole in zip(found, reference(), strict=False):
        for name, values in whole.items():
            expected = np.concatenate([values[:size], values[-size:]])
            np.testing.assert_array_equal(batch[name], expected)


def test_processes_with_workers_and_resume():
    options = {"num_workers": 1, "start_step": 3}
    parts = [train(4, parts=((i,), 2), **options) for i in range(2)]
    assert_same(concatenated(parts), reference()[3:7])


def test_corrupt_training_example_is_replaced_by_the_next_readable_one():
    broken = {4, 5, EXAMPLES - 1}
    replacement = {4: 6, 5: 6, EXAMPLES - 1: 0}
    for batch, clean in zip(train(10, Source(broken)), reference(), strict=True):
        np.testing.assert_array_equal(batch["index"], clean["index"])
        np.testing.assert_array_equal(batch["corrupt"], np.isin(clean["index"], list(broken)))
        shown = [replacement.get(int(i), int(i)) for i in batch["index"]]
        np.testing.assert_array_equal(batch["image"][:, 0, 0, 0].astype(int), shown)
        good = ~batch["corrupt"]
        np.testing.assert_array_equal(batch["image"][good], clean["image"][good])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_too_many_corrupt_examples(num_workers):
    source = Source(broken=range(EXAMPLES))
    with pytest.raises(UserError, match=r"16 examples in a row .* \[\d+\] on \(broken on purpose"):
        train(1, source, num_workers=num_workers)


def test_too_many_corrupt_examples_in_evaluation():
    with pytest.raises(UserError, match="16 examples in a row"):
        list(eval_batches(Source(broken=range(EXAMPLES)), plain, batch_size=BATCH))


@pytest.mark.parametrize(("examples", "num_workers"), [(26, 0), (24, 0), (3, 0), (26, 2), (3, 2)])
def test_eval_has_every_example_once(examples, num_workers):
    source = Source(examples=examples)
    batches = list(eval_batches(source, plain, batch_size=BATCH, num_workers=num_workers))
    assert len(batches) == -(-examples // BATCH)
    assert all(batch["image"].shape == (BATCH, 2, 2, 3) for batch in batches)
    merged = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
    expected = (np.arange(len(batches) * BATCH) < examples).astype(np.float32)
    np.testing.assert_array_equal(merged["mask"], expected)
    assert merged["mask"].dtype == np.float32 and not merged["corrupt"].any()
    real = merged["mask"] > 0
    np.testing.assert_array_equal(merged["index"][real], np.arange(examples))
    np.testing.assert_array_equal(merged["image"][real][:, 0, 0, 0], np.arange(examples))
    assert (merged["index"][~real] == -1).all() and not merged["image"][~real].any()


@pytest.mark.parametrize("examples", [26, 3])
def test_eval_processes_have_equally_many_batches(examples):
    source = Source(examples=examples)
    whole = list(eval_batches(source, plain, batch_size=BATCH))
    parts = [list(eval_batches(source, plain, batch_size=BATCH, parts=((i,), 4))) for i in range(4)]
    assert_same(concatenated(parts), whole)


@pytest.mark.parametrize("start", [1, 3, 4])
def test_evaluation_begins_at_a_batch(start):
    """Also behind the last of the four."""
    whole = list(eval_batches(Source(), plain, batch_size=BATCH))
    assert_same(
        list(eval_batches(Source(), plain, batch_size=BATCH, start_batch=start)), whole[start:]
    )


def test_eval_masks_corrupt_examples():
    batches = list(eval_batches(Source(broken={0, 9}), plain, batch_size=BATCH))
    merged = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
    corrupt = merged["corrupt"]
    np.testing.assert_array_equal(merged["index"][corrupt], [0, 9])
    assert merged["mask"].sum() == EXAMPLES - 2
    assert not merged["mask"][corrupt].any() and not merged["image"][corrupt].any()


def test_mistakes():
    for make, options in [(train_batches, {"seed": 0}), (eval_batches, {})]:
        with pytest.raises(UserError, match="batch_size=9 can't be divided into 2"):
            make(Source(), plain, batch_size=9, parts=((0,), 2), **options)
        with pytest.raises(UserError, match="empty"):
            make(Source(examples=0), plain, batch_size=4, **options)
    with pytest.raises(UserError, match="seed=-1"):
        train(1, seed=-1)


def test_single_example():
    (batch,) = train(1, Source(examples=1))
    np.testing.assert_array_equal(batch["index"], 0)


SCRIPT = """
    import sys, time
    import numpy as np
    from common.data.pipeline import train_batches
    from common.data.sources import ArraySource

    print("main", flush=True)  # no guard: a worker that imported this again would print it too

    def transform(example, rng):
        jax = sys.modules.get("jax")
        backends = jax._src.xla_bridge._backends if jax else {}
        flags = "tensorflow" in sys.modules, bool(backends)
        return {"flags": np.array(flags), "pid": np.int64(__import__("os").getpid())}

    def main():
        source = ArraySource(np.zeros((8, 1, 1, 3), np.uint8), [0] * 8, ["a"])
        batches = train_batches(source, transform, batch_size=2, seed=0, num_workers=2)
        first, second = next(batches), next(batches)
        assert not first["flags"].any(), first
        print(first["pid"][0], second["pid"][0], flush=True)
        if "hang" in sys.argv:
            time.sleep(60)

    main()
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(SCRIPT))
    root = str(Path(__file__).parents[2])
    return [sys.executable, str(path)], os.environ | {"PYTHONPATH": root}


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_leave_main_tensorflow_and_devices_alone(script):
    command, env = script
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[0] == "main" and result.stdout.count("main") == 1
    assert "Traceback" not in result.stderr
    assert not any(alive(pid) for pid in result.stdout.split()[1:])


@pytest.mark.skipif(
    sys.platform != "linux", reason="looks for the workers in /proc, which Linux alone has"
)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(script, how):
    command, env = script
    with subprocess.Popen(
        [*command, "hang"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "main\n"
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(set(pids)) == 2 and all(alive(pid) for pid in pids)
        process.send_signal(how)
        process.wait(30)
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in pids)


def test_closing_ends_workers():
    batches = train_batches(Source(), augment, batch_size=BATCH, seed=0, num_workers=1)
    next(batches)
    (child,) = pipeline.multiprocessing.active_children()
    batches.close()
    assert not child.is_alive()
