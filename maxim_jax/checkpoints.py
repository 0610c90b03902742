"""The published MAXIM checkpoints: which model restores what, and how well it is said to.

The table of the official release, github.com/google-research/maxim. Published values are not ours:
`launch.evaluate` measures them, `maxim_jax.protocols` says how.
"""

import dataclasses
from typing import Any

from common.config import require

BUCKET = "https://storage.googleapis.com/gresearch/maxim/ckpt"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """One row of the release's table.

    Attributes:
      task: what is restored.
      data_set: what it is measured on, by its name in `maxim_jax.protocols`.
      model: name for `maxim_jax.create_model`.
      folder: of the file within the bucket: the task and the set that it was trained on.
      psnr: as published, in dB; a mean of five sets for `rain13k`.
      ssim: as published.
    """

    task: str
    data_set: str
    model: str
    folder: str
    psnr: float
    ssim: float

    @property
    def name(self) -> str:
        """For `maxim_jax.load_pretrained`, such as `"maxim_s3.denoising_sidd"`."""
        return f"{self.model}.{self.task}_{self.data_set}"

    @property
    def url(self) -> str:
        """Where the file is."""
        return f"{BUCKET}/{self.path}"

    @property
    def path(self) -> str:
        """The file's path within the bucket."""
        return f"{self.folder}/checkpoint.npz"


CHECKPOINTS = (
    Checkpoint("denoising", "sidd", "maxim_s3", "Denoising/SIDD", 39.96, 0.960),
    Checkpoint("denoising", "dnd", "maxim_s3", "Denoising/SIDD", 39.84, 0.954),
    Checkpoint("deblurring", "gopro", "maxim_s3", "Deblurring/GoPro", 32.86, 0.961),
    Checkpoint("deblurring", "hide", "maxim_s3", "Deblurring/GoPro", 32.83, 0.956),
    Checkpoint("deblurring", "reds", "maxim_s3", "Deblurring/REDS", 28.93, 0.865),
    Checkpoint("deblurring", "realblur_r", "maxim_s3", "Deblurring/RealBlur_R", 39.45, 0.962),
    Checkpoint("deblurring", "realblur_j", "maxim_s3", "Deblurring/RealBlur_J", 32.84, 0.935),
    Checkpoint("deraining", "rain13k", "maxim_s2", "Deraining/Rain13k", 33.24, 0.933),
    Checkpoint("deraining", "raindrop", "maxim_s2", "Deraining/Raindrop", 31.87, 0.935),
    Checkpoint("dehazing", "reside_indoor", "maxim_s2", "Dehazing/SOTS-Indoor", 38.11, 0.991),
    Checkpoint("dehazing", "reside_outdoor", "maxim_s2", "Dehazing/SOTS-Outdoor", 34.19, 0.985),
    Checkpoint("enhancement", "lol", "maxim_s2", "Enhancement/LOL", 23.43, 0.863),
    Checkpoint("enhancement", "fivek", "maxim_s2", "Enhancement/FiveK", 26.15, 0.945),
)


def published_names() -> dict[str, tuple[str, dict[str, Any]]]:
    """Returns, by the name of every checkpoint: the model's, and fields that differ from it."""
    return {c.name: (c.model, {}) for c in CHECKPOINTS}


def addresses() -> dict[str, str]:
    """Returns where the checkpoints are, by their names."""
    return {c.name: c.url for c in CHECKPOINTS}


def fields_of_weights(name: str, path: Any, image_size: int | None) -> dict[str, Any]:
    """Returns the fields of weights for an image size: there are none, a model takes any.

    Raises:
      UserError: a size is given.
    """
    del path
    require(image_size is None, f"--image_size does not apply: {name} takes any")
    return {}


def stored_info(name: str, path: Any, model: Any, image_size: int | None = None) -> dict[str, Any]:
    """Returns what is stored with weights besides the model's fields: nothing."""
    del name, path, model, image_size
    return {}


_HEADER = ("task", "data set", "name", "file", "published PSNR", "SSIM")


def checkpoint_table() -> str:
    """Returns the table as aligned text, and where the files are."""
    rows = [_HEADER, *_cells()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([*lines, f"Files are under {BUCKET}"])


def checkpoint_markdown() -> str:
    """Returns the table in Markdown."""
    lines = [
        f"| {' | '.join(_HEADER)} |",
        "| --- | --- | --- | --- | ---: | ---: |",
    ]
    for task, data_set, model, path, *values in _cells():
        cells = [task, data_set, f"`{model}`", f"[{path}]({BUCKET}/{path})", *values]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells() -> list[tuple[str, ...]]:
    return [
        (c.task, c.data_set, c.name, c.path, f"{c.psnr:.2f}", f"{c.ssim:.3f}") for c in CHECKPOINTS
    ]
