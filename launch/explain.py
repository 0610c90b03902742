"""Shows what a model does with photos: one, or a folder with all its subfolders.

    python -m launch.explain --workdir=runs/digits --input=photos --output=explained
    python -m launch.explain --model=maxvit_tiny --weights=maxvit_tiny_tf_224.safetensors \\
        --input=photo.jpg --output=explained --method=attention --stage=3 --position=0.4,0.6

Of a classifier: Grad-CAM, the attention of a position per head, attention rollout, or a position's
receptive field. Of a restoration model: what every stage gives, its residual, and the supervised
attention between stages. See docs/explain.md.

The output is a folder: a PNG per photo, and a table (`explanations.csv`), which is called
`explanations.unfinished.csv` until all is done. That is what an interruption leaves, and the same
command goes on with it.

Exit status: 0 all is done, 1 some photos could not be read (they are named), 2 a mistake in the
arguments.
"""

import sys
from pathlib import Path

from absl import flags
from etils import epath

from common.config import require
from common.data.images import corrupt_image
from common.errors import TooLarge, UserError, readable
from common.explanation import Explainer
from common.photo_names import places, relative_paths, shown
from common.photo_table import PhotoTable, photo_table, unfinished
from common.pictures import encoded
from common.progress import Pace, ProgressReport
from common.regular_files import read_file
from common.unfinished import write_bytes
from launch.input_files import input_files
from launch.main import compilation_cache, run_main
from launch.options import JobFlags
from launch.tasks import job_of_flags

TABLE = "explanations.csv"

_MODEL = flags.DEFINE_string("model", None, "Model name, such as caformer_s18.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Weights: a path, an address or a name.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Run to take the model from, instead of these two.")
_INPUT = flags.DEFINE_string("input", None, "Photo, or folder of them.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write.")
_DTYPE = flags.DEFINE_string("dtype", "float32", "Compute type, such as bfloat16.")
_OPTIONS = JobFlags("explain_options")


def main(argv: list[str]) -> None:
    """Shows what the flags say."""
    del argv
    compilation_cache()
    source, output = Path(_INPUT.value), Path(_OUTPUT.value)
    taken = f"--output: {output} exists already: choose another or remove it"
    require(not output.exists() or unfinished(output / TABLE).is_file(), taken)
    require(not (output / TABLE).exists(), taken)
    photos = input_files(source, output)
    root = source if source.is_dir() else source.parent
    place_of = places(relative_paths(root, photos))
    explainer = _explainer()
    with photo_table(output / TABLE) as table:
        todo = [photo for photo in photos if str(photo) not in table.done]
        targets = {photo: output / f"{place_of[photo]}.png" for photo in todo}
        failed = _explain(explainer, targets, table)
    print(
        f"explained {len(todo) - len(failed)} of {len(photos)} photos"
        + f", {len(photos) - len(todo)} were there already" * (len(todo) < len(photos))
        + f", {len(failed)} could not be" * bool(failed)
        + f"; the pictures are in {output}"
    )
    if failed:
        sys.exit(1)


def _explainer() -> Explainer:
    name, weights, job = job_of_flags(_WORKDIR.value, _MODEL.value, _WEIGHTS.value)
    return job.explainer(name, weights, _OPTIONS.options(job), dtype=_DTYPE.value)


def _explain(explainer: Explainer, targets: dict[Path, Path], table: PhotoTable) -> list[Path]:
    """Writes a picture and a row of every photo; returns those that can't be read."""
    failed = []
    with ProgressReport(len(targets), unit="photo") as progress:
        pace = Pace(progress, len(targets))
        for done, (photo, target) in enumerate(targets.items(), start=1):
            try:
                found = explainer(photo.name, read_file(photo))
            except TooLarge as error:
                failed.append(photo)
                progress.log(f"can't explain {shown(photo)}: {error}")
            except UserError:  # of what was asked for, not of this photo
                raise
            except Exception as error:  # readers raise about any type
                failed.append(photo)
                progress.log(f"can't explain {shown(photo)}: {corrupt_image(error)}")
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(epath.Path(target), encoded(found.picture))
                progress.log(f"{shown(photo)}: {readable(found.text)}")
                table.write(photo, [found.row])
            pace(done)
    return failed


if __name__ == "__main__":
    flags.mark_flags_as_required(["input", "output"])
    run_main(main)
