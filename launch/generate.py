"""Generates images: `python -m launch.generate --workdir=runs/gan --output=samples --count=64`.

    python -m launch.generate --model=hit_gan_128 --weights=converted --output=samples --seed=1
    python -m launch.generate --workdir=runs/gan --output=samples --truncation=0.8 --video

A folder is written with a PNG per image, a sheet of the first ones and what they were made with;
with `--video` also `interpolation.mp4`, the way from image to image and back to the first (which
needs PyAV). The folder is complete or not there, and none that is there is touched.

Image 5 of seed 0 is the same, to a grey level, whatever the count and the batch size.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import flags
from etils import epath
from jax import numpy as jnp

from common.config import require
from common.errors import did_you_mean
from common.pictures import captioned_sheet, encoded, save_png
from common.progress import ProgressReport
from common.report import write_json
from common.unfinished import unfinished_folder, write_bytes
from common.video import write_video
from launch.main import compilation_cache, run_main
from launch.tasks import weights_of_flags
from maxvit_jax import gans
from maxvit_jax.generation import Sampler, between, draw_latents

_MODEL = flags.DEFINE_string("model", None, "Model name, such as hit_gan_128.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Weights: a path, an address or a name.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Run to take the model from, instead of these two.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write.")
_COUNT = flags.DEFINE_integer("count", 64, "Images.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Of the latents.", lower_bound=0)
_TRUNCATION = flags.DEFINE_float(
    "truncation", None, "Draw values of latents beyond it again: 0.5 varies less, and looks better."
)
_VIDEO = flags.DEFINE_bool("video", False, "Write the way from image to image as a video too.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Images at once.", lower_bound=1)

_ON_SHEET = 100  # images
_ENDS, _STEPS, _RATE = 8, 30, 30  # images that a video passes, frames to the next, per second
_VIDEO_SIDE = 256  # small images are enlarged to that, about


def main(argv: list[str]) -> None:
    """Generates what the flags say."""
    del argv
    compilation_cache()
    output, truncation = Path(_OUTPUT.value), _TRUNCATION.value
    require(not output.exists(), f"--output: {output} exists already: choose another or remove it")
    output.parent.mkdir(parents=True, exist_ok=True)
    require(truncation is None or truncation > 0, f"--truncation={truncation} must be positive")
    name, weights = _source()
    model, variables = gans.load_pretrained(name, weights, generator_only=True)
    sampler = Sampler(model, variables, batch_size=min(_BATCH_SIZE.value, _COUNT.value))
    bound = np.inf if truncation is None else truncation
    latents = draw_latents(_SEED.value, np.arange(_COUNT.value), model.latent_dim, bound)
    with unfinished_folder(output) as folder:
        if _VIDEO.value:
            write_video(folder / "interpolation.mp4", _frames(sampler, latents), rate=_RATE)
        _write_images(folder, sampler, latents)
        made_with = {"model": name, "weights": str(weights), "seed": _SEED.value}
        write_json(folder / "made_with.json", made_with | {"truncation": truncation})
    print(f"{_COUNT.value} images of {model.image_size} pixels are in {output}")


def _source() -> tuple[str, str]:
    """Name of the model and where its weights are."""
    name, weights = weights_of_flags(_WORKDIR.value, _MODEL.value, _WEIGHTS.value)
    what, hint = _WORKDIR.value or "--model", did_you_mean(name, gans.list_models())
    require(gans.knows(name), f"{what}: {name} generates no images; {hint}")
    return name, weights


def _write_images(folder: epath.Path, sampler: Sampler, latents: jnp.ndarray) -> None:
    shown = []
    with ProgressReport(len(latents), unit="image") as progress:
        for position, image in enumerate(sampler.stream(latents)):
            write_bytes(folder / f"{position:06}.png", encoded(_rgb(image)))
            if position < _ON_SHEET:
                shown.append(_rgb(image))
            progress.advance(position + 1)
    captions = [str(position) for position in range(len(shown))]
    save_png(folder / "sheet.png", captioned_sheet(np.stack(shown), captions))


def _frames(sampler: Sampler, latents: jnp.ndarray) -> Iterator[np.ndarray]:
    """A round trip through the first images, uint8 `[height, width, 3]` each."""
    ends = [*latents[:_ENDS], latents[0]]
    shares = jnp.arange(_STEPS) / _STEPS
    factor = max(1, _VIDEO_SIDE // sampler.model.image_size)
    with ProgressReport((len(ends) - 1) * _STEPS, unit="frame") as progress:
        done = itertools.count(1)
        for first, last in itertools.pairwise(ends):
            for image in sampler.stream(between(first, last, shares)):
                yield _rgb(image).repeat(factor, axis=0).repeat(factor, axis=1)
                progress.advance(next(done))


def _rgb(image: np.ndarray) -> np.ndarray:
    """Gray images get three channels."""
    return np.broadcast_to(image, (*image.shape[:2], 3))


if __name__ == "__main__":
    flags.mark_flag_as_required("output")
    run_main(main)
