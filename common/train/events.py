"""TensorBoard's event files, written without TensorFlow.

By TensorBoard's own messages and records. Its `EventFileWriter` would import TensorFlow wherever
that is installed, which takes longer than all else before the first step.
"""

import itertools
import os
import socket
import time
from collections.abc import Mapping

import numpy as np
from etils import epath
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import SummaryMetadata
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.scalar import metadata as scalar_metadata
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

from common.pictures import encoded

_NUMBERS = itertools.count()  # of this process: files of one second have names of their own


class EventFile:
    """A new event file, to which summaries are added; each call ends with them on disk.

    Args:
      folder: what TensorBoard is pointed at; made where it isn't there.
    """

    def __init__(self, folder: epath.PathLike):
        folder = epath.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        now, source = time.time(), f"{socket.gethostname()}.{os.getpid()}.{next(_NUMBERS)}"
        self._file = (folder / f"events.out.tfevents.{int(now):010d}.{source}.v2").open("wb")
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=now, file_version="brain.Event:2"))
        self._file.flush()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a point to the curve of every name; values may be NaN or infinite."""
        metadata = scalar_metadata.create_summary_metadata(display_name=None, description=None)
        self._add(step, {name: np.float32(value) for name, value in values.items()}, metadata)

    def images(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Adds pictures, uint8 `[height, width, 3]`."""
        metadata = image_metadata.create_summary_metadata(display_name=None, description=None)
        summaries = {}
        for name, picture in pictures.items():
            height, width = picture.shape[:2]
            content = [str(width).encode(), str(height).encode(), encoded(picture)]
            summaries[name] = np.array(content, object)
        self._add(step, summaries, metadata)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _add(
        self, step: int, summaries: Mapping[str, np.ndarray], metadata: SummaryMetadata
    ) -> None:
        for name, value in summaries.items():
            event = Event(wall_time=time.time(), step=step)
            event.summary.value.add(tag=name, tensor=make_tensor_proto(value), metadata=metadata)
            self._write(event)
        self._file.flush()

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())
