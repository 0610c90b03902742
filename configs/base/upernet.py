"""The recipe of UPerNet on ADE20K that Swin and later backbones share (mmsegmentation's)."""

from ml_collections import ConfigDict

from configs.base.segmentation import ADE20K, start


def swin_recipe(backbone: str, *, drop_path_rate: float) -> ConfigDict:
    """Returns the recipe but for its length.

    Args:
      backbone: any of `maxvit_jax.list_models()`.
      drop_path_rate: stochastic depth.
    """
    config = start(backbone, "upernet", backbone_fields={"drop_path_rate": drop_path_rate})
    config.init = {"weights": ""}
    config.model.update({"num_classes": 150, "auxiliary_channels": 256})
    config.task = {"normaliser": "all", "auxiliary_weight": 0.4}
    config.data = ADE20K | {"batch_size": 16, "eval_batch_size": 8}
    config.optimizer = {"learning_rate": 6e-5, "weight_decay": 0.01}
    config.schedule = {"kind": "poly", "power": 1.0, "warmup_steps": 1500, "init_value": 6e-11}
    return config
