"""Video files made of frames, or written anew with other ones (PyAV, an optional dependency).

Frames are decoded, changed and encoded as they come, in constant memory. Their times, color
description and bit depth are kept, rotation is applied; sound is copied as it is. Encoding is
H.264, VP9 for WebM, near to lossless.
"""

import dataclasses
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from common.config import require
from common.errors import UserError

try:
    import av
    from av.video.reformatter import Interpolation
except ImportError:
    av = None

# Container format by suffix.
FORMATS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".avi": "avi",
}
_VP9 = ("libvpx-vp9", {"crf": "18", "b": "0", "row-mt": "1"})
_H264 = ("libx264", {"crf": "16", "preset": "medium"})


@dataclasses.dataclass(frozen=True)
class VideoSummary:
    """What became of a video.

    Attributes:
      frames: those written.
      damaged: packets that could not be decoded; the frame before stays on for their time.
      copied: sound tracks copied.
      dropped: kinds of streams left out, such as `"subtitle"`.
    """

    frames: int
    damaged: int
    copied: int
    dropped: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.frames} frames, copied {self.copied} sound tracks"
            + f", {self.damaged} damaged packets skipped" * bool(self.damaged)
            + f", left out: {', '.join(self.dropped)}" * bool(self.dropped)
        )


def count_frames(source: Path) -> int:
    """Returns the number of frames as far as a file says it, otherwise 0.

    Raises:
      UserError: see `rewrite_video`.
    """
    with _open(source) as reader:
        picture = reader.streams.video[0]
        duration = Fraction(reader.duration or 0, av.time_base)
        return picture.frames or round(duration * (picture.average_rate or 0))


def rewrite_video(
    source: Path,
    target: Path,
    change: Callable[[Iterator[np.ndarray]], Iterable[np.ndarray]],
    progress: Callable[[int], None] = lambda frames: None,
) -> VideoSummary:
    """Changes the frames of a video's first picture stream; the result is complete or not there.

    Args:
      source: the file to read.
      target: the file to write, in the format of its suffix; a file that is there is replaced.
      change: takes the frames, float32 `[height, width, 3]` in 0..1, and gives one of the same
        size for each, in their order; these may leave that range. It may take some ahead, such as
        a batch: those are held in memory.
      progress: called with the number of frames done after every one.

    Raises:
      UserError: PyAV is missing, a file is of no known kind, can't be read, has no picture, or
        the target's format can't hold its sound.
    """
    container_format = FORMATS.get(target.suffix.lower())
    require(container_format is not None, f"can't write {target}: choose {', '.join(FORMATS)}")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    frames = damaged = 0
    first = _first_frame(source)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            _open(source) as reader,
            av.open(str(temporary), "w", format=container_format) as writer,
        ):
            picture = reader.streams.video[0]
            sound = reader.streams.audio
            encoder = _add_encoder(writer, picture, first)
            tracks = {stream.index: _add_copy(writer, stream, target) for stream in sound}
            originals: deque[av.VideoFrame] = deque()  # of frames that `change` has not given yet

            def decoded() -> Iterator[np.ndarray]:
                nonlocal damaged
                for packet in reader.demux(picture, *sound):
                    if packet.stream.index in tracks:
                        if packet.dts is not None:  # the last, empty one
                            packet.stream = tracks[packet.stream.index]
                            writer.mux(packet)
                        continue
                    try:
                        found = packet.decode()
                    except av.error.InvalidDataError:
                        damaged += 1
                        continue
                    for frame in found:
                        originals.append(frame)
                        yield _pixels(frame)

            for pixels in change(decoded()):
                frame = _frame(pixels, originals.popleft(), encoder.pix_fmt)
                writer.mux(encoder.encode(frame))
                frames += 1
                progress(frames)
            writer.mux(encoder.encode(None))
            kept = {picture.index, *tracks}
            dropped = tuple(s.type for s in reader.streams if s.index not in kept)
        temporary.replace(target)
    except av.FFmpegError as error:
        raise UserError(f"can't write {target} from {source}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return VideoSummary(frames, damaged, len(tracks), dropped)


def write_video(target: Path, frames: Iterable[np.ndarray], *, rate: int) -> None:
    """Writes frames as a video; it is complete or not there.

    Args:
      target: the file to write, in the format of its suffix; a file that is there is replaced.
      frames: uint8 `[height, width, 3]`, one at least, all of one size.
      rate: frames per second.

    Raises:
      UserError: PyAV is missing, or the file is of no known kind or can't be written.
    """
    _require_pyav()
    container_format = FORMATS.get(target.suffix.lower())
    require(container_format is not None, f"can't write {target}: choose {', '.join(FORMATS)}")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with av.open(str(temporary), "w", format=container_format) as writer:
            name, options = _VP9 if container_format == "webm" else _H264
            encoder = writer.add_stream(name, rate=rate, options=options)
            for index, pixels in enumerate(frames):
                if index == 0:
                    encoder.height, encoder.width = pixels.shape[:2]
                    odd = encoder.height % 2 or encoder.width % 2
                    encoder.pix_fmt = "yuv444p" if odd else "yuv420p"
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                writer.mux(encoder.encode(frame))
            writer.mux(encoder.encode(None))
        temporary.replace(target)
    except av.FFmpegError as error:
        raise UserError(f"can't write {target}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _require_pyav() -> None:
    require(av is not None, "videos need PyAV: pip install 'multi-axis-jax[video]'")


def _open(source: Path) -> "av.InputContainer":
    _require_pyav()
    try:
        reader = av.open(str(source))
    except av.FFmpegError as error:
        raise UserError(f"can't read {source}: {error.strerror}") from error
    if not reader.streams.video:
        reader.close()
        raise UserError(f"{source} has no picture")
    return reader


def _first_frame(source: Path) -> "av.VideoFrame":
    with _open(source) as reader:
        for packet in reader.demux(reader.streams.video[0]):
            try:
                for frame in packet.decode():
                    return frame
            except av.error.InvalidDataError:
                continue
    raise UserError(f"{source} has no frame that can be decoded")


def _add_encoder(
    writer: "av.OutputContainer", picture: "av.VideoStream", first: "av.VideoFrame"
) -> "av.VideoStream":
    """An encoder like the source's where it can be."""
    name, options = _VP9 if writer.format.name == "webm" else _H264
    encoder = writer.add_stream(name, rate=picture.average_rate, options=options)
    height, width = _pixels(first).shape[:2]
    known = {pixel_format.name for pixel_format in av.Codec(name, "w").video_formats}
    format_name = first.format.name
    if format_name not in known:
        format_name = "yuv420p10le" if _is_deep(first) else "yuv420p"
    if height % 2 or width % 2:  # colors at half the resolution need even sides
        format_name = "yuv444p10le" if _is_deep(first) else "yuv444p"
    encoder.width, encoder.height, encoder.pix_fmt = width, height, format_name
    context, like = encoder.codec_context, picture.codec_context
    context.time_base = picture.time_base
    context.color_range, context.colorspace = like.color_range, like.colorspace
    context.color_primaries, context.color_trc = like.color_primaries, like.color_trc
    if ratio := picture.sample_aspect_ratio:  # of a pixel's width to its height
        context.sample_aspect_ratio = 1 / ratio if _quarter_turns(first) % 2 else ratio
    return encoder


def _add_copy(
    writer: "av.OutputContainer", stream: "av.AudioStream", target: Path
) -> "av.AudioStream":
    try:
        return writer.add_stream_from_template(stream)
    except ValueError as error:
        name = stream.codec_context.name
        raise UserError(f"{target.suffix} files can't hold {name} sound: try .mkv") from error


def _is_deep(frame: "av.VideoFrame") -> bool:
    return frame.format.components[0].bits > 8


def _quarter_turns(frame: "av.VideoFrame") -> int:
    """How often to turn a frame to the left to see it upright."""
    return round(frame.rotation / 90)


def _pixels(frame: "av.VideoFrame") -> np.ndarray:
    """A frame the right way up, float32 `[height, width, 3]` in 0..1."""
    name = "rgb48le" if _is_deep(frame) else "rgb24"
    # With less than this, gray comes out up to two levels darker.
    exact = Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND
    samples = frame.to_ndarray(format=name, interpolation=Interpolation.BICUBIC | exact)
    return np.rot90(samples, _quarter_turns(frame)) / np.float32(np.iinfo(samples.dtype).max)


def _frame(pixels: np.ndarray, like: "av.VideoFrame", pixel_format: str) -> "av.VideoFrame":
    """A frame for the encoder, with time and color description of another."""
    dtype, name = (np.uint16, "rgb48le") if _is_deep(like) else (np.uint8, "rgb24")
    samples = np.rint(np.clip(pixels, 0, 1) * np.iinfo(dtype).max).astype(dtype)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(samples), format=name)
    frame = frame.reformat(
        format=pixel_format,
        dst_colorspace=like.colorspace,
        dst_color_range=like.color_range,
    )
    frame.pts, frame.time_base = like.pts, like.time_base
    return frame
