"""Linear probe and nearest neighbours on vectors whose answers are known; files of embeddings."""

import numpy as np
import pytest
from pyarrow import parquet

from common.errors import UserError
from maxvit_jax.embeddings import EmbeddingCollector, Embeddings, write_embeddings
from maxvit_jax.probe import linear_probe, neighbour_accuracy


def drawn(count, classes=3, spread=1.0, seed=0):
    """Clusters of classes in 4 of 6 dimensions; the others, of large numbers, say nothing."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    centers = np.random.default_rng(99).normal(size=(classes, 4)) * 3
    useful = centers[labels] + spread * rng.normal(size=(count, 4))
    vectors = np.concatenate([useful, 1e3 * rng.normal(size=(count, 1)), np.ones((count, 1))], 1)
    return Embeddings(np.float32(vectors), labels, [f"{seed}/{i}" for i in range(count)])


def test_linear_probe_finds_the_classes():
    found = linear_probe(drawn(150), drawn(90, seed=1), strengths=(1.0, 1e-6))
    assert found.accuracy > 0.95 and found.converged
    assert found.c == 1.0 and found.held_out[1e-6] < found.held_out[1.0] <= 1


def test_strength_is_chosen_without_the_evaluation_images():
    """Whatever their labels are."""
    train, other = drawn(100, spread=4.0), drawn(50, seed=1)
    one = linear_probe(train, other)
    two = linear_probe(train, other._replace(labels=(other.labels + 1) % 3))
    assert (one.c, one.held_out) == (two.c, two.held_out) and one.accuracy != two.accuracy


def test_neighbours_vote_by_their_similarity():
    """By hand: the nearest one outvotes two, at a temperature of 1 it doesn't."""
    angles = np.radians([0.0, 40.0, 41.0, 180.0])
    train = Embeddings(
        np.float32(np.stack([np.cos(angles), np.sin(angles)], 1)), np.array([2, 0, 0, 1]), ""
    )
    one = Embeddings(np.float32([[5.0, 0.0]]), np.array([2]), "")
    assert neighbour_accuracy(train, one, k=3) == 1
    assert neighbour_accuracy(train, one, k=3, temperature=1.0) == 0
    assert neighbour_accuracy(train, one, k=1, temperature=1.0) == 1
    assert neighbour_accuracy(train, one, k=99) == 1  # all there are


def test_neighbours_in_parts(monkeypatch):
    train, other = drawn(80, spread=3.0), drawn(40, spread=3.0, seed=1)
    whole = neighbour_accuracy(train, other)
    monkeypatch.setattr("maxvit_jax.probe._PRODUCTS", 700)  # 8 images at once
    assert 0.3 < whole == neighbour_accuracy(train, other) < 1


def test_one_class_is_no_task():
    train = drawn(10)._replace(labels=np.zeros(10, int))
    with pytest.raises(UserError, match="needs two classes"):
        linear_probe(train, train)
    single = drawn(3)._replace(labels=np.arange(3))
    with pytest.raises(UserError, match="two training images of a class"):
        linear_probe(single, single)


class Source:
    def name(self, index):
        return "abcd"[index]


def test_collector_orders_and_leaves_padding_out():
    collector = EmbeddingCollector()
    for vectors, positions, mask in (([[3], [0]], [3, 0], [1, 0]), ([[1], [2]], [1, 0], [1, 1])):
        outputs = {"embedding": np.float32(vectors)}
        batch = {"label": np.array(positions), "position": np.array(positions)}
        collector.update(outputs, batch | {"mask": np.array(mask)})
    assert collector.compute() == {"examples": 3}
    vectors, labels, names = collector.collected(Source())
    assert vectors[:, 0].tolist() == [2, 1, 3] and labels.tolist() == [0, 1, 3]
    assert names == ["a", "b", "d"]
    zeros = np.zeros(1, int)
    collector.update(
        {"embedding": np.float32([[np.nan]])},
        {"label": zeros, "position": zeros, "mask": np.ones(1)},
    )
    with pytest.raises(UserError, match="not finite"):
        collector.collected(Source())


def test_files_hold_all(tmp_path):
    made = drawn(5)._replace(names=["a", "b/ü.png", "c\udcff.png", "d", "e"])
    write_embeddings(tmp_path / "x.npz", made, ["one", "two", "three"], "npz")
    with np.load(tmp_path / "x.npz") as file:  # without pickles
        np.testing.assert_array_equal(file["vectors"], made.vectors)
        np.testing.assert_array_equal(file["labels"], made.labels)
        assert file["names"].tolist() == made.names
        assert file["class_names"].tolist() == ["one", "two", "three"]
    write_embeddings(tmp_path / "x.parquet", made, ["one", "two", "three"], "parquet")
    table = parquet.read_table(tmp_path / "x.parquet").to_pydict()
    assert table["name"][1] == "b/ü.png" and len(table["name"]) == 5
    assert table["class"] == [["one", "two", "three"][label] for label in made.labels]
    np.testing.assert_array_equal(np.float32(table["vector"]), made.vectors)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.npz", "x.parquet"]
