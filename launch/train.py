"""Trains a model: `python -m launch.train --config=configs/maxvit_digits.py --workdir=runs/digits`.

Every field of the config can be overridden, e.g. `--config.optimizer.learning_rate=1e-4`. Starting
on a run directory that is there continues its run.
"""

from absl import flags
from ml_collections import config_flags

from common.train import train
from launch.main import compilation_cache, load_config, run_main
from launch.tasks import make_task

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, with `:k=v,k=v` arguments.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Run directory; a bucket path where supported.")


def main(argv: list[str]) -> None:
    """Trains what the flags say."""
    del argv
    compilation_cache()
    config = load_config(_CONFIG)
    try:
        results = train(make_task(config), config, _WORKDIR.value)
    except KeyboardInterrupt:
        print("interrupted: the same command continues from the last checkpoint")
        raise
    for name, value in results.items():
        print(f"{name}: {value:.4f}")
    print(f"metrics, TensorBoard events, samples and checkpoints are in {_WORKDIR.value}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    run_main(main)
