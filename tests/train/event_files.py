"""Reads event files, by TensorBoard's reader that needs no TensorFlow."""

import io
import pathlib
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.errors import OutOfRangeError
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New
from tensorboard.util.tensor_util import make_ndarray


class Summary(NamedTuple):
    """One value of an event; of images width, height and lists of pixels."""

    step: int
    tag: str
    metadata: bytes
    dtype: str
    value: Any


def read_events(path: pathlib.Path) -> list[Event]:
    """Returns the events of a file; checksums that are wrong raise."""
    reader, events = PyRecordReader_New(str(path)), []
    while True:
        try:
            reader.GetNext()
        except OutOfRangeError:
            return events
        events.append(Event.FromString(reader.record()))


def read_summaries(path: pathlib.Path) -> list[Summary]:
    """Returns what the events of a file say, in their order."""
    return [
        Summary(
            event.step,
            value.tag,
            value.metadata.SerializeToString(),
            str((array := make_ndarray(value.tensor)).dtype),
            float(array) if array.ndim == 0 else _pixels(array),
        )
        for event in read_events(path)
        for value in event.summary.value
    ]


def _pixels(array: np.ndarray) -> list[Any]:
    width, height, png = array.tolist()
    picture = Image.open(io.BytesIO(png))
    assert picture.size == (int(width), int(height)) and picture.format == "PNG"
    return np.asarray(picture).tolist()
