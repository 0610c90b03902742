"""MaxViT-B on AVA at 224, 384 or 512: how many people give a photo which score from 1 to 10.

    python -m launch.train --config=configs/maxvit_base_ava.py:size=384 \\
        --config.init.weights=maxvit_base_tf_224.safetensors --config.data.root=AVA \\
        --workdir=runs/maxvit_base_ava

`AVA` holds `AVA.txt` and the images, in folders or not (docs/quality.md). `init.weights` takes a
run, or an official or timm file trained at 224. What is evaluated on decides the numbers:
`--config.data.train_list` and `--config.data.eval_list` name text files of image ids, otherwise a
fifth is held out at random.
Recipe: sizes, dropout and the slower backbone are our reading of MaxViT's and NIMA's papers; all
else: ours.
Published: no number at hand. Our own: not run yet.
Hardware: expected, not tried: several accelerators; global batch 128.
"""

from ml_collections import ConfigDict

from configs.base import quality


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `size=224`, 384 or 512, `smoke=true` stops after three small steps."""
    return quality.ava("maxvit_base", arg)
