"""Frames of videos as pixels, upright, and back; when they are shown."""

from collections import deque
from fractions import Fraction

import numpy as np

try:
    import av
    from av.video.reformatter import Interpolation
except ImportError:
    av = None

_FULL_RANGE, _BT709 = 2, 1  # FFmpeg's numbers


def is_deep(frame: "av.VideoFrame") -> bool:
    """Whether a frame has more than 8 bits per sample."""
    return frame.format.components[0].bits > 8


def color_description(frame: "av.VideoFrame") -> tuple[int, int]:
    """Returns matrix and range, as numbers of FFmpeg, that a frame gets where it is encoded.

    Gray and RGB have all levels without saying so, and RGB no matrix.
    """
    says_range = frame.color_range or (_FULL_RANGE if _has_all_levels(frame) else 0)
    return _BT709 if frame.format.is_rgb else frame.colorspace, says_range


def pixels_of(frame: "av.VideoFrame") -> np.ndarray:
    """Returns a frame the right way up, float32 `[height, width, 3]` in 0..1."""
    name = "rgb48le" if is_deep(frame) else "rgb24"
    # With less than this, gray comes out up to two levels darker.
    exact = Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND
    samples = frame.to_ndarray(format=name, interpolation=Interpolation.BICUBIC | exact)
    return upright(samples, frame) / np.float32(np.iinfo(samples.dtype).max)


def frame_of(pixels: np.ndarray, like: "av.VideoFrame", pixel_format: str) -> "av.VideoFrame":
    """Returns a frame for an encoder, with the colour description of another."""
    dtype, name = (np.uint16, "rgb48le") if is_deep(like) else (np.uint8, "rgb24")
    samples = np.rint(np.clip(pixels, 0, 1) * np.iinfo(dtype).max).astype(dtype)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(samples), format=name)
    matrix, levels = color_description(like)
    return frame.reformat(format=pixel_format, dst_colorspace=matrix, dst_color_range=levels)


def upright(samples: np.ndarray, frame: "av.VideoFrame") -> np.ndarray:
    """Returns `[height, width, channels]` as the nearest turned or mirrored image that players
    show by the frame's display matrix (ISO 14496-12, 8.5.2)."""
    to_x, to_y = _display_matrix(frame)
    if abs(to_x[0]) + abs(to_y[1]) < abs(to_x[1]) + abs(to_y[0]):
        samples = samples.swapaxes(0, 1)
        flip_x, flip_y = to_x[1] < 0, to_y[0] < 0
    else:
        flip_x, flip_y = to_x[0] < 0, to_y[1] < 0
    return samples[:: -1 if flip_y else 1, :: -1 if flip_x else 1]


def is_turned(frame: "av.VideoFrame") -> bool:
    """Whether height and width are exchanged to see a frame upright."""
    to_x, to_y = _display_matrix(frame)
    return abs(to_x[0]) + abs(to_y[1]) < abs(to_x[1]) + abs(to_y[0])


def left_out(frame: "av.VideoFrame", picture: "av.VideoStream") -> list[str]:
    """Returns in words what a frame of a stream has that pixels have not."""
    alpha = any(component.is_alpha for component in frame.format.components)
    alpha |= picture.metadata.get("alpha_mode") == "1"  # of VP9, which decoders leave out
    return ["transparency"] * alpha + [
        "interlacing (both fields are restored as one picture)"
    ] * bool(frame.interlaced_frame)


class Onward:
    """Times of a stream that go on where the file's begin anew, as in files joined by their bytes.

    Attributes:
      shift: what is to be added to a time.
    """

    def __init__(self):
        self.shift, self._last = 0, None

    def __call__(self, time: int, step: int, *, slack: int = 0) -> int:
        """Returns the next time: a whole number that is larger than the last one.

        Args:
          time: as the file has it.
          step: how long one thing usually takes.
          slack: so far back is a mistake of one time, which moves no others.
        """
        if self._last is not None and time + self.shift <= self._last:
            if time + self.shift < self._last - slack:
                self.shift = self._last + step - time
            else:
                time = self._last + 1 - self.shift
        self._last = time + self.shift
        return self._last


class FrameTimes:
    """When frames are shown, as whole numbers that only grow.

    Args:
      reader: an open file.
      unit: of the numbers, in seconds.
    """

    def __init__(self, reader: "av.InputContainer", unit: Fraction):
        self._unit, picture = unit, reader.streams.video[0]
        self._step = max(1, round(1 / (unit * (picture.average_rate or 25))))
        self._onward, self._next = Onward(), 0
        # AVI has no times but the places of packets, which B frames lie between.
        self._places = deque() if reader.format.name == "avi" else None

    def read(self, packet: "av.Packet") -> None:
        """Takes notice of a packet before it is decoded."""
        if self._places is not None and packet.dts is not None:
            self._places.append(packet.dts * packet.time_base)

    def __call__(self, frame: "av.VideoFrame") -> int:
        """Returns the time of the next frame in the order of showing."""
        seconds = None if frame.pts is None else frame.pts * frame.time_base
        if self._places:
            seconds = self._places.popleft()
        time = self._next if seconds is None else round(seconds / self._unit)
        shown = self._onward(time, self._step, slack=round(1 / self._unit))
        self._next = shown + self._step - self._onward.shift
        return shown


def _display_matrix(frame: "av.VideoFrame") -> tuple[tuple[int, int], tuple[int, int]]:
    """How (x, y) makes x and y as shown."""
    for side in frame.side_data:
        if side.type.name == "DISPLAYMATRIX":
            a, b, _, c, d, *_ = (int(x) for x in np.frombuffer(bytes(side), "=i4"))
            return (a, c), (b, d)
    return (1, 0), (0, 1)


def _has_all_levels(frame: "av.VideoFrame") -> bool:
    return frame.format.is_rgb or len(frame.format.components) < 3
