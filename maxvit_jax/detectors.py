"""Detectors by name: any backbone with RetinaNet, Mask R-CNN or its cascade.

model = create_model("poolformer_s12+retinanet", num_classes=80)
model, variables = load_pretrained("poolformer_s12+retinanet", "retinanet_poolformer_s12.pth")

As in `maxvit_jax`, weights come from a run, a directory of `save_pretrained`, or a file of other
code: mmdetection's names.
"""

from operator import attrgetter

import maxvit_jax
from common.registry import BACKBONE_AND_HEAD, Export, Family, Registry
from common.weights.writers import write_state_dict
from maxvit_jax.dense_weights import fields_of_weights as fields_of_weights
from maxvit_jax.detector_info import stored_info as stored_info
from maxvit_jax.models.mask_rcnn import MaskRCNN
from maxvit_jax.models.retinanet import RetinaNet
from maxvit_jax.weights import detector as weights

_CASCADE = {
    "iou_thresholds": (0.5, 0.6, 0.7),
    "stage_weights": (1.0, 0.5, 0.25),
    "class_agnostic": True,
}
_HEADS = {
    "retinanet": {"retinanet": {}},
    "mask_rcnn": {"mask_rcnn": {}, "cascade_mask_rcnn": _CASCADE},
}
_MODELS = {"retinanet": RetinaNet, "mask_rcnn": MaskRCNN}
_IDENTITIES = {"retinanet": ("backbone_name",), "mask_rcnn": ("backbone_name", "iou_thresholds")}


def _family(name: str) -> Family:
    return Family(
        _MODELS[name],
        {
            f"{backbone}{BACKBONE_AND_HEAD}{head}": {"backbone_name": backbone, **fields}
            for backbone in maxvit_jax.list_models()
            for head, fields in _HEADS[name].items()
        },
        weights,
        identity=_IDENTITIES[name],
        smallest_side=attrgetter("smallest_size"),
        exports={"official": Export(write_state_dict, (f"*{BACKBONE_AND_HEAD}{name}",))},
    )


FAMILIES = {name: _family(name) for name in _MODELS}

_registry = Registry("maxvit_jax.detectors", FAMILIES, composed=True)
list_models = _registry.list_models
knows, find = _registry.knows, _registry.find
create_model = _registry.create_model
load_pretrained = _registry.load_pretrained
load_with_report = _registry.load_with_report
inspect = _registry.inspect
locate, model_of, weight_path = _registry.locate, _registry.model_of, _registry.weight_path
save_pretrained = _registry.save_pretrained
exports, export_weights = _registry.exports, _registry.export_weights
ends = _registry.ends
example_images = _registry.example_images
