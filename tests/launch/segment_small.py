"""`configs/segment_folder.py` with a model of a few thousand parameters."""

from configs import segment_folder
from tests.heads import micro


def get_config(arg=""):
    config = segment_folder.get_config(arg)
    config.model.backbone_fields = micro.BACKBONES["poolformer_s12"] | {"drop_path_rate": 0.0}
    config.model.head_fields = micro.HEADS["semantic_fpn"]
    return config
