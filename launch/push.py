"""Makes of a run a folder for the Hugging Face Hub: weights, config and a model card.

    python -m launch.push --workdir=runs/digits --output=hub/digits --license=apache-2.0
    hf upload owner/digits hub/digits

The folder is what `launch.convert` writes, `README.md` added: how the run was trained, what was
measured, how images are prepared and how the weights are loaded. Of paths on this machine the last
part alone is told. `load_pretrained("hf-hub:owner/digits")` then gets the model back.
"""

import os

from absl import flags
from etils import epath

from common.train.run_directory import read_config, read_labels, read_model_name
from common.weights.io import require_free
from launch.main import run_main
from launch.model_card import model_card
from launch.tasks import task_of

_WORKDIR = flags.DEFINE_string("workdir", None, "Run to publish.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write.")
_LICENSE = flags.DEFINE_string("license", "unknown", "Of the weights, as the Hub calls it.")


def push(workdir: str, output: epath.PathLike, license: str = "unknown") -> None:
    """Writes the folder, complete or not at all.

    Args:
      workdir: the run directory; its latest checkpoint is taken.
      output: folder to make.
      license: of the weights, by the Hub's name for it.

    Raises:
      UserError: there is no such run, or the output is taken.
    """
    output = epath.Path(output)
    require_free(output)
    config, name = read_config(workdir), read_model_name(workdir)
    job = task_of(config)
    fields = job.package.fields_of_weights(name, workdir, None)
    model, variables = job.package.load_pretrained(name, workdir, **fields)
    labels = read_labels(workdir)
    classes = labels if "class_names" in labels else {}  # others are of what a run was measured by
    info = classes | job.package.stored_info(name, workdir, model)
    card = model_card(job, name, model, variables, workdir, info, license)
    scratch = output.parent / f".{output.name}.{os.getpid()}.push"
    try:
        job.package.save_pretrained(scratch, model, variables, task=job.kind, **info)
        (scratch / "README.md").write_text(card)
        if output.exists():
            output.rmdir()  # it is empty
        scratch.rename(output)
    finally:
        if scratch.exists():
            scratch.rmtree()


def main(argv: list[str]) -> None:
    """Writes what the flags say."""
    del argv
    push(_WORKDIR.value, _OUTPUT.value, _LICENSE.value)
    print(f"the folder is {_OUTPUT.value}; to upload it: hf upload <owner>/<name> {_OUTPUT.value}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir", "output"])
    run_main(main)
