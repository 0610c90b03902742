"""ConvFormer fine-tuned on ImageNet-1k at 384, 30 epochs.

    python -m launch.train --config=configs/convformer_finetune.py:variant=convformer_s18 \\
        --config.init.weights=runs/convformer_s18 --workdir=runs/convformer_s18_384

`init.weights` takes a run, or an official or timm file of the same classes; with
`--config.init.reset_head=true` of others, such as those of ImageNet-21k.
Variants: `convformer_s18`, `s36`, `m36`, `b36`; any size: `variant=convformer_s18,size=512`.
Recipe: official release.
Published: 84.4 / 85.4 / 85.6 / 85.7 % top-1 at 384 (official release). Our own: not run yet.
Hardware: expected, not tried: a host with eight or more accelerators; global batch 1024
(`--config.train.accumulate_steps` fits it in less memory).
"""

from ml_collections import ConfigDict

from common.config import parse_arg
from configs.base.imagenet import check_variant
from configs.base.metaformer import ADAMW, finetune

REGULARISATION = {  # stochastic depth, dropout of the head
    "convformer_s18": (0.3, 0.4),
    "convformer_s36": (0.5, 0.4),
    "convformer_m36": (0.8, 0.5),
    "convformer_b36": (0.8, 0.5),
}


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `variant=convformer_s18`, `size=384`, `smoke=true` for three steps."""
    arg = parse_arg(arg, variant="convformer_s18", size=384, smoke=False)
    check_variant(arg.variant, REGULARISATION)
    drop_path_rate, head_dropout = REGULARISATION[arg.variant]
    return finetune(
        arg.variant,
        size=arg.size,
        smoke=arg.smoke,
        optimizer=ADAMW | {"learning_rate": 5e-5},
        drop_path_rate=drop_path_rate,
        head_dropout=head_dropout,
    )
