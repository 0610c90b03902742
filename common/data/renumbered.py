"""Sources whose classes are numbered in another order: data that is matched to a run by name."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np


def is_another_order(names: Sequence[str], others: Sequence[str]) -> bool:
    """Whether two lists have the same names, each once, in unlike orders."""
    known = set(names)
    same = len(known) == len(names) == len(others) and known == set(others)
    return same and list(names) != list(others)


class Renumbered(abc.ABC):
    """A source with its classes in another order; a subclass numbers the labels of its kind.

    Attributes:
      class_names: in the order wanted. All but labels that isn't here is the source's own.
    """

    def __init__(self, source: Any, class_names: Sequence[str]):
        """Wraps a source.

        Args:
          source: of the kind that the subclass is for.
          class_names: its own, in the order wanted.
        """
        self._source, self.class_names = source, list(class_names)
        place = {name: i for i, name in enumerate(class_names)}
        self._new = np.array([place[name] for name in source.class_names])  # by the source's
        self._old = np.argsort(self._new)

    @classmethod
    def as_in(cls, source: Any, class_names: Sequence[str]) -> Any | Self:
        """Returns a source that numbers its classes as `class_names` does, if it has the same."""
        another = is_another_order(class_names, source.class_names)
        return cls(source, class_names) if another else source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Any:
        example = self._source[index]
        return {**example, **self._labels_of(example)}

    def __getattr__(self, name: str) -> Any:
        if name == "_source":  # asked for by pickle, before there is one
            raise AttributeError(name)
        return getattr(self._source, name)

    @abc.abstractmethod
    def _labels_of(self, example: Mapping[str, Any]) -> dict[str, Any]:
        """The example's labels in the order wanted."""


class RenumberedImages(Renumbered):
    """Of images with a class each (`common.data.sources.Source`)."""

    @property
    def labels(self) -> np.ndarray:
        """int `[examples]`, where the source knows them."""
        return self._new[self._source.labels]

    def _labels_of(self, example: Mapping[str, Any]) -> dict[str, Any]:
        return {"label": int(self._new[example["label"]])}


class RenumberedTags(Renumbered):
    """Of images with any number of labels (`common.data.labelled_files.LabelledFiles`)."""

    @property
    def labels(self) -> np.ndarray:
        """float32 `[examples, classes]`."""
        return self._source.labels[:, self._old]

    def _labels_of(self, example: Mapping[str, Any]) -> dict[str, Any]:
        return {"labels": example["labels"][self._old]}


class RenumberedLabelMaps(Renumbered):
    """Of images with label maps (`common.data.label_maps.LabelMapSource`)."""

    @property
    def palette(self) -> np.ndarray:
        """uint8 `[classes, 3]`."""
        return self._source.palette[self._old]

    def _labels_of(self, example: Mapping[str, Any]) -> dict[str, Any]:
        table = np.arange(256, dtype=np.uint8)  # 255, of ignored pixels, stays
        table[: len(self._new)] = self._new
        return {"label_map": table[example["label_map"]]}


class RenumberedObjects(Renumbered):
    """Of images with objects (`common.data.detection.DetectionSource`)."""

    @property
    def category_ids(self) -> list[int]:
        """The data's own id of every class."""
        return [self._source.category_ids[i] for i in self._old]

    def _labels_of(self, example: Mapping[str, Any]) -> dict[str, Any]:
        return {"labels": self._new[example["labels"]]}
