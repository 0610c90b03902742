"""`configs/detect_folder.py` with a model of a few thousand parameters."""

from configs import detect_folder
from tests.heads import micro


def get_config(arg=""):
    config = detect_folder.get_config(arg)
    config.model.backbone_fields = micro.BACKBONES["poolformer_s12"] | {"drop_path_rate": 0.0}
    fields = micro.DETECTORS["retinanet"] | {"extra_levels": 0, "anchor_size": 2.0}
    for name, value in fields.items():
        config.model[name] = value
    config.data.update(scale=(1.0, 1.0), max_objects=4)
    return config
