"""Sources of images with a distribution over scores: what people think of each.

Random access and picklable, as `common.data.sources`; images stay encoded.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from common.data.quality_files import ScoredExample, ScoredFiles
from common.data.score_tables import AVA_SCORES, ScoreColumns, read_ava, read_score_csv
from common.data.table_files import Parts, only_csv
from common.errors import UserError, did_you_mean

KINDS = ("ava", "csv", "photos")
_AVA_TABLE = "AVA.txt"


class QualitySource(Protocol):
    """Random access; `source[i]` raises CorruptImage for an example that can't be read.

    Attributes:
      problems: kind of fault -> what was left out for it.
      summary: what there is and what was left out, in a line.
    """

    problems: Mapping[str, Sequence[str]]
    summary: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> ScoredExample: ...

    def name(self, index: int) -> str:
        """Returns the example's name without reading it."""
        ...


def make_quality_source(
    kind: str,
    *,
    scores: Sequence[float],
    training: bool,
    root: str = "",
    table: str = "",
    images: str = "",
    columns: ScoreColumns | None = None,
    parts: Parts | None = None,
    count: int = 0,
    size: int = 0,
) -> QualitySource:
    """Makes a source from the fields of a configuration.

    Rows and files that can't be used are left out, counted and named: `problems`, and in words
    `summary`.

    Args:
      kind: "ava" (a folder of images and AVA.txt), "csv" (`common.data.score_tables`) or "photos"
        (spoilt crops, which need no `root`).
      scores: what votes are for, increasing; of "ava" 1 to 10.
      training: the part to train on; otherwise that to evaluate on.
      root: folder of the data set.
      table: file of the scores below `root`; "": AVA.txt, or the only CSV file in `root`.
      images: folder of the images below `root`; "": `root`. It is searched with the folders in it.
      columns: of "csv": what they are called.
      parts: how the images of a table are split.
      count: of "photos": crops; 0: 2,000 for training, 300 otherwise.
      size: of "photos": side in pixels; 0: 64.

    Raises:
      UserError: an unknown kind, missing data, or a table of which nothing can be used.
    """
    if kind not in KINDS:
        raise UserError(f"unknown data source {kind!r}; {did_you_mean(kind, KINDS)}")
    if kind == "photos":
        from common.data.quality_photos import SpoiltPhotos

        return SpoiltPhotos("train" if training else "test", scores, count or None, size or 64)
    if not root:
        raise UserError(f"data source {kind!r} needs root, which is empty; set it")
    folder = Path(root).expanduser()
    for place in (folder, folder / images):
        if not place.is_dir():
            raise UserError(f"no folder {str(place)!r}; give the one that holds the images")
    if kind == "ava":
        if tuple(scores) != AVA_SCORES:
            raise UserError("the scores of AVA are 1 to 10: leave config.data.scores out")
        found = read_ava(folder / (table or _AVA_TABLE))
    else:
        file = folder / table if table else only_csv(folder, "scores")
        found = read_score_csv(file, scores, columns or ScoreColumns())
    return ScoredFiles(found, folder / images, scores, parts or Parts(), training)
