"""HiT-GAN on ImageNet at 128 pixels, without classes.

    python -m launch.train --config=configs/hit_imagenet128.py --workdir=runs/hit \\
        --config.data.data_dir=/data/tfds

Recipe: HiT-GAN's (https://arxiv.org/abs/2106.07631), from the README and the defaults of its
release: Adam at 1e-4 and betas of 0 and 0.99 for both networks, R1 with a weight of 10 at every
step (its penalty has no half), an average of the weights from step 10 on. Its average begins with
a decay of 0.999; ours warms up to it. Random crops of 0.875 and flips.
Published: FID 30.83 (by Keras's Inception network, 50,000 images against the validation split).
Hardware: a 4x4 TPU v2 [paper].
"""

from ml_collections import ConfigDict

from common.config import parse_arg
from configs.base.generation import imagenet128


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `smoke=true` stops after a few steps."""
    arg = parse_arg(arg, smoke=False)
    return imagenet128("hit_gan_128", arg.smoke)
