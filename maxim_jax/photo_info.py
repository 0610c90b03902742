"""What a photo has besides colours."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class PhotoInfo:
    """What is written back beside restored pixels, of one page or frame.

    Attributes:
      bits: per sample, 8 or 16; 32 are floats.
      gray: has one channel (besides alpha).
      alpha: uint8, uint16 or float32 `[height, width]`, 255, 65535 or 1 opaque; None if there is
        none.
      icc_profile: of the colors.
      exif: an EXIF block, without orientation.
      xmp: an XMP packet, without orientation.
      iptc: IPTC records.
      dpi: pixels per inch, horizontal and vertical.
      comment: of a JPEG or GIF file.
      png_chunks: kinds and contents of a PNG file's chunks about colours, and texts.
      pages: how many the file has, or frames.
      loop: how often an animation is shown, 0 for ever; None if pages are no animation.
      duration: of a frame, in milliseconds.
      lost: in words, what the file has that is not written back.
    """

    bits: int = 8
    gray: bool = False
    alpha: np.ndarray | None = None
    icc_profile: bytes | None = None
    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    dpi: tuple[float, float] | None = None
    comment: bytes = b""
    png_chunks: tuple[tuple[bytes, bytes], ...] = ()
    pages: int = 1
    loop: int | None = None
    duration: float | None = None
    lost: tuple[str, ...] = ()
