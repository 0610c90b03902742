"""Encoded parts of a video in a folder, so that interrupted work goes on with the next part."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from common.video_encoder import Encoding

try:
    import av
except ImportError:
    av = None

FRAMES = 100  # of a part: so many at most are restored again
_SETTINGS = "settings.txt"


class VideoParts:
    """Files of up to `FRAMES` encoded frames each, named by where they begin.

    Args:
      folder: of the parts. What is in it is used if it was made with the same settings.
      settings: what the frames depend on.
      encoding: of the frames.
    """

    def __init__(self, folder: Path, settings: str, encoding: Encoding):
        self._folder, self._encoding = folder, encoding
        note = folder / _SETTINGS
        if not note.is_file() or note.read_text() != settings:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            note.write_text(settings)
        self.frames = sum(count for _, count, _ in self._complete())
        self._writer = None

    def write(self, frame: "av.VideoFrame", time: int) -> None:
        """Encodes the next frame."""
        if self._writer is None:
            self._count, self._start = 0, time
            self._writer = av.open(str(self._folder / "next.tmp"), "w", format="mp4")
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
        name = f"{self.frames:012d}_{self._count}_{self._start}.mp4"
        (self._folder / "next.tmp").rename(self._folder / name)
        self.frames += self._count

    def abandon(self) -> None:
        """Closes what is being written, which is lost."""
        if self._writer is not None:
            with contextlib.suppress(av.FFmpegError, OSError):
                self._writer.close()
            self._writer = None
            (self._folder / "next.tmp").unlink(missing_ok=True)

    def remove(self) -> None:
        """Removes all parts."""
        shutil.rmtree(self._folder, ignore_errors=True)

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
        parts = []
        for path in sorted(self._folder.glob("*.mp4")):
            _, count, start = path.stem.split("_")
            parts.append((int(start), int(count), path))
        return parts
