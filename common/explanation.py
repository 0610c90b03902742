"""Photos in, pictures of what a model does with them out: what `launch.explain` runs."""

from typing import Any, NamedTuple, Protocol

import numpy as np


class Explanation(NamedTuple):
    """What there is to see of one photo.

    Attributes:
      text: a line to print.
      row: of the table, by column; the columns of all photos are the same.
      picture: uint8 `[height, width, 3]`.
    """

    text: str
    row: dict[str, Any]
    picture: np.ndarray


class Explainer(Protocol):
    """What `launch.explain` runs photos through."""

    def __call__(self, name: str, photo: bytes) -> Explanation:
        """Looks at one photo.

        Args:
          name: of the photo, for captions.
          photo: content of an image file.

        Raises:
          CorruptImage: it is none.
          TooLarge: it needs more memory than there is.
        """
