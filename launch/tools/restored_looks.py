"""What tiles, borders and colours look like after denoising, in numbers: a drawn sky and photos.

    python -m launch.tools.restored_looks --workdir=runs/photos

Prints a table in levels of 255, of results before clipping against the clean images. Noise has a
standard deviation of 25. Needs scikit-image.
"""

from collections.abc import Sequence

import numpy as np
from absl import flags

import maxim_jax
from common.errors import UserError
from common.train.run_directory import read_model_name
from launch.main import compilation_cache, run_main
from maxim_jax.inference import Restorer

_WORKDIR = flags.DEFINE_string("workdir", None, "Run that denoises Gaussian noise.")

TILE, OVERLAP, BORDER, SIGMA = 128, 32, 8, 25 / 255


def main(argv: list[str]) -> None:
    """Prints the table."""
    del argv
    compilation_cache()
    images = _images()
    loaded = maxim_jax.load_pretrained(read_model_name(_WORKDIR.value), _WORKDIR.value)
    whole, padded = Restorer(*loaded), Restorer(*loaded)
    tiles = {n: Restorer(*loaded, tile=TILE, overlap=n) for n in (OVERLAP, 0)}
    padded.expect([image.shape[:2] for image in images.values()])
    columns = {name: {} for name in images}
    for seed, (name, clean) in enumerate(images.items()):
        noise = np.random.default_rng(seed).normal(0, SIGMA, clean.shape)
        noisy, found = np.float32(clean + noise), columns[name]
        result = 255 * whole(noisy)
        error = result - 255 * clean
        shift = error.mean((0, 1))
        found["root mean square error, inside"] = _rms(error[BORDER:-BORDER, BORDER:-BORDER])
        found["at the border, eight pixels"] = _at_border(error)
        found["the same, padded further"] = _at_border(255 * (padded(noisy) - clean))
        found["largest shift of a colour's mean"] = shift[np.abs(shift).argmax()]
        for overlap, restorer in tiles.items():
            change = (255 * restorer(noisy) - result).mean(2)
            at, elsewhere = steps(change, _edges(change.shape[1], overlap))
            found[f"step where tiles of {TILE} begin or end, overlap {overlap}"] = at
            found[f"elsewhere, overlap {overlap}"] = elsewhere
    print("| |", " | ".join(columns), "|")
    print("| --- |", " ".join(["---: |"] * len(columns)))
    for row in next(iter(columns.values())):
        print(f"| {row} |", " | ".join(f"{found[row]:.2f}" for found in columns.values()), "|")


def steps(image: np.ndarray, columns: Sequence[int]) -> tuple[float, float]:
    """Returns the mean step from one column to the next at some columns, and elsewhere.

    Args:
      image: `[height, width]`.
      columns: the first ones after the steps.
    """
    found = np.abs(np.diff(image, axis=1)).mean(0)
    there = np.array(columns, int) - 1
    return float(found[there].mean()), float(np.delete(found, there).mean())


def _edges(width: int, overlap: int) -> list[int]:
    """Columns of an image at which a tile begins or ends; its sides are padded to multiples of 64,
    half on each side."""
    side = -(-(width + width % 2) // 64) * 64
    left = (side - width - width % 2) // 2
    count = 1 + -(-(side - TILE) // (TILE - overlap))
    starts = np.arange(count) * (side - TILE) // max(count - 1, 1) - left
    return sorted({x for x in (*starts, *(starts + TILE)) if 0 < x < width})


def _images() -> dict[str, np.ndarray]:
    try:
        from skimage import data
    except ImportError as error:
        install = "pip install 'multi-axis-jax[photos]'"
        raise UserError(f"this needs scikit-image: {install}") from error
    down = np.linspace(0, 1, 448)[:, None, None]
    sky = (1 - down) * [0.35, 0.55, 0.85] + down * [0.6, 0.75, 0.93]
    photos = {name: getattr(data, name)() for name in ("text", "page", "rocket", "astronaut")}
    colour = {n: p if p.ndim == 3 else np.dstack([p] * 3) for n, p in photos.items()}
    return {"sky": np.repeat(sky, 640, axis=1)} | {n: p / 255 for n, p in colour.items()}


def _at_border(error: np.ndarray) -> float:
    there = np.ones(error.shape[:2], bool)
    there[BORDER:-BORDER, BORDER:-BORDER] = False
    return _rms(error[there])


def _rms(error: np.ndarray) -> float:
    return float(np.sqrt(np.square(error).mean()))


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir"])
    run_main(main)
