"""Encoders like a video's own, near to lossless: H.264, VP9 for WebM."""

import dataclasses
from fractions import Fraction

from common.video_frames import color_description, is_deep, is_turned
from common.video_hdr import has_more, x264_parameters

try:
    import av
except ImportError:
    av = None

_VP9 = ("libvpx-vp9", {"crf": "18", "b": "0", "row-mt": "1"})
_H264 = ("libx264", {"crf": "16", "preset": "medium"})
_LIGHT = "x264-params"


def codec_of(container_format: str) -> tuple[str, dict[str, str]]:
    """Returns the name of the encoder for a format of FFmpeg's name, and its options."""
    name, options = _VP9 if container_format == "webm" else _H264
    # AVI has no times for frames that are not stored in the order of showing.
    return name, options | ({"bf": "0"} if container_format == "avi" else {})


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How the frames of a video are encoded; outlives the file that it was read from.

    Attributes:
      codec: name and options of the encoder.
      rate: frames per second.
      unit: of times, in seconds; AVI has a frame at every one.
      size: width and height.
      pixel_format: FFmpeg's name.
      colors: matrix, range, primaries and transfer, FFmpeg's numbers.
      aspect: of a pixel's width to its height; None if unknown.
    """

    codec: tuple[str, dict[str, str]]
    rate: Fraction | None
    unit: Fraction
    size: tuple[int, int]
    pixel_format: str
    colors: tuple[int, int, int, int]
    aspect: Fraction | None

    @classmethod
    def like(
        cls, picture: "av.VideoStream", first: "av.VideoFrame", container_format: str
    ) -> "Encoding":
        """Returns the encoding of a stream whose first frame is given, for a container format."""
        rate, aspect, context = (
            picture.average_rate,
            picture.sample_aspect_ratio,
            picture.codec_context,
        )
        turned = is_turned(first)
        codec, options = codec_of(container_format)
        light = x264_parameters(first) if codec == "libx264" else ""
        colors = (*color_description(first), context.color_primaries, context.color_trc)
        return cls(
            codec=(codec, options | ({_LIGHT: light} if light else {})),
            rate=rate,
            unit=1 / rate if container_format == "avi" and rate else picture.time_base,
            size=(first.height, first.width) if turned else (first.width, first.height),
            pixel_format=_pixel_format(first, codec),
            colors=tuple(int(number) for number in colors),
            aspect=1 / aspect if aspect and turned else aspect,
        )

    def lost(self, first: "av.VideoFrame") -> list[str]:
        """Returns in words what the first frame has and this encoder has no place for."""
        bits = av.VideoFormat(self.pixel_format).components[0].bits
        had = first.format.components[0].bits
        lost = ["HDR metadata"] * has_more(first, self.codec[1].get(_LIGHT, ""))
        if had > bits:
            lost.append(f"{had} bits per sample, of which {bits} are written")
        return lost

    def add_to(self, writer: "av.OutputContainer") -> "av.VideoStream":
        """Adds an encoder to a file."""
        name, options = self.codec
        encoder = writer.add_stream(name, rate=self.rate, options=options)
        encoder.width, encoder.height = self.size
        encoder.pix_fmt = self.pixel_format
        context = encoder.codec_context
        context.time_base = self.unit
        context.colorspace, context.color_range = self.colors[:2]
        context.color_primaries, context.color_trc = self.colors[2:]
        if self.aspect:
            context.sample_aspect_ratio = self.aspect
        return encoder


def _pixel_format(first: "av.VideoFrame", encoder: str) -> str:
    known = {pixel_format.name for pixel_format in av.Codec(encoder, "w").video_formats}
    source, width, height = first.format, first.width, first.height
    is_gray = len(source.components) < 3  # few players show H.264 of one channel
    if source.name in known and not is_gray and not (width % 2 or height % 2):
        return source.name
    deep = "10le" if is_deep(first) and "yuv420p10le" in known else ""
    if width % 2 or height % 2 or source.is_rgb:  # halved colors need even sides
        return f"yuv444p{deep}"
    if is_gray or source.chroma_height(height) < height:
        return f"yuv420p{deep}"
    return f"yuv422p{deep}" if source.chroma_width(width) < width else f"yuv444p{deep}"
