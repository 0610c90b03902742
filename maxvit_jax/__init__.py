"""Multi-axis vision models for recognition.

model = create_model("maxvit_tiny", num_classes=10)
model, variables = load_pretrained("maxvit_tiny", "maxvit_tiny_tf_224.safetensors")
model, variables = load_pretrained("maxvit_tiny")  # as published: docs/weights.md

When weights are loaded, a model that is given by name follows the file in what its arrays say and
nobody asks otherwise: `num_classes` (0 where it has no head), `in_channels`, a MaxViT's
`window_size`, a MOAT's `relative_bias`, `stem_widths` of both. With `num_classes=n` other than the
file's, the classifier's last layer starts fresh (from a fixed seed), and with it whatever the file
lacks of the head; with `num_classes=0` the file's head is left out.

Names of single checkpoints, such as timm's `"maxvit_tiny_tf_384.in1k"`, stand for the model with
what those weights need: `maxvit_jax.checkpoints`.
"""

from operator import attrgetter

from common.registry import Export, Family, Registry
from common.version import __version__
from common.weights.writers import write_state_dict, write_tensorflow
from maxvit_jax.checkpoints import addresses, published_names
from maxvit_jax.data_defaults import data_defaults, fields_of_weights, stored_info
from maxvit_jax.models import aewin, maxvit, metaformer, moat
from maxvit_jax.weights import aewin as aewin_weights
from maxvit_jax.weights import maxvit as maxvit_weights
from maxvit_jax.weights import metaformer as metaformer_weights
from maxvit_jax.weights import moat as moat_weights

__all__ = [
    "FAMILIES",
    "__version__",
    "create_model",
    "data_defaults",
    "ends",
    "example_images",
    "export_weights",
    "exports",
    "fields_of_weights",
    "find",
    "inspect",
    "knows",
    "list_models",
    "load_pretrained",
    "load_with_report",
    "locate",
    "model_of",
    "save_pretrained",
    "stored_info",
    "weight_path",
]

FAMILIES = {
    "maxvit": Family(
        maxvit.MaxViT,
        maxvit.VARIANTS,
        maxvit_weights,
        identity=("stem_widths", "widths", "depths"),
        smallest_side=attrgetter("smallest_size"),
        published=maxvit.PUBLISHED,
        published_names=published_names(maxvit.VARIANTS),
        addresses=addresses(maxvit.VARIANTS),
        exports={
            "official": Export(write_tensorflow),
            # There tables are of the window in use; ours may wait for the forward pass.
            "timm": Export(write_state_dict, fields={"bias_window_size": None}),
        },
    ),
    "moat": Family(
        moat.MOAT,
        moat.VARIANTS,
        moat_weights,
        identity=("stem_widths", "widths", "depths"),
        smallest_side=attrgetter("smallest_size"),
        published=moat.PUBLISHED,
        published_names=published_names(moat.VARIANTS),
        addresses=addresses(moat.VARIANTS),
        exports={"official": Export(write_tensorflow)},
    ),
    "aewin": Family(
        aewin.AEWin,
        aewin.VARIANTS,
        aewin_weights,
        identity=("widths", "depths"),
        smallest_side=attrgetter("smallest_size"),
        published=aewin.PUBLISHED,
    ),
    "metaformer": Family(
        metaformer.MetaFormer,
        metaformer.VARIANTS,
        metaformer_weights,
        identity=("widths", "depths", "mixers", "activation"),
        smallest_side=attrgetter("smallest_size"),
        published=metaformer.PUBLISHED,
        published_names=published_names(metaformer.VARIANTS),
        addresses=addresses(metaformer.VARIANTS),
        exports={
            "official": Export(write_state_dict),
            "timm": Export(
                write_state_dict, ("poolformer_*", "poolformerv2_*", "caformer_*", "convformer_*")
            ),
        },
    ),
}

_registry = Registry("maxvit_jax", FAMILIES)
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
