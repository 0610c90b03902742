"""What HDR videos say of light: the display they were made on (SMPTE ST 2086), how bright they get
(CTA-861.3)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import av

_MASTERING, _CONTENT = "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"
_HDR = {_MASTERING, _CONTENT, "DYNAMIC_HDR_PLUS", "DOVI_METADATA", "DOVI_RPU_BUFFER"}
_CHROMATICITY, _LUMINANCE = 50_000, 10_000  # units of ST 2086 in one, and in a candela per m2


def x264_parameters(frame: "av.VideoFrame") -> str:
    """Returns the parameters by which x264 writes what a frame says of light; "" for nothing."""
    return ":".join(parameter for _, parameter in _parameters(frame))


def has_more(frame: "av.VideoFrame", written: str) -> bool:
    """Whether a frame has HDR metadata beside what certain parameters of x264 write."""
    kept = {name for name, parameter in _parameters(frame) if parameter in written}
    return bool({side.type.name for side in frame.side_data} & _HDR - kept)


def _parameters(frame: "av.VideoFrame") -> Iterator[tuple[str, str]]:
    """Kinds of FFmpeg's side data, and the same as parameters of x264."""
    for side in frame.side_data:
        if side.type.name == _CONTENT:
            most, average = np.frombuffer(bytes(side), "=u4")[:2]
            if max(most, average) < 2**16:
                yield _CONTENT, f"cll={most},{average}"
        elif side.type.name == _MASTERING and (display := _mastering_display(bytes(side))):
            yield _MASTERING, f"mastering-display={display}"


def _mastering_display(content: bytes) -> str:
    """Of FFmpeg's AVMasteringDisplayMetadata: ten fractions, and which of them are known; "" for
    what has no place in H.264."""
    values = np.frombuffer(content, "=i4")
    numerators, denominators = values[:20].reshape(10, 2).T
    if not values[20:22].all() or not denominators.all():
        return ""
    units = np.repeat([_CHROMATICITY, _LUMINANCE], [8, 2])
    whole = np.rint(numerators * units / denominators).astype(int)
    red, green, blue, white = whole[:8].reshape(4, 2)
    darkest, brightest = whole[8:]
    if whole.min() < 0 or whole[:8].max() > _CHROMATICITY or not darkest < brightest < 2**32:
        return ""
    points = {"G": green, "B": blue, "R": red, "WP": white, "L": (brightest, darkest)}
    return "".join(f"{name}({x},{y})" for name, (x, y) in points.items())
