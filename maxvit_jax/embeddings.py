"""Vectors of labelled images, as a network's classifier gets them, and files of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.config import require
from common.metrics.evaluator import Evaluator
from common.unfinished import unfinished_file

FORMATS = ("npz", "parquet")


class Embeddings(NamedTuple):
    """Vectors of labelled images.

    Attributes:
      vectors: float32 `[images, dimensions]`.
      labels: int `[images]`.
      names: of the images.
    """

    vectors: np.ndarray
    labels: np.ndarray
    names: Sequence[str]


class EmbeddingCollector(Evaluator):
    """Keeps the vectors of all images, and where they are in the source."""

    metrics = ("examples",)
    outputs = ("embedding",)
    inputs = ("label", "position")

    def __init__(self):
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def update(self, outputs: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray]) -> None:
        """Takes `embedding`, float32 `[batch, dimensions]`, with `label` and `position`."""
        real = batch["mask"].astype(bool)
        part = outputs["embedding"], batch["label"], batch["position"]
        self._parts.append(tuple(values[real] for values in part))

    def compute(self) -> dict[str, float]:
        """Returns the number of images."""
        return {"examples": float(sum(len(labels) for _, labels, _ in self._parts))}

    def collected(self, source: Any) -> Embeddings:
        """Returns all vectors in the order of the source.

        Args:
          source: gives the images' names.

        Raises:
          UserError: vectors that are not finite.
        """
        vectors, labels, positions = (np.concatenate(x) for x in zip(*self._parts, strict=True))
        finite = bool(np.isfinite(vectors).all())
        require(finite, "the model's features are not finite: are these weights trained?")
        order = np.argsort(positions)
        names = [source.name(int(position)) for position in positions[order]]
        return Embeddings(vectors[order], labels[order], names)


def write_embeddings(
    path: Path, embeddings: Embeddings, class_names: Sequence[str], kind: str
) -> None:
    """Writes embeddings under a temporary name, then renames the file.

    Args:
      path: of the file.
      embeddings: of images.
      class_names: by label.
      kind: `"npz"`: arrays `vectors`, `labels`, `names` and `class_names`, which need no pickle; or
        `"parquet"`: columns `name`, `label`, `class` and `vector`, a row per image.
    """
    vectors, labels, names = embeddings
    with unfinished_file(path) as temporary:
        if kind == "npz":
            with temporary.open("wb") as file:
                arrays = {"vectors": vectors, "labels": labels}
                texts = {"names": np.array(names, str), "class_names": np.array(class_names, str)}
                np.savez(file, **arrays, **texts)
        else:
            _write_parquet(temporary, embeddings, class_names)


def _write_parquet(path: Path, embeddings: Embeddings, class_names: Sequence[str]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    vectors, labels, names = embeddings
    # Parquet's texts are UTF-8, file names may not be.
    readable = [name.encode(errors="surrogateescape").decode(errors="replace") for name in names]
    table = pa.table(
        {
            "name": pa.array(readable, pa.string()),
            "label": pa.array(labels, pa.int32()),
            "class": pa.array([class_names[label] for label in labels], pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(
                pa.array(vectors.ravel(), pa.float32()), vectors.shape[1]
            ),
        }
    )
    parquet.write_table(table, path)
