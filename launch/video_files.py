"""The videos of a command, written one after the other."""

import errno
from collections.abc import Callable, Mapping
from pathlib import Path

from common.data.corrupt_images import corrupt_image
from common.errors import UserError
from common.photo_names import shown
from common.progress import Pace, ProgressReport
from common.video import VideoSummary, count_frames


def write_videos(
    targets: Mapping[Path, Path],
    write: Callable[..., VideoSummary],
) -> tuple[list[Path], list[Path]]:
    """Writes a result for every video, and prints a line about each.

    Args:
      targets: where the result of each goes.
      write: takes a video, its target, and `progress`, see `common.video.rewrite_video`.

    Returns:
      The videos that have no result, and those that have one but lack frames, or have some that the
      decoder made up.
    """
    failed, damaged = [], []
    for video, target in targets.items():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            total = count_frames(video)
            with ProgressReport(total, unit="frame") as progress:
                summary = write(video, target, progress=Pace(progress, total))
        except OSError as error:  # of what is written, such as a full disk
            if error.errno != errno.ENAMETOOLONG:
                raise
            reason = error.strerror
        except Exception as error:  # readers raise about any type
            reason = error if isinstance(error, MemoryError | UserError) else corrupt_image(error)
        else:
            print(f"{shown(video)}: {summary}; the result is {shown(target)}")
            if not summary.is_whole:
                damaged.append(video)
            continue
        failed.append(video)
        print(f"failed: {shown(video)}: {reason}")
    return failed, damaged
