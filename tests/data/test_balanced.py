"""Classes of unlike sizes, against scikit-learn's weights and by counting."""

import pickle
from collections import Counter

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from common.data.balanced import BalancedSource, balanced_weights
from common.data.sources import ArraySource
from common.errors import UserError

LABELS = np.array([2, 0, 0, 2, 0, 0, 3, 2, 0])  # of class 1 there is none


def source(labels=LABELS, classes=4):
    pixels = np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    return ArraySource(pixels, labels, [f"class {i}" for i in range(classes)])


def test_weights_are_those_of_scikit_learn():
    expected = np.zeros(4)
    expected[[0, 2, 3]] = compute_class_weight("balanced", classes=np.array([0, 2, 3]), y=LABELS)
    found = balanced_weights(source())
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(found[LABELS].mean(), 1, rtol=1e-6)


def test_every_class_comes_equally_often():
    """Each image of the largest class once; those of others as evenly as can be."""
    balanced = BalancedSource(source())
    assert len(balanced) == 3 * 5 and balanced.class_names == source().class_names
    examples = [balanced[i] for i in range(len(balanced))]
    assert Counter(example["label"] for example in examples) == {0: 5, 2: 5, 3: 5}
    times = Counter(int(example["image"].item()) for example in examples)
    assert times == {1: 1, 2: 1, 4: 1, 5: 1, 8: 1, 0: 2, 3: 2, 7: 1, 6: 5}
    for i, example in enumerate(examples):
        assert balanced.name(i) == f"[{example['image'].item()}]" == example["name"]
        assert LABELS[example["image"].item()] == example["label"]
    with pytest.raises(IndexError):
        balanced[15]


def test_workers_get_it():
    balanced = pickle.loads(pickle.dumps(BalancedSource(source())))
    assert balanced[14]["label"] == 3


@pytest.mark.parametrize("make", [BalancedSource, balanced_weights])
def test_source_that_does_not_know_its_labels(make):
    class Records:
        class_names = ("a", "b")

    with pytest.raises(UserError, match=r"Records does not tell the class .* class folders do"):
        make(Records())
