"""Segmentation models by name: any backbone with any head.

model = create_model("poolformer_s12+semantic_fpn", num_classes=150)
model, variables = load_pretrained("poolformer_s12+semantic_fpn", "fpn_poolformer_s12_ade20k.pth")

As in `maxvit_jax`, weights come from a run, a directory of `save_pretrained`, or a file of other
code: mmsegmentation's names, for the heads that it has.
"""

from operator import attrgetter

import maxvit_jax
from common.registry import BACKBONE_AND_HEAD, Export, Family, Registry
from common.weights.writers import write_state_dict
from maxvit_jax.dense_weights import fields_of_weights as fields_of_weights
from maxvit_jax.models.segmentation import HEADS, SegmentationModel
from maxvit_jax.segmenter_info import stored_info as stored_info
from maxvit_jax.weights import segmenter as weights

FAMILIES = {
    "segmenter": Family(
        SegmentationModel,
        {
            f"{backbone}{BACKBONE_AND_HEAD}{head}": {"backbone_name": backbone, "head_name": head}
            for backbone in maxvit_jax.list_models()
            for head in HEADS
        },
        weights,
        identity=("backbone_name", "head_name"),
        smallest_side=attrgetter("smallest_size"),
        exports={
            "official": Export(
                write_state_dict,
                tuple(f"*{BACKBONE_AND_HEAD}{head}" for head in ("semantic_fpn", "upernet")),
            )
        },
    )
}

_registry = Registry("maxvit_jax.segmenters", FAMILIES, composed=True)
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
