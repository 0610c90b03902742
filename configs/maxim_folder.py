"""MAXIM on your own pairs: a folder of degraded photos, and one of the same as they should be.

    python -m launch.train --config=configs/maxim_folder.py --config.data.input_root=photos/input \\
        --config.data.target_root=photos/target --workdir=runs/mine
    python -m launch.train --config=configs/maxim_folder.py:variant=maxim_s3 \\
        --config.data.input_root=photos/input --config.data.target_root=photos/target \\
        --config.init.weights=checkpoint.npz --workdir=runs/mine

The second starts from published weights. Pairs have equal names; a tenth of them is held out for
evaluation.
`--config.train.num_epochs=30` gives the length in passes over your photos; the schedule follows.
Recipe: ours, after the paper; a GPU, or patience.
"""

from ml_collections import ConfigDict

from common.config import parse_arg
from configs.base.complete import complete
from maxim_jax.tasks.restoration import RestorationTask


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `variant=maxim_s2`, `size=256`, `steps=10000`."""
    arg = parse_arg(arg, variant="maxim_s2", size=256, steps=10_000)
    config = ConfigDict()
    config.seed = 0
    config.model = {"name": arg.variant, "remat": True}
    config.task = {"mixup_probability": 0.5}
    config.data = {
        "source": "pairs",
        "input_root": "",
        "target_root": "",
        "holdout": 0.1,
        "crop_size": arg.size,
        "eval_crop_size": arg.size,
        "batch_size": 8,
        "num_workers": 4,
    }
    config.optimizer = {"learning_rate": 2e-4, "clip_norm": 1.0, "ema_decay": 0.999}
    config.schedule = {
        "warmup_steps": arg.steps // 20,
        "decay_steps": arg.steps,
        "end_value": 1e-7,
    }
    config.train = {"num_steps": arg.steps, "log_every": 20}
    config.eval = {"every_steps": 500}
    config.checkpoint = {"every_steps": 500}
    return complete(config, RestorationTask)
