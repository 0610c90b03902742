"""The published recipes of MAXIM (arXiv:2201.02973); each recipe file picks variant and data set.

The training code was never released. Sources: `[paper]` marks values of the paper, quoted and not
checked again, `[weak]` those that could not be traced to it (take them as a start), `[ours]` those
that nobody gives. Loss and its weights: [paper], but for the transform's normalisation [ours].
"""

from ml_collections import ConfigDict

from common.config import parse_arg
from configs.base.complete import complete
from maxim_jax.tasks.restoration import RestorationTask


def published(
    name: str,
    arg: str,
    *,
    layout: str,
    root: str,
    steps: int,
    finetune: bool = False,
) -> ConfigDict:
    """Adam on random crops of 256, cosine decay, mixup.

    Args:
      name: of the model.
      arg: `smoke=true` for three steps at batch 2 and size 64 on the same data.
      layout: of the data set, one of `common.data.pair_layouts.LAYOUTS`.
      root: its folder.
      steps: of the run.
      finetune: start from weights that `--config.init.weights` names.
    """
    arg = parse_arg(arg, smoke=False)
    size = 64 if arg.smoke else 256  # [paper]
    config = ConfigDict()
    config.seed = 0
    config.init = {"weights": "" if finetune and not arg.smoke else None}
    config.model = {"name": name, "dtype": "bfloat16", "remat": True}  # [ours] it has to fit
    config.task = {
        "charbonnier_eps": 1e-3,
        "frequency_weight": 0.1,
        "frequency_norm": "backward",
        "mixup_probability": 0.5,  # [paper]
        "mixup_alpha": 1.2,  # [weak] Restormer's
    }
    config.data = {
        "source": "pairs",
        "layout": layout,
        "root": root,
        "eval_split": "test",
        "crop_size": size,
        "eval_crop_size": size,  # [ours] central; whole photos are for launch.evaluate
        "flip": True,  # [paper]
        "rotate": True,  # [paper]
        "batch_size": 2 if arg.smoke else 256,  # [weak]
        "num_workers": 0 if arg.smoke else 16,
    }
    if not arg.smoke:
        config.data.eval_batch_size = 32
    config.optimizer = {"learning_rate": 2e-4, "b1": 0.9, "b2": 0.999}  # [paper]; betas [weak]
    config.schedule = {"kind": "cosine", "decay_steps": steps, "end_value": 1e-7}  # [paper]
    config.train = {"num_steps": 3 if arg.smoke else steps, "log_every": 1 if arg.smoke else 100}
    config.eval = {"every_steps": 3 if arg.smoke else 5000}
    config.checkpoint = {"every_steps": 3 if arg.smoke else 1000, "keep_latest": 2, "keep_best": 1}
    return complete(config, RestorationTask)
