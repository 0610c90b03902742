"""Video files made of frames, or written anew with other ones (PyAV, an optional dependency).

Frames are decoded, changed and encoded as they come, in constant memory. Their times, color
description and bit depth are kept, turning and mirroring is applied; sound, subtitles where the
format has them, titles, languages and chapters are copied. Encoding is H.264, VP9 for WebM, near to
lossless.
"""

import contextlib
import dataclasses
import heapq
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from common.config import require
from common.errors import UserError
from common.unfinished import unfinished_file
from common.video_encoder import Encoding, codec_of
from common.video_frames import FrameTimes, Onward, frame_of, left_out, pixels_of
from common.video_parts import VideoParts, video_parts

try:
    import av
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
    ".ts": "mpegts",
    ".mts": "mpegts",
    ".m2ts": "mpegts",
    ".flv": "flv",
}
# What is read; H.264 has no place in the last ones.
VIDEO_SUFFIXES = (*FORMATS, ".mpg", ".mpeg", ".vob", ".wmv", ".asf", ".3gp", ".ogv")
_OF_FILES = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}
_ODD_TEXTS = "surrogateescape"  # titles that are not UTF-8 keep their bytes
_SHORT = 0.1  # seconds that a file may end before it says


@dataclasses.dataclass(frozen=True)
class VideoSummary:
    """What became of a video.

    Attributes:
      frames: those written.
      damaged: packets that could not be decoded, for whose time the frame before stays on; and one
        if sound is left out as it could not be copied.
      concealed: frames of damaged data that the decoder made up in part.
      copied: sound tracks copied.
      dropped: what is left out, such as `"subtitle"` or `"transparency"`.
      missing: seconds that the file announces after all that it has.
    """

    frames: int
    damaged: int
    copied: int
    dropped: tuple[str, ...]
    concealed: int = 0
    missing: float = 0.0

    @property
    def is_whole(self) -> bool:
        """Whether every frame of the file could be read."""
        return not (self.damaged or self.concealed or self.missing)

    def __str__(self) -> str:
        return (
            f"{self.frames} frames, copied {self.copied} sound tracks"
            + f", {self.damaged} damaged packets" * bool(self.damaged)
            + f", {self.concealed} damaged frames in part made up" * bool(self.concealed)
            + f", the file announces {self.missing:.1f} seconds more" * bool(self.missing)
            + f", left out: {', '.join(self.dropped)}" * bool(self.dropped)
        )


def written_name(path: Path) -> Path:
    """Returns the name of a result: what can be read but not written (WMV) becomes Matroska."""
    return path if path.suffix.lower() in FORMATS else path.with_name(f"{path.name}.mkv")


def count_frames(source: Path) -> int:
    """Returns the number of frames that a file has, by reading it through without decoding.

    Raises:
      UserError: see `rewrite_video`.
    """
    with _open(source) as reader, contextlib.suppress(av.FFmpegError):
        return sum(packet.size > 0 for packet in reader.demux(reader.streams.video[0]))
    return 0


def rewrite_video(
    source: Path,
    target: Path,
    change: Callable[[Iterator[np.ndarray], VideoParts], Iterable[np.ndarray]],
    progress: Callable[[int], None] = lambda frames: None,
    *,
    settings: str,
) -> VideoSummary:
    """Changes the frames of a video's first picture stream; the result is complete or not there.

    What is interrupted leaves a folder beside the target, and the same call goes on with it.

    Args:
      source: the file to read.
      target: the file to write, in the format of its suffix; a file that is there is replaced.
      change: takes the frames that are still to be done, float32 `[height, width, 3]` in 0..1, and
        gives one of the same size for each, in their order; these may leave that range. It may take
        some ahead, such as a batch: those are held in memory. Beside the frames it gets the parts
        of the result, which say how many are done, and keep what is noted about frames.
      progress: called with the number of frames done after every one.
      settings: what the changed frames depend on, beside the source.

    Raises:
      UserError: PyAV is missing, a file is of no known kind, can't be read, has no picture, the
        target's format can't hold its sound, or another process writes the target.
      OSError: the disk is full; it names the target.
    """
    container_format = FORMATS.get(target.suffix.lower())
    require(container_format is not None, f"can't write {target}: choose {', '.join(FORMATS)}")
    first = _first_frame(source)
    try:
        with _open(source) as reader:
            _check_sound(reader, container_format, target)
            encoding = Encoding.like(reader.streams.video[0], first, container_format)
            depends_on = f"{_identity(source)} {container_format} {settings}"
            with video_parts(target, depends_on, encoding) as parts:
                done = _Decoded(reader, FrameTimes(reader, encoding.unit), skip=parts.frames)
                frames = parts.frames
                lost = left_out(first, reader.streams.video[0]) + encoding.lost(first)
                for pixels in change(done.frames(), parts):
                    original, time = done.originals.popleft()
                    parts.write(frame_of(pixels, original, encoding.pixel_format), time)
                    frames += 1
                    progress(frames)
                parts.finish()
                try:
                    copied, dropped = _join(source, parts.whole, container_format, parts)
                except av.FFmpegError as error:
                    if isinstance(error, OSError):  # such as a full disk
                        raise
                    done.damaged += 1  # of what is copied, one at least
                    copied, dropped = _join(
                        source, parts.whole, container_format, parts, only_pictures=True
                    )
                parts.whole.replace(target)
            missing = _announced_end(reader) - float(done.end)
    except av.FFmpegError as error:
        raise UserError(f"can't write {target} from {source}: {error.strerror}") from error
    lost += ["changes of size (all frames have that of the first)"] * (len(done.sizes) > 1)
    missing = missing if missing > _SHORT else 0.0
    return VideoSummary(frames, done.damaged, copied, (*dropped, *lost), done.concealed, missing)


class _Decoded:
    """Frames of a file as pixels, and what was seen on the way.

    Attributes:
      originals: frames that were given and not yet taken from here, with their times.
      damaged, concealed: see `VideoSummary`.
      end: of all that the file has, in seconds.
      sizes: widths and heights of all frames.
    """

    def __init__(self, reader: "av.InputContainer", times: FrameTimes, *, skip: int):
        self._reader, self._times, self._skip = reader, times, skip
        self.originals: deque[tuple[av.VideoFrame, int]] = deque()
        self.damaged = self.concealed = 0
        self.end = Fraction(0)
        self.sizes: set[tuple[int, int]] = set()

    def frames(self) -> Iterator[np.ndarray]:
        picture, number = self._reader.streams.video[0], 0
        for packet in self._reader.demux():
            self.end = max(self.end, _end(packet))
            if packet.stream.index != picture.index:  # packets at the end have no other index
                continue
            self._times.read(packet)
            try:
                found = packet.decode()
            except av.error.InvalidDataError:
                self.damaged += 1
                continue
            for frame in found:
                self.concealed += frame.is_corrupt
                self.sizes.add((frame.width, frame.height))
                time = self._times(frame)
                number += 1
                if number > self._skip:
                    self.originals.append((frame, time))
                    yield pixels_of(frame)


def _join(
    source: Path, target: Path, kind: str, parts: VideoParts, *, only_pictures: bool = False
) -> tuple[int, tuple[str, ...]]:
    """Writes the parts, in a format of FFmpeg's name, and all else of the source that it holds.

    Returns:
      The number of sound tracks, and kinds of streams left out.
    """
    with (
        _open(source) as reader,
        av.open(str(target), "w", format=kind, metadata_errors=_ODD_TEXTS) as writer,
    ):
        picture = reader.streams.video[0]
        writer.metadata.update(_titles(reader.metadata))
        pictures = parts.packets(writer)
        writer.streams.video[0].metadata.update(_titles(picture.metadata))
        if chapters := reader.chapters():
            writer.set_chapters(chapters)
        tracks, dropped = {}, []
        for other in reader.streams:
            if other.index == picture.index:
                continue
            is_kept = other.type in ("audio", "subtitle") and not only_pictures
            copy = _copy(writer, other) if is_kept else None
            if copy is None:
                dropped.append(other.type)
            else:
                tracks[other.index] = copy

        def copied() -> Iterator[av.Packet]:
            if not tracks:
                return
            onward = {index: Onward() for index in tracks}
            for packet in reader.demux(*(reader.streams[i] for i in tracks)):
                if packet.dts is not None:  # the last, empty one
                    later = onward[packet.stream.index]
                    packet.dts = later(packet.dts, packet.duration or 1)
                    if packet.pts is not None:
                        packet.pts += later.shift
                    packet.stream = tracks[packet.stream.index]
                    yield packet

        for packet in heapq.merge(pictures, copied(), key=_seconds):
            writer.mux(packet)
        sound = sum(track.type == "audio" for track in tracks.values())
    return sound, tuple(dropped)


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
    try:
        with (
            unfinished_file(target) as temporary,
            av.open(str(temporary), "w", format=container_format) as writer,
        ):
            name, options = codec_of(container_format)
            encoder = writer.add_stream(name, rate=rate, options=options)
            for index, pixels in enumerate(frames):
                if index == 0:
                    encoder.height, encoder.width = pixels.shape[:2]
                    odd = encoder.height % 2 or encoder.width % 2
                    encoder.pix_fmt = "yuv444p" if odd else "yuv420p"
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                writer.mux(encoder.encode(frame))
            writer.mux(encoder.encode(None))
    except av.FFmpegError as error:
        raise UserError(f"can't write {target}: {error.strerror}") from error


def _require_pyav() -> None:
    require(av is not None, "videos need PyAV: pip install 'multi-axis-jax[video]'")


def _open(source: Path) -> "av.InputContainer":
    _require_pyav()
    try:
        reader = av.open(str(source), metadata_errors=_ODD_TEXTS)
    except av.FFmpegError as error:
        raise UserError(f"can't read {source}: {error.strerror}") from error
    if not reader.streams.video:
        reader.close()
        raise UserError(f"{source} has no picture that can be read: is the file whole?")
    return reader


def _first_frame(source: Path) -> "av.VideoFrame":
    with _open(source) as reader:
        for packet in reader.demux(reader.streams.video[0]):
            try:
                for frame in packet.decode():
                    return frame
            except av.error.InvalidDataError:
                continue
            except av.FFmpegError as error:
                raise UserError(f"can't read {source}: {error.strerror}") from error
    raise UserError(f"{source} has no frame that can be decoded")


def _check_sound(reader: "av.InputContainer", container_format: str, target: Path) -> None:
    """Before hours of work."""
    with av.open(os.devnull, "w", format=container_format) as writer:
        for stream in reader.streams.audio:
            if stream.codec_context is None:  # of no kind that FFmpeg knows: it is left out
                continue
            name = stream.codec_context.name
            message = f"{target.suffix} files can't hold {name} sound: try .mkv"
            require(_copy(writer, stream) is not None, message)


def _copy(writer: "av.OutputContainer", stream: "av.Stream") -> "av.Stream | None":
    """A stream that takes the packets of another; None if the format can't hold them."""
    try:
        copy = writer.add_stream_from_template(stream)
    except (ValueError, av.FFmpegError):
        return None
    copy.metadata.update(_titles(stream.metadata))
    return copy


def _titles(metadata: dict[str, str]) -> dict[str, str]:
    """Titles, languages, authors: what isn't about how a file is laid out."""
    return {key: text for key, text in metadata.items() if key.lower() not in _OF_FILES}


def _seconds(packet: "av.Packet") -> Fraction:
    return packet.dts * packet.time_base


def _end(packet: "av.Packet") -> Fraction:
    time = packet.dts if packet.pts is None else packet.pts
    if time is None or not packet.time_base:  # the last, empty one
        return Fraction(0)
    return (time + (packet.duration or 0)) * packet.time_base


def _announced_end(reader: "av.InputContainer") -> float:
    picture = reader.streams.video[0]
    if reader.format.name == "avi":  # whose duration is that of what is there
        return float(picture.frames * picture.time_base)
    return ((reader.start_time or 0) + (reader.duration or 0)) / av.time_base


def _identity(source: Path) -> str:
    stat = source.stat()
    return f"{source.resolve()} {stat.st_size} {stat.st_mtime_ns}"
