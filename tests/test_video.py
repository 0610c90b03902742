"""Small files made here, with sound, odd rates and rotation; PyAV says what came out."""

import os
import re
import shutil
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from common import video, video_frames, video_parts
from common.errors import UserError
from common.video import count_frames, rewrite_video
from tests.full_disk import largest_file

av = pytest.importorskip("av")

RNG = np.random.RandomState(0)
COUNT = 12
# Saturated colors, in blocks that survive halved chroma.
FRAMES = [
    np.kron(RNG.randint(0, 2, (3, 4, 3)), np.ones((16, 16, 1))).astype(np.uint8) * 255
    for _ in range(COUNT)
]

SMALL = [frame[:32, :32] for frame in FRAMES]


def make_video(
    path,
    *,
    times=range(COUNT),
    pix_fmt="yuv420p",
    sound="aac",
    rotation=0,
    colors=(2, 0),
    frames=FRAMES,
    rate=Fraction(30000, 1001),
):
    """Writes `frames` at `times` in units of 1/30 s, with a tone."""
    with av.open(str(path), "w") as file:
        vp9 = path.suffix == ".webm"
        options = {"crf": "0", "lossless": "1"} if vp9 else {"qp": "0"}
        stream = file.add_stream("libvpx-vp9" if vp9 else "libx264", rate=rate, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = Fraction(1001, 30000)
        stream.codec_context.colorspace, stream.codec_context.color_range = colors
        if rotation:
            stream.set_display_rotation(rotation)
        track = file.add_stream(sound, rate=48_000) if sound else None
        for time, frame in zip(times, frames, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
                format=pix_fmt, dst_colorspace=colors[0], dst_color_range=colors[1]
            )
            picture.pts, picture.time_base = time, Fraction(1001, 30000)
            file.mux(stream.encode(picture))
        file.mux(stream.encode(None))
        if track:
            tone = np.sin(np.arange(19_200) * 0.05, dtype=np.float32)[None]
            for i in range(0, 19_200, 960):
                piece = av.AudioFrame.from_ndarray(tone[:, i : i + 960], "fltp", "mono")
                piece.sample_rate, piece.pts = 48_000, i
                file.mux(track.encode(piece))
            file.mux(track.encode(None))
    return path


def read_video(path):
    """Frames as RGB, their times in seconds, and the packets of all sound."""
    with av.open(str(path)) as file:
        decoded = list(file.decode(video=0))
    with av.open(str(path)) as file:
        sound = [bytes(p) for p in file.demux(*file.streams.audio)] if file.streams.audio else []
    frames = [np.rot90(f.to_ndarray(format="rgb24"), round(f.rotation / 90)) for f in decoded]
    times = [float(f.pts * f.time_base) for f in decoded]
    return frames, times, sound


def centers(frames):
    """Of the blocks, where chroma of half the resolution is right."""
    return np.float32(frames)[:, 8::16, 8::16]


def rewrite(source, target, change, *progress, settings=""):
    """Changes every frame by itself."""
    return rewrite_video(
        source, target, lambda frames, _: map(change, frames), *progress, settings=settings
    )


def identity(image):
    assert image.dtype == np.float32 and image.min() >= 0 and image.max() <= 1
    return image


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm"])
def test_pictures_times_and_sound_are_kept(tmp_path, suffix):
    """At a fractional rate, with one frame that stays on longer."""
    times = [*range(6), *range(9, 15)]
    sound = "libopus" if suffix == ".webm" else "aac"
    source = make_video(tmp_path / f"in{suffix}", times=times, sound=sound)
    seen = []
    summary = rewrite(source, tmp_path / f"out{suffix}", identity, seen.append)
    assert (summary.frames, summary.damaged, summary.copied) == (COUNT, 0, 1)
    assert seen == list(range(1, COUNT + 1))
    assert count_frames(source) == COUNT
    old, new = read_video(source), read_video(tmp_path / f"out{suffix}")
    np.testing.assert_allclose(new[1], old[1], atol=2e-3)
    assert new[2] == old[2] and len(new[2]) > 10
    assert len(new[0]) == COUNT
    np.testing.assert_allclose(centers(old[0]), centers(FRAMES), atol=6)
    np.testing.assert_allclose(centers(new[0]), centers(old[0]), atol=12)
    assert {path.name for path in tmp_path.iterdir()} == {f"in{suffix}", f"out{suffix}"}


@pytest.mark.parametrize("colors", [(1, 1), (1, 2), (5, 2), (6, 1), (9, 1), (2, 0)])
def test_color_description(tmp_path, colors):
    """(matrix, range): the same tags, and the same colors by them."""
    source = make_video(tmp_path / "in.mp4", colors=colors)
    rewrite(source, tmp_path / "out.mp4", identity)
    with av.open(str(tmp_path / "out.mp4")) as file, av.open(str(source)) as original:
        contexts = [f.streams.video[0].codec_context for f in (file, original)]
        assert contexts[0].colorspace == contexts[1].colorspace == colors[0]
        assert contexts[0].color_range == contexts[1].color_range
    old, new = read_video(source)[0], read_video(tmp_path / "out.mp4")[0]
    np.testing.assert_allclose(centers(new), centers(old), atol=12)
    seen = []
    rewrite(source, tmp_path / "again.mp4", lambda image: seen.append(image) or image)
    np.testing.assert_allclose(255 * centers(seen), centers(FRAMES), atol=6)


def test_frames_are_changed(tmp_path):
    source = make_video(tmp_path / "in.mp4")
    rewrite(source, tmp_path / "out.mp4", lambda image: 2 * (0.75 - image))
    for old, new in zip(
        *(read_video(tmp_path / f"{n}.mp4")[0] for n in ("in", "out")), strict=True
    ):
        assert np.abs(new - np.clip(382.5 - 2 * np.float32(old), 0, 255)).mean() < 6


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotation_is_applied(tmp_path, rotation):
    source = make_video(tmp_path / "in.mp4", rotation=rotation)
    shapes = set()
    rewrite(source, tmp_path / "out.mp4", lambda image: shapes.add(image.shape) or image)
    assert shapes == {(48, 64, 3) if rotation == 180 else (64, 48, 3)}
    old, new = read_video(source)[0], read_video(tmp_path / "out.mp4")[0]
    np.testing.assert_allclose(centers(new), centers(old), atol=12)
    with av.open(str(tmp_path / "out.mp4")) as file:
        assert next(file.decode(video=0)).rotation == 0


def test_ten_bits(tmp_path):
    """Neighbouring levels of 10 bits stay apart; in 8 bits most would be the same."""
    source = make_video(tmp_path / "in.mkv", pix_fmt="yuv420p10le", sound=None)
    levels = iter(np.float32((np.arange(500, 500 + COUNT) - 64) / 876))
    rewrite(source, tmp_path / "out.mkv", lambda image: np.full_like(image, next(levels)))
    with av.open(str(tmp_path / "out.mkv")) as file:
        frames = list(file.decode(video=0))
    assert frames[0].format.name == "yuv420p10le"
    luma = [frame.to_ndarray()[:48].mean() for frame in frames]
    np.testing.assert_allclose(np.diff(luma), 1, atol=0.6)


def test_gray_levels_are_exact(tmp_path):
    """Rounding of the color conversions does not drift."""
    grays = [np.full((48, 64, 3), 20 * i, np.uint8) for i in range(COUNT)]
    source = make_video(tmp_path / "in.mkv", colors=(1, 1), sound=None, frames=grays)
    rewrite(source, tmp_path / "out.mkv", identity)
    for path in (source, tmp_path / "out.mkv"):
        levels = [frame.mean() for frame in read_video(path)[0]]
        np.testing.assert_allclose(levels, 20 * np.arange(COUNT), atol=1)


def test_odd_sides(tmp_path):
    frames = [frame[:47, :63] for frame in FRAMES]
    source = make_video(tmp_path / "in.mkv", pix_fmt="yuv444p", frames=frames)
    rewrite(source, tmp_path / "out.mkv", identity)
    new = read_video(tmp_path / "out.mkv")[0]
    assert new[0].shape == (47, 63, 3)
    np.testing.assert_allclose(centers(new), centers(frames), atol=12)


def test_progress(tmp_path):
    source = make_video(tmp_path / "in.mp4", sound=None)
    order = []
    summary = rewrite(
        source,
        tmp_path / "out.mp4",
        lambda image: order.append("changed") or image,
        order.append,
    )
    assert order == [x for i in range(COUNT) for x in ("changed", i + 1)]
    assert count_frames(source) == COUNT
    assert summary.copied == 0


def test_frames_may_be_taken_ahead(tmp_path):
    """Whoever works in batches still has every frame at its time."""
    times = [*range(6), *range(9, 15)]
    source = make_video(tmp_path / "in.mp4", times=times)

    def in_fives(frames, _):
        while batch := list(islice(frames, 5)):
            yield from batch

    summary = rewrite_video(source, tmp_path / "out.mp4", in_fives, settings="")
    assert (summary.frames, summary.copied) == (COUNT, 1)
    old, new = read_video(source), read_video(tmp_path / "out.mp4")
    np.testing.assert_allclose(new[1], old[1], atol=2e-3)
    np.testing.assert_allclose(centers(new[0]), centers(old[0]), atol=12)
    assert new[2] == old[2]


def test_damaged_and_truncated_files(tmp_path):
    """What can be decoded is written, the rest counted."""
    source = make_video(tmp_path / "in.mkv", sound=None)
    data = bytearray(source.read_bytes())
    source.write_bytes(data[: len(data) * 2 // 3])
    summary = rewrite(source, tmp_path / "out.mkv", identity)
    assert 0 < summary.frames < COUNT == count_frames(make_video(tmp_path / "whole.mkv"))
    assert count_frames(source) < COUNT
    assert not summary.is_whole
    damaged = make_video(tmp_path / "damaged.mkv", sound=None, times=range(0, 360, 30))
    with av.open(str(damaged)) as file:
        place = [packet.pos for packet in file.demux(video=0) if packet.size][COUNT // 2]
    data = bytearray(damaged.read_bytes())
    data[place + 40 : place + 80] = bytes(40)
    damaged.write_bytes(data)
    summary = rewrite(damaged, tmp_path / "out.mkv", identity)
    assert not summary.is_whole and summary.damaged + summary.concealed > 0, summary


def test_damaged_sound_does_not_cost_the_pictures(tmp_path):
    """No sampling rate is known by the number 15."""
    source = make_video(tmp_path / "in.ts")
    frequency = re.compile(rb"\xff\xf1(.)", re.DOTALL)
    data = frequency.sub(lambda m: b"\xff\xf1" + bytes([m[1][0] | 0x3C]), source.read_bytes())
    source.write_bytes(data)
    summary = rewrite(source, tmp_path / "out.ts", identity)
    assert summary.frames == len(read_video(tmp_path / "out.ts")[0]) == COUNT
    assert summary.dropped == ("audio",) and not summary.is_whole


def test_whole_files(tmp_path):
    """A frame a second, the last of which stays on; a tone that goes on after the pictures."""
    slow = make_video(tmp_path / "slow.mkv", times=range(0, 360, 30), rate=1, sound=None)
    tone = make_video(tmp_path / "tone.mkv", times=range(2), frames=FRAMES[:2])
    for source in (slow, tone, make_video(tmp_path / "slow.mp4", times=range(0, 360, 30), rate=1)):
        summary = rewrite(source, tmp_path / "out.mkv", identity)
        assert summary.is_whole, summary


# ---------------------------------------------------------------- what files are like


MATRICES = {
    "mirrored": ([-1, 0, 0, 1], lambda a: a[:, ::-1]),
    "upside down": ([1, 0, 0, -1], lambda a: a[::-1]),
    "transposed": ([0, 1, 1, 0], lambda a: a.swapaxes(0, 1)),
    "turned and mirrored": ([0, -1, -1, 0], lambda a: a[::-1, ::-1].swapaxes(0, 1)),
    "clockwise": ([0, 1, -1, 0], lambda a: np.rot90(a, -1)),
    "counterclockwise": ([0, -1, 1, 0], np.rot90),
}


@pytest.mark.parametrize("name", MATRICES)
def test_display_matrices(name):
    """(x, y) of a frame is shown at (a x + c y, b x + d y)."""
    (a, b, c, d), expected = MATRICES[name]
    numbers = np.array([a, b, 0, c, d, 0, 0, 0, 1], "=i4") << 16

    class Side(bytes):
        type = av.sidedata.sidedata.Type.DISPLAYMATRIX

    class Frame:
        side_data = (Side(numbers.tobytes()),)

    image = FRAMES[0]
    np.testing.assert_array_equal(video_frames.upright(image, Frame()), expected(image))
    assert video_frames.is_turned(Frame()) == (expected(image).shape != image.shape)


@pytest.mark.parametrize("suffix", [".avi", ".ts", ".mts", ".flv"])
def test_containers(tmp_path, suffix):
    """With B frames in the source; AVI has no times for them."""
    source = make_video(tmp_path / f"in{suffix}", sound="mp3" if suffix == ".avi" else "aac")
    seen = []
    summary = rewrite(source, tmp_path / f"out{suffix}", lambda x: seen.append(x) or x)
    assert (summary.frames, summary.copied) == (COUNT, 1)
    np.testing.assert_allclose(255 * centers(seen), centers(FRAMES), atol=6)
    new, times, _ = read_video(tmp_path / f"out{suffix}")
    assert max(np.abs(a - b).mean() for a, b in zip(centers(new), centers(FRAMES), strict=True)) < 3
    np.testing.assert_allclose(np.diff(times), 1001 / 30000, atol=1e-3)


def test_formats_without_h264_become_matroska():
    names = ["a.wmv", "b.MPG", "c.mkv", "d.TS"]
    written = [video.written_name(Path(name)).name for name in names]
    assert written == ["a.wmv.mkv", "b.MPG.mkv", "c.mkv", "d.TS"]


@pytest.mark.parametrize(
    "codec, pix_fmt", [("ffv1", "gray"), ("ffv1", "bgr0"), ("mjpeg", "yuvj420p")]
)
def test_all_levels(tmp_path, codec, pix_fmt):
    """Gray and RGB use them all without saying so."""
    grays = [np.full((48, 64, 3), 23 * i, np.uint8) for i in range(COUNT)]
    with av.open(str(tmp_path / "in.mkv"), "w") as file:
        stream = file.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, pix_fmt
        for gray in grays:
            file.mux(
                stream.encode(av.VideoFrame.from_ndarray(gray, "rgb24").reformat(format=pix_fmt))
            )
        file.mux(stream.encode(None))
    seen, again = [], []
    rewrite(tmp_path / "in.mkv", tmp_path / "out.mkv", lambda x: seen.append(x) or x)
    rewrite(tmp_path / "out.mkv", tmp_path / "again.mkv", lambda x: again.append(x) or x)
    np.testing.assert_allclose([255 * x.mean() for x in seen], 23 * np.arange(COUNT), atol=1.5)
    np.testing.assert_allclose(np.float32(again), np.float32(seen), atol=2 / 255)


def test_what_is_left_out_is_named(tmp_path):
    with av.open(str(tmp_path / "in.mkv"), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuva420p"
        file.mux(stream.encode(av.VideoFrame.from_ndarray(FRAMES[0], "rgb24")))
        file.mux(stream.encode(None))
    summary = rewrite(tmp_path / "in.mkv", tmp_path / "out.mkv", identity)
    assert str(summary) == "1 frames, copied 0 sound tracks, left out: transparency"


def make_hdr_video(path, parameters):
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx265", rate=25, options={"x265-params": parameters})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p10le"
        for time, frame in enumerate(FRAMES[:2]):
            picture = av.VideoFrame.from_ndarray(frame, "rgb24")
            picture.pts, picture.time_base = time, Fraction(1, 25)  # else x265 makes some up
            file.mux(stream.encode(picture))
        file.mux(stream.encode(None))
    return path


def light_of(path):
    """What FFmpeg reads of HDR, by kind."""
    with av.open(str(path)) as file:
        frame = next(file.decode(video=0))
    kinds = ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL")
    return {side.type.name: bytes(side) for side in frame.side_data if side.type.name in kinds}


def test_light_of_hdr(tmp_path):
    """By x264, which is not x265; what has no place is named."""
    display = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    source = make_hdr_video(
        tmp_path / "in.mp4", f"{display}:max-cll=1000,400:bframes=0:log-level=none"
    )
    summary = rewrite(source, tmp_path / "out.mp4", identity)
    assert len(light_of(source)) == 2 and not summary.dropped
    assert light_of(tmp_path / "out.mp4") == light_of(source)
    summary = rewrite(source, tmp_path / "out.webm", identity)
    bits = "10 bits per sample, of which 8 are written"
    assert summary.dropped == ("HDR metadata", bits) and not light_of(tmp_path / "out.webm")
    np.testing.assert_allclose(
        centers(read_video(tmp_path / "out.webm")[0]), centers(FRAMES[:2]), atol=12
    )


def test_sizes_that_change_are_named(tmp_path):
    """And made that of the first; streams may be written one after the other."""
    halves = [make_video(tmp_path / "a.ts"), make_video(tmp_path / "b.ts", frames=SMALL)]
    source = tmp_path / "in.ts"
    source.write_bytes(b"".join(half.read_bytes() for half in halves))
    summary = rewrite(source, tmp_path / "out.ts", identity)
    assert summary.frames == 2 * COUNT and summary.dropped == (
        "changes of size (all frames have that of the first)",
    )
    assert {frame.shape for frame in read_video(tmp_path / "out.ts")[0]} == {(48, 64, 3)}


def test_colors_of_full_resolution_stay(tmp_path):
    """Also in a format that the encoder doesn't know."""
    with av.open(str(tmp_path / "in.mkv"), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuva444p"
        file.mux(stream.encode(av.VideoFrame.from_ndarray(FRAMES[0], "rgb24")))
        file.mux(stream.encode(None))
    rewrite(tmp_path / "in.mkv", tmp_path / "out.mkv", identity)
    with av.open(str(tmp_path / "out.mkv")) as file:
        assert file.streams.video[0].codec_context.pix_fmt == "yuv444p"


def test_titles_and_languages(tmp_path):
    """Texts of any bytes, and sound before the pictures."""
    plain, texts = make_video(tmp_path / "plain.mkv"), {"metadata_errors": "surrogateescape"}
    with av.open(str(plain)) as old, av.open(str(tmp_path / "in.mkv"), "w", **texts) as new:
        new.metadata["title"] = os.fsdecode(b"Caf\xe9")
        tracks = [new.add_stream_from_template(stream) for stream in reversed(old.streams)]
        tracks[0].metadata.update({"language": "fra", "title": "comments"})
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = tracks[1 - packet.stream.index]
                new.mux(packet)
    assert rewrite(tmp_path / "in.mkv", tmp_path / "out.mkv", identity).frames == COUNT
    with av.open(str(tmp_path / "out.mkv"), **texts) as file:
        assert os.fsencode(file.metadata["title"]) == b"Caf\xe9"
        sound = file.streams.audio[0].metadata
        assert (sound["language"], sound["title"]) == ("fra", "comments")
        assert file.streams.video[0].average_rate == Fraction(30000, 1001)


# ---------------------------------------------------------------- interruptions


def test_an_interrupted_video_goes_on(tmp_path, monkeypatch):
    """With the part after the last whole one, and gives what it would have given."""
    monkeypatch.setattr(video_parts, "FRAMES", 3)
    times = [*range(6), *range(9, 15)]
    source = make_video(tmp_path / "in.mp4", times=times)
    target, calls = tmp_path / "out.mp4", []

    def until(count, settings="s"):
        def change(image):
            if len(calls) == count:
                raise KeyboardInterrupt
            calls.append(image)
            return image

        return rewrite(source, target, change, settings=settings)

    for count in (8, 5):  # six frames are kept, then nine
        calls.clear()
        with pytest.raises(KeyboardInterrupt):
            until(count)
    calls.clear()
    summary = until(None)
    assert len(calls) == 3 and (summary.frames, summary.copied) == (COUNT, 1)
    old, new = read_video(source), read_video(target)
    np.testing.assert_allclose(new[1], old[1], atol=2e-3)
    np.testing.assert_allclose(centers(new[0]), centers(old[0]), atol=12)
    assert new[2] == old[2]
    assert {p.name for p in tmp_path.iterdir()} == {"in.mp4", "out.mp4"}
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        until(8)
    calls.clear()
    until(None, settings="another model")
    assert len(calls) == COUNT


def test_two_processes(tmp_path):
    """The second is refused, and the first one's parts stay."""
    source, target = make_video(tmp_path / "in.mp4"), tmp_path / "out.mp4"

    def change(image):
        with pytest.raises(UserError, match=r"out\.mp4 is being written by another process"):
            rewrite(source, target, identity, settings="another model")
        video_parts.remove_parts(target)
        return image

    assert rewrite(source, target, change).frames == COUNT
    assert {p.name for p in tmp_path.iterdir()} == {"in.mp4", "out.mp4"}


@pytest.mark.parametrize("removed", [(), ("lock",), ("settings.txt",), ("first",)])
def test_parts_of_a_complete_video(tmp_path, monkeypatch, removed):
    """A process that is killed while it removes them leaves any of them."""
    monkeypatch.setattr(video_parts, "FRAMES", 3)
    source, target = make_video(tmp_path / "in.mp4", sound=None), tmp_path / "out.mp4"
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        rewrite(source, target, identity)
    folder = tmp_path / ".out.mp4.parts"
    first = min(path.name for path in folder.glob("*.mp4"))
    for name in removed:
        (folder / {"first": first}.get(name, name)).unlink()
    assert rewrite(source, target, identity).frames == len(read_video(target)[0]) == COUNT
    assert not folder.exists()
    folder.mkdir()
    (folder / first).touch()
    video_parts.remove_parts(target)
    assert not folder.exists()


# ---------------------------------------------------------------- mistakes


def test_full_disk(tmp_path):
    """The error names the result; nothing else is there, and it goes on when there is room."""
    noise = [RNG.randint(0, 256, (48, 64, 3)).astype(np.uint8) for _ in range(COUNT)]
    source, target = make_video(tmp_path / "in.mp4", frames=noise, sound=None), tmp_path / "out.mp4"
    with largest_file(10_000), pytest.raises(OSError, match="File too large") as caught:
        rewrite(source, target, identity)
    assert caught.value.filename == str(target)
    with largest_file(10_000), pytest.raises(OSError, match="File too large") as caught:
        video.write_video(target, iter(noise), rate=10)
    assert caught.value.filename == str(target)
    assert list(tmp_path.iterdir()) == [source]


def test_mistakes(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("no film")
    with pytest.raises(UserError, match=r"can't read .*text.mp4: Invalid data"):
        rewrite(text, tmp_path / "out.mp4", identity)
    with pytest.raises(UserError, match=r"can't write .*out.wmv: choose .mp4"):
        rewrite(text, tmp_path / "out.wmv", identity)
    with pytest.raises(UserError, match="No such file"):
        rewrite(tmp_path / "no.mp4", tmp_path / "out.mp4", identity)
    with_sound = make_video(tmp_path / "sound.mp4")
    with pytest.raises(UserError, match=r".webm files can't hold aac sound: try .mkv"):
        rewrite(with_sound, tmp_path / "out.webm", identity)
    with av.open(str(tmp_path / "only.wav"), "w") as file:
        track = file.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 100), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        file.mux([*track.encode(frame), *track.encode(None)])
    with pytest.raises(UserError, match=r"only.wav has no picture"):
        rewrite(tmp_path / "only.wav", tmp_path / "out.mp4", identity)
    assert {p.name for p in tmp_path.iterdir()} == {"text.mp4", "sound.mp4", "only.wav"}


def test_a_failure_leaves_nothing(tmp_path):
    source = make_video(tmp_path / "in.mp4")
    (tmp_path / "out.mp4").write_text("precious")

    def fail(image):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rewrite(source, tmp_path / "out.mp4", fail)
    assert (tmp_path / "out.mp4").read_text() == "precious"
    assert {p.name for p in tmp_path.iterdir()} == {"in.mp4", "out.mp4"}


def test_without_pyav(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "av", None)
    with pytest.raises(UserError, match=r"videos need PyAV: pip install 'multi-axis-jax\[video\]'"):
        rewrite(tmp_path / "in.mp4", tmp_path / "out.mp4", identity)


def test_written_from_frames(tmp_path):
    target = tmp_path / "made.mp4"
    video.write_video(target, iter(FRAMES), rate=10)
    with av.open(str(target)) as file:
        stream = file.streams.video[0]
        found = [frame.to_ndarray(format="rgb24") for frame in file.decode(stream)]
        assert stream.average_rate == 10
    assert len(found) == COUNT
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(found, FRAMES, strict=True)) < 12
    with pytest.raises(UserError, match=r"can't write .*made.gif: choose .mp4"):
        video.write_video(tmp_path / "made.gif", iter(FRAMES), rate=10)

    def broken():
        yield FRAMES[0]
        raise UserError("no more")

    with pytest.raises(UserError, match="no more"):
        video.write_video(tmp_path / "other.mp4", broken(), rate=10)
    assert list(tmp_path.iterdir()) == [target]
