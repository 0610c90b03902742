"""Image restoration with multi-axis gated MLPs (MAXIM).

model = create_model("maxim_s2")
model, variables = load_pretrained("maxim_s2", "checkpoint.npz")
model, variables = load_pretrained("maxim_s2.enhancement_lol")  # as published: docs/weights.md

When weights are loaded, `num_supervision_scales`, `in_channels` and `num_outputs` follow the file
if a model is given by name and nothing else is asked for.
"""

from operator import attrgetter

from common.registry import Export, Family, Registry
from common.version import __version__
from common.weights.writers import write_npz, write_state_dict
from maxim_jax.checkpoints import addresses, fields_of_weights, published_names, stored_info
from maxim_jax.models import maxim
from maxim_jax.weights import maxim as maxim_weights

__all__ = [
    "FAMILIES",
    "__version__",
    "create_model",
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
    "maxim": Family(
        maxim.MAXIM,
        maxim.VARIANTS,
        maxim_weights,
        identity=("features", "depth", "num_stages", "num_groups", "num_bottleneck_blocks"),
        smallest_side=attrgetter("size_multiple"),
        published_names=published_names(),
        addresses=addresses(),
        exports={"official": Export(write_npz), "torch": Export(write_state_dict)},
        ends=lambda model: f"{model.num_supervision_scales} supervision scales",
    ),
}

_registry = Registry("maxim_jax", FAMILIES)
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
