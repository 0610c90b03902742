"""Encoded parts of a video in a folder, so that interrupted work goes on with the next part."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from common.errors import UserError
from common.file_locks import locked
from common.photo_names import temporary_name
from common.unfinished import errors_about
from common.video_encoder import Encoding

try:
    import av
except ImportError:
    av = None

FRAMES = 100  # of a part: so many at most are done again
_LOCK, _SETTINGS, _NEXT = "lock", "settings.txt", "next.tmp"


@contextlib.contextmanager
def video_parts(target: Path, settings: str, encoding: Encoding) -> Iterator["VideoParts"]:
    """Opens a folder beside a video, with what an interruption left of it.

    Complete parts outlive a block that ends badly, unless FFmpeg refuses them; else nothing stays.

    Args:
      target: the video; its folder is made.
      settings: what the frames depend on. Parts that were made with others are removed.
      encoding: of the frames.

    Raises:
      UserError: another process writes the video.
      OSError: such as of a full disk; it names the video.
    """
    folder = _folder(target)
    with errors_about(target, folder), locked(folder / _LOCK, target):
        parts = VideoParts(folder, settings, encoding)
        try:
            yield parts
        except BaseException as error:
            parts.abandon()
            refused = isinstance(error, av.FFmpegError) and not isinstance(error, OSError)
            if refused or not parts.frames:  # it would be refused again
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def remove_parts(target: Path) -> None:
    """Removes the parts of a complete video: its process was killed before it did."""
    folder = _folder(target)
    if folder.is_dir():
        with contextlib.suppress(UserError), locked(folder / _LOCK, target):
            shutil.rmtree(folder)


class VideoParts:
    """Files of up to `FRAMES` encoded frames each, and a text for each; see `video_parts`.

    Attributes:
      frames: those in complete parts.
      whole: where the video may be written before it gets its name.
    """

    def __init__(self, folder: Path, settings: str, encoding: Encoding):
        self._folder, self._encoding = folder, encoding
        note, content = folder / _SETTINGS, settings.encode(errors="surrogateescape")
        if not note.is_file() or note.read_bytes() != content:
            for path in folder.iterdir():
                if path.name != _LOCK:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            note.write_bytes(content)
        self.whole = folder / "whole.tmp"
        self.frames = sum(count for _, count, _ in self._complete())
        self._writer, self._text = None, ""

    def note(self, text: str) -> None:
        """Adds a text to the part of the next frame: both are kept, or neither."""
        self._text += text

    def notes(self) -> Iterator[str]:
        """Returns the texts of all complete parts."""
        for *_, path in self._complete():
            with path.with_suffix(".txt").open(
                newline="", encoding="utf-8", errors="surrogateescape"
            ) as file:
                yield file.read()

    def write(self, frame: "av.VideoFrame", time: int) -> None:
        """Encodes the next frame."""
        if self._writer is None:
            self._count, self._start = 0, time
            self._writer = av.open(str(self._folder / _NEXT), "w", format="mp4")
            self._encoder = self._encoding.add_to(self._writer)
        frame.pts, frame.time_base = time - self._start, self._encoding.unit
        self._writer.mux(self._encoder.encode(frame))
        self._count += 1
        if self._count == FRAMES:
            self.finish()

    def finish(self) -> None:
        """Completes the part that is being written."""
        if self._writer is None:
            return
        self._writer.mux(self._encoder.encode(None))
        self._writer.close()
        self._writer = None
        place = self._folder / f"{self.frames:012d}_{self._count}_{self._start}.mp4"
        text, self._text = self._text.encode(errors="surrogateescape"), ""
        place.with_suffix(".txt").write_bytes(text)
        (self._folder / _NEXT).rename(place)  # last: from now on the part counts
        self.frames += self._count

    def abandon(self) -> None:
        """Closes what is being written, which is lost."""
        if self._writer is not None:
            with contextlib.suppress(av.FFmpegError, OSError):
                self._writer.close()
            self._writer = None
        for path in (self._folder / _NEXT, self.whole):
            path.unlink(missing_ok=True)

    def packets(self, writer: "av.OutputContainer") -> Iterator["av.Packet"]:
        """Adds a stream to a file, and returns the packets of all parts for it."""
        # Its encoder does nothing but say how packets are to be read, as those of the parts did.
        return self._packets(self._encoding.add_to(writer))

    def _packets(self, stream: "av.VideoStream") -> Iterator["av.Packet"]:
        last = None
        for start, _, path in self._complete():
            with av.open(str(path)) as part:
                source = part.streams.video[0]
                # MP4 has H.264 in a way of its own, encoders and the other formats in another.
                is_h264 = source.codec_context.name == "h264"
                convert = av.BitStreamFilterContext("h264_mp4toannexb", source) if is_h264 else None
                for packet in part.demux(source):
                    if packet.dts is None:  # the last, empty one
                        continue
                    for piece in convert.filter(packet) if convert else [packet]:
                        scale = piece.time_base / self._encoding.unit
                        decoded = start + round(piece.dts * scale)
                        last = decoded if last is None else max(decoded, last + 1)  # at a seam
                        piece.pts, piece.dts = start + round(piece.pts * scale), last
                        piece.duration = round((piece.duration or 0) * scale)
                        piece.time_base = self._encoding.unit
                        piece.stream = stream
                        yield piece

    def _complete(self) -> list[tuple[int, int, Path]]:
        """Time of the first frame, number of frames, and file of every part."""
        parts, frames = [], 0
        for path in sorted(self._folder.glob("*.mp4")):
            first, count, start = map(int, path.stem.split("_"))
            if first != frames:  # those before were being removed by a process that was killed
                break
            parts.append((start, count, path))
            frames += count
        return parts


def _folder(target: Path) -> Path:
    return target.with_name(temporary_name(target, "parts"))
