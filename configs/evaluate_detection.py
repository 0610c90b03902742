"""Data to evaluate detectors' weights on that have no run: COCO's validation images.

    python -m launch.evaluate --model=poolformer_s12+retinanet \\
        --weights=retinanet_poolformer_s12.pth --config.data.root=coco \\
        --output=reports/poolformer_s12

Photos are prepared as the weights say, or else as mmdetection's published ones are: shorter side
800, the longer one at most 1333. `--config.data.source=voc` and other fields name other data.
"""

from ml_collections import ConfigDict

from common.config import parse_arg
from configs.base.complete import complete
from maxvit_jax.tasks.detection import DetectionTask


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config; `model=poolformer_s12+retinanet`."""
    arg = parse_arg(arg, model="poolformer_s12+retinanet")
    config = ConfigDict({"seed": 0, "model": {"name": arg.model}})
    config.data = {
        "source": "coco",
        "root": "",
        "resize": (1333, 800),
        "image_size": 1344,
        "short_side": 800,
        "batch_size": 1,
    }
    config.optimizer = {"learning_rate": 1e-4}
    config.schedule = {"kind": "constant"}
    config.train = {"num_steps": 1}
    return complete(config, DetectionTask)
