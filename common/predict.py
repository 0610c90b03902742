"""Photos in, rows of a table out: what `launch.predict` runs, for every job."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from common.compiled import announcing
from common.demo.shown import Shown, Table


class Predictor(Protocol):
    """What `launch.predict` runs photos through.

    Attributes:
      batch_size: photos at once, at most.
      writes_files: results are files too: see `FilePredictor`.
      takes_videos: it is a `VideoPredictor`.
    """

    batch_size: int
    writes_files: bool
    takes_videos: bool

    def prepare(self, photo: bytes) -> Any:
        """Decodes one photo; raises CorruptImage for something that is none."""

    def run(self, prepared: Sequence[Any]) -> Sequence[Any]:
        """Returns a result for each of up to `batch_size` prepared photos."""

    def rows(self, result: Any) -> list[dict[str, Any]]:
        """Returns the rows of the table about one photo, by column."""

    def text(self, result: Any) -> str:
        """Returns what to print about one photo."""

    def shown(self, result: Any) -> Sequence[Shown]:
        """Returns what a page shows about one photo, beside its text and files."""


class FilePredictor(Predictor, Protocol):
    """A predictor whose results are files."""

    def files(self, result: Any, image_id: int | str) -> Mapping[str, bytes]:
        """Returns files about one photo, by what follows its name, such as `".png"`.

        Args:
          result: of `run`.
          image_id: tells the photo from the others of its folder.
        """

    def folder_files(self) -> Mapping[str, bytes]:
        """Returns files about all of them that are known beforehand, by name."""

    def closing_files(self, folder: Path) -> Mapping[str, bytes]:
        """Returns files about all of them, by name, made from what `files` gave.

        Args:
          folder: has those of every photo, of earlier interrupted commands too, and the table, by
            the name that it has until it is complete.
        """


class VideoPredictor(FilePredictor, Protocol):
    """A predictor whose photos may be frames of a video: `prepare` takes pixels too.

    Frames are uint8 `[height, width, 3]`.

    Attributes:
      columns: of all `rows`.
      settings: what results depend on beside the frames, in words.
    """

    columns: Sequence[str]
    settings: str

    def picture(self, result: Any) -> np.ndarray:
        """Returns the frame with what was found in it, uint8 `[height, width, 3]`."""


class Predicts(Protocol):
    """The part of a `common.task.Task` that `PhotoPredictor` uses."""

    def predict(self, variables: Any, batch: Any) -> dict[str, jax.Array]: ...

    def example_of_photo(self, photo: bytes) -> dict[str, np.ndarray]: ...

    def rows_of_outputs(self, outputs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]: ...


class PhotoPredictor:
    """Runs photos through a task's `predict`; compiles once.

    Args:
      task: prepares photos, predicts, and names what it found.
      variables: of its model.
      batch_size: photos at once.
    """

    writes_files = takes_videos = False

    def __init__(self, task: Predicts, variables: Any, *, batch_size: int = 8):
        self.batch_size = batch_size
        self._task, self._variables = task, jax.device_put(variables)
        self._run = announcing(jax.jit(task.predict), lambda *_: "the model")

    def prepare(self, photo: bytes) -> dict[str, np.ndarray]:
        """See `Predictor`."""
        return self._task.example_of_photo(photo)

    def run(self, prepared: Sequence[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
        """See `Predictor`."""
        padding = [prepared[-1]] * (self.batch_size - len(prepared))
        batch = jax.tree.map(lambda *rows: np.stack(rows), *prepared, *padding)
        outputs = jax.device_get(self._run(self._variables, batch))
        return [jax.tree.map(lambda x, i=i: x[i], outputs) for i in range(len(prepared))]

    def rows(self, result: dict[str, np.ndarray]) -> list[dict[str, Any]]:
        """See `Predictor`."""
        return self._task.rows_of_outputs(result)

    def text(self, result: dict[str, np.ndarray]) -> str:
        """See `Predictor`."""
        return "; ".join(
            ", ".join(f"{name} {value}" for name, value in row.items()) for row in self.rows(result)
        )

    def shown(self, result: dict[str, np.ndarray]) -> list[Shown]:
        """See `Predictor`."""
        return [Table(self.rows(result))]
