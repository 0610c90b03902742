"""CAFormer fine-tuned on ImageNet-1k at 384, 30 epochs.

    python -m launch.train --config=configs/caformer_finetune.py:variant=caformer_s18 \\
        --config.init.weights=runs/caformer_s18 --workdir=runs/caformer_s18_384

`init.weights` takes a run, or an official or timm file of the same classes; with
`--config.init.reset_head=true` of others, such as those of ImageNet-21k.
Variants: `caformer_s18`, `s36`, `m36`, `b36`; any size: `variant=caformer_s18,size=512`.
Recipe: official release.
Published: 85.0 / 85.7 / 86.2 / 86.4 % top-1 at 384 (official release). Our own: not run yet.
Hardware: expected, not tried: a host with eight or more accelerators; global batch 1024
(`--config.train.accumulate_steps` fits it in less memory).
"""

from ml_collections import ConfigDict

from common.config import parse_arg
from configs.base.imagenet import check_variant
from configs.base.metaformer import LAMB, finetune

REGULARISATION = {  # stochastic depth, dropout of the head
    "caformer_s18": (0.3, 0.4),
    "caformer_s36": (0.5, 0.4),
    "caformer_m36": (0.7, 0.4),
    "caformer_b36": (0.8, 0.5),
}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `variant=caformer_s18`, `size=384`, `smoke=true` for three steps."""
    arg = parse_arg(arg, variant="caformer_s18", size=384, smoke=False)
    check_variant(arg.variant, REGULARISATION)
    drop_path_rate, head_dropout = REGULARISATION[arg.variant]
    return finetune(
        arg.variant,
        size=arg.size,
        smoke=arg.smoke,
        optimizer=LAMB | {"learning_rate": 1e-4},
        drop_path_rate=drop_path_rate,
        head_dropout=head_dropout,
    )
