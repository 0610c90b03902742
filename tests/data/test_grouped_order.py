"""Batches of one group each: landscape and portrait images here, which can't be stacked."""

import itertools

import numpy as np
import pytest

from common.data.grouped_order import GroupedOrder, eval_order
from common.data.images import CorruptImage
from common.data.pipeline import eval_batches, train_batches
from common.errors import UserError

BATCH, EXAMPLES = 4, 26
PORTRAIT = np.array([1, 2, 7, 8, 13, 20, 25])
GROUPS = np.isin(np.arange(EXAMPLES), PORTRAIT).astype(int)
MEMBERS = [np.flatnonzero(GROUPS == 0), PORTRAIT]
SHAPES = [(2, 3), (3, 2)]


class Source:
    """Example i is an image full of i + 1; those in `broken` can't be read."""

    def __init__(self, groups=GROUPS, broken=()):
        self.groups, self._broken = groups, broken

    def __len__(self):
        return len(self.groups)

    def __getitem__(self, index):
        if index in self._broken:
            raise CorruptImage("broken on purpose")
        return np.full(SHAPES[self.groups[index]], index + 1.0)

    def name(self, index):
        return f"image {index}"


def augment(image, rng):
    return {"image": image + rng.random() / 2}


def plain(image):
    return {"image": image}


def train(count, source=None, **options):
    source = source or Source()
    options = {"groups": source.groups, "batch_size": BATCH, "seed": 7} | options
    batches = train_batches(source, augment, **options)
    taken = list(itertools.islice(batches, count))
    batches.close()
    return taken


def evaluated(source, **options):
    return list(eval_batches(source, plain, source.groups, batch_size=BATCH, **options))


def assert_same(actual, expected):
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def joined(parts):
    return [
        {key: np.concatenate([part[key] for part in step]) for key in step[0]}
        for step in zip(*parts, strict=True)
    ]


def streams(batches, groups=GROUPS):
    """The positions of each group, in the order of the batches."""
    found = {group: [] for group in np.unique(groups)}
    for batch in batches:
        (group,) = np.unique(groups[batch["index"]])
        found[group] += batch["index"].tolist()
    return found


@pytest.fixture(scope="module")
def cycle():
    """As many batches as there are examples."""
    return train(EXAMPLES)


def test_batches_are_of_one_group(cycle):
    for batch in cycle:
        (group,) = np.unique(GROUPS[batch["index"]])
        assert batch["image"].shape == (BATCH, *SHAPES[group]) and not batch["corrupt"].any()
        np.testing.assert_array_equal(batch["image"][:, 0, 0] // 1, batch["index"] + 1)


def test_every_group_has_epochs_of_its_own(cycle):
    """A cycle has as many epochs as a batch has examples, each in another order."""
    for group, stream in streams(cycle).items():
        members = MEMBERS[group]
        epochs = np.reshape(stream, (BATCH, len(members)))
        np.testing.assert_array_equal(np.sort(epochs), np.tile(members, (BATCH, 1)))
        assert len({tuple(epoch) for epoch in epochs}) == BATCH


def test_epochs_go_on_in_the_next_cycle(cycle):
    following = streams(train(EXAMPLES, start_step=EXAMPLES))
    for group, stream in streams(cycle).items():
        members = MEMBERS[group]
        first = following[group][: len(members)]
        assert sorted(first) == members.tolist() and first != stream[: len(members)]


@pytest.mark.parametrize("counts", [(19, 7), (1, 25), (5, 5), (9, 1, 3, 4)])
def test_groups_take_turns_evenly(counts):
    groups = np.repeat(np.arange(len(counts)), counts)
    order = GroupedOrder(groups, 1, seed=0)
    turns = np.array([groups[order[step]] for step in range(2 * len(groups))])
    for group, count in enumerate(counts):
        due = np.arange(1, len(turns) + 1) * count / len(groups)
        assert np.abs(np.cumsum(turns == group) - due).max() <= (0.5 if len(counts) == 2 else 1)


def test_one_group_is_as_none(cycle):
    source = Source(np.zeros(EXAMPLES, int))
    assert_same(train(9, source), train(9, source, groups=None))
    assert_same(evaluated(source), list(eval_batches(source, plain, batch_size=BATCH)))


def test_seed_changes_the_order_and_the_augmentation(cycle):
    other = train(4, seed=8)
    assert not np.array_equal(other[0]["index"], cycle[0]["index"])
    noise = np.concatenate([batch["image"][:, 0, 0] % 1 for batch in cycle])
    assert len(np.unique(noise)) == len(noise)


@pytest.mark.parametrize(
    "options", [{"prefetch": 1}, {"prefetch": 16}, {"num_workers": 2}, {"start_step": 5}]
)
def test_batches_are_a_function_of_seed_and_position(cycle, options):
    start = options.get("start_step", 0)
    assert_same(train(12 - start, **options), cycle[start:12])


def test_nothing_is_gone_through_to_start_late():
    (late,) = train(1, start_step=10**9)
    assert len(np.unique(GROUPS[late["index"]])) == 1


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_each_batch(cycle, count):
    parts = [train(8, parts=((i,), count)) for i in range(count)]
    assert_same(joined(parts), cycle[:8])
    source = Source()
    parts = [evaluated(source, parts=((i,), count)) for i in range(count)]
    assert_same(joined(parts), evaluated(source))


def test_unreadable_example_is_replaced_by_the_next_of_its_group(cycle):
    broken = {3, 8, 13, 25}  # 8, 13 and 25 are portrait, as is 20, and 1 around the end
    shown = {3: 4, 8: 20, 13: 20, 25: 1}
    for batch, clean in zip(train(EXAMPLES, Source(broken=broken)), cycle, strict=True):
        np.testing.assert_array_equal(batch["index"], clean["index"])
        np.testing.assert_array_equal(batch["corrupt"], np.isin(clean["index"], list(broken)))
        expected = [shown.get(i, i) for i in clean["index"].tolist()]
        np.testing.assert_array_equal(batch["image"][:, 0, 0] // 1 - 1, expected)


def test_group_without_a_readable_example():
    source = Source(broken=PORTRAIT)
    message = r"7 examples in a row can't be read, from image \d+ on \(broken on purpose"
    for run in (lambda: train(EXAMPLES, source), lambda: evaluated(source)):
        with pytest.raises(UserError, match=message):
            run()


@pytest.mark.parametrize("small", [1, 2])
def test_group_smaller_than_a_batch_fills_one(small):
    groups = np.array([0] * (9 - small) + [1] * small)
    batches = train(9, Source(groups))
    stream = streams(batches, groups)[1]
    assert sorted(stream) == sorted([*range(9 - small, 9)] * BATCH)
    single = next(batch for batch in batches if groups[batch["index"][0]])
    assert len(np.unique(single["image"][:, 0, 0])) == BATCH  # each augmented anew


@pytest.mark.parametrize("num_workers", [0, 1])
def test_evaluation_has_every_example_once(num_workers):
    batches = evaluated(Source(), num_workers=num_workers)
    assert [batch["image"].shape[1:] for batch in batches] == [SHAPES[0]] * 5 + [SHAPES[1]] * 2
    merged = {k: np.concatenate([b[k] for b in batches]) for k in ("mask", "index", "corrupt")}
    assert not merged["corrupt"].any() and merged["mask"].dtype == np.float32
    np.testing.assert_array_equal(merged["index"], [*MEMBERS[0], -1, *MEMBERS[1], -1])
    np.testing.assert_array_equal(merged["mask"], merged["index"] >= 0)
    for batch in batches:  # an image is full of its position + 1, a filling of 0
        assert (batch["image"] == batch["index"][:, None, None] + 1).all()


def test_evaluation_masks_unreadable_examples_in_the_shape_of_their_group():
    broken = [0, 1, 2, 7, 8]  # the first of both groups, and all of a batch
    batches = evaluated(Source(broken=broken))
    assert [batch["image"].shape[1:] for batch in batches] == [SHAPES[0]] * 5 + [SHAPES[1]] * 2
    merged = {k: np.concatenate([b[k] for b in batches]) for k in ("mask", "index", "corrupt")}
    assert merged["index"][merged["corrupt"]].tolist() == broken
    assert merged["mask"].sum() == EXAMPLES - len(broken)
    assert not batches[5]["image"].any()


def test_order_of_evaluation():
    order = eval_order(np.array([5, 3, 5, 5]), 2)
    assert order.tolist() == [1, ~1, 0, 2, 3, ~0]


def test_groups_of_other_examples():
    for make, options in ((train_batches, {"seed": 0}), (eval_batches, {})):
        with pytest.raises(UserError, match=r"groups of shape \(25,\) don't fit 26 examples"):
            next(make(Source(), plain, GROUPS[1:], batch_size=BATCH, **options))
