"""Makes of a run a folder for the Hugging Face Hub: weights, config and a model card.

    python -m launch.push --workdir=runs/digits --output=hub/digits --license=apache-2.0
    hf upload owner/digits hub/digits

The folder is what `launch.convert` writes, `README.md` added: how the run was trained, what was
measured, how images are prepared and how the weights are loaded. Of paths on this machine the last
part alone is told. `load_pretrained("hf-hub:owner/digits")` then gets the model back.
"""

from absl import flags

from launch.hub_folder import push
from launch.main import run_main

_WORKDIR = flags.DEFINE_string("workdir", None, "Run to publish.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write.")
_LICENSE = flags.DEFINE_string("license", "unknown", "Of the weights, as the Hub calls it.")


def main(argv: list[str]) -> None:
    """Writes what the flags say."""
    del argv
    push(_WORKDIR.value, _OUTPUT.value, _LICENSE.value)
    print(f"the folder is {_OUTPUT.value}; to upload it: hf upload <owner>/<name> {_OUTPUT.value}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir", "output"])
    run_main(main)
