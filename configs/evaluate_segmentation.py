"""Data to evaluate segmentation weights on that have no run: ADE20K's validation split.

    python -m launch.evaluate --model=poolformer_s12+semantic_fpn \\
        --weights=fpn_poolformer_s12.pth --config.data.root=ADEChallengeData2016 \\
        --output=reports/poolformer_s12 --every_size

Photos are prepared as the weights say, or else as ADE20K's published ones are: shorter side 512,
the longer one at most 2048. `--config.data.source=folder` and other fields name other data.
"""

from ml_collections import ConfigDict

from common.config import parse_arg
from configs.base.complete import complete
from maxvit_jax.tasks.segmentation import SegmentationTask


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config; `model=poolformer_s12+semantic_fpn`."""
    arg = parse_arg(arg, model="poolformer_s12+semantic_fpn")
    config = ConfigDict({"seed": 0, "model": {"name": arg.model}})
    config.data = {"source": "ade20k", "root": "", "resize": (2048, 512), "batch_size": 1}
    config.optimizer = {"learning_rate": 1e-4}
    config.schedule = {"kind": "constant"}
    config.train = {"num_steps": 1}
    return complete(config, SegmentationTask)
