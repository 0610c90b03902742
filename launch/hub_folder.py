"""A run as a folder for the Hugging Face Hub: weights, config, and a model card as its README."""

from etils import epath

from common.train.run_directory import read_config, read_labels, read_model_name
from common.unfinished import unfinished_folder
from common.weights.io import require_free
from launch.model_card import model_card
from launch.tasks import task_of


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
    # Others are of what a run was measured by.
    classes = (
        {n: v for n, v in labels.items() if n != "held_out"} if "class_names" in labels else {}
    )
    info = classes | job.package.stored_info(name, workdir, model)
    card = model_card(job, name, model, variables, workdir, info, license)
    with unfinished_folder(output) as folder:
        job.package.save_pretrained(folder, model, variables, task=job.kind, **info)
        (folder / "README.md").write_text(card)
        if output.exists():
            output.rmdir()  # it is empty
