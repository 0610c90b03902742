"""What `launch.demo` runs for a user of its page: photos or settings in, what is shown out."""

import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import NamedTuple, Protocol

from common.config import require
from common.demo.shown import File, Line, Shown
from common.predict import Predictor


class Upload(NamedTuple):
    """A photo that a user gave: its file's name and content."""

    name: str
    content: bytes

    @property
    def stem(self) -> str:
        """The name without its suffix: what is written about the photo is named so too."""
        return PurePath(self.name).stem or "photo"


class Setting(NamedTuple):
    """A number that a user may choose.

    Attributes:
      name: of the argument.
      label: beside its field.
      low, high: it is at least and at most.
      default: at first; None: may be left empty.
      whole: no fractions.
    """

    name: str
    label: str
    low: float
    high: float
    default: float | None
    whole: bool = False

    def parse(self, text: str) -> float | None:
        """Returns the number that a user wrote.

        Raises:
          UserError: it is none, or out of range.
        """
        if not text and self.default is None:
            return None
        try:
            value = int(text) if self.whole else float(text)
        except ValueError:
            value = math.nan
        kind = "a whole number" if self.whole else "a number"
        hint = f"{kind} from {self.low} to {self.high}"
        require(self.low <= value <= self.high, f"{self.name}={text[:20]!r}: choose {hint}")
        return value


class Demo(Protocol):
    """A job on a page. One call runs at a time.

    Attributes:
      takes_photo: it can't do without.
      settings: that `__call__` takes beside.
    """

    takes_photo: bool
    settings: tuple[Setting, ...]

    def __call__(self, photo: Upload | None, settings: Mapping[str, float | None]) -> list[Shown]:
        """Returns what to show.

        Args:
          photo: given if `takes_photo`.
          settings: a value for each of `settings`, within its range.

        Raises:
          CorruptImage: the photo can't be read.
          UserError: it is too large, or the like.
        """


class PhotoDemo:
    """Shows what a predictor finds in a photo, and what it would write, as a `Demo`.

    Args:
      predictor: of a job.
    """

    takes_photo = True
    settings = ()

    def __init__(self, predictor: Predictor):
        self._predictor = predictor

    def __call__(self, photo: Upload | None, settings: Mapping[str, float | None]) -> list[Shown]:
        """See `Demo`."""
        predictor = self._predictor
        (result,) = predictor.run([predictor.prepare(photo.content)])
        files = predictor.files(result, photo.stem) if predictor.writes_files else {}
        written = [File(f"{photo.stem}{ending}", content) for ending, content in files.items()]
        return [Line(predictor.text(result)), *written, *predictor.shown(result)]
