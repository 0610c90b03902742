"""Sources without what else belongs to their images, such as classes.

Small and importing little: worker processes load it on start.
"""

from common.data.sources import Example, Source


class Unlabelled:
    """The images of a source alone."""

    def __init__(self, source: Source):
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        example = self._source[index]
        return {"image": example["image"], "name": example["name"]}

    def name(self, index: int) -> str:
        """Returns the example's name."""
        return self._source.name(index)


class Numbered(Unlabelled):
    """The same, whose examples know their `position`."""

    def __getitem__(self, index: int) -> Example:
        return super().__getitem__(index) | {"position": index}
