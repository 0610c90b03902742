"""MaxViT-GAN on ImageNet at 128 pixels, without classes.

    python -m launch.train --config=configs/maxvit_gan_imagenet128.py --workdir=runs/maxvit_gan \\
        --config.data.data_dir=/data/tfds

Recipe: HiT-GAN's, which MaxViT (https://arxiv.org/abs/2204.01697, section 4.4) compares itself
with; that nothing else was changed is our reading. The generator's widths are ours: 18.3 M
parameters, of 18.6 M in the paper; see `maxvit_jax/models/hit_gan.py`.
Published: FID 30.77, inception score 22.58.
Hardware: not published.
"""

from ml_collections import ConfigDict

from common.config import parse_arg
from configs.base.generation import imagenet128


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `smoke=true` stops after a few steps."""
    arg = parse_arg(arg, smoke=False)
    return imagenet128("maxvit_gan_128", arg.smoke)
