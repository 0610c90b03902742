"""Image restoration with multi-axis gated MLPs (MAXIM).

model = create_model("maxim_s2")
model, variables = load_pretrained("maxim_s2", "checkpoint.npz")

When weights are loaded, `num_supervision_scales` follows the file if a model is given by name and
nothing else is asked for.
"""

from operator import attrgetter

from common.registry import Family, Registry
from maxim_jax.models import maxim
from maxim_jax.weights import maxim as maxim_weights

FAMILIES = {
    "maxim": Family(
        maxim.MAXIM,
        maxim.VARIANTS,
        maxim_weights,
        identity=("features", "depth", "num_stages", "num_groups", "num_bottleneck_blocks"),
        smallest_side=attrgetter("size_multiple"),
    ),
}

_registry = Registry("maxim_jax", FAMILIES)
list_models = _registry.list_models
create_model = _registry.create_model
load_pretrained = _registry.load_pretrained
load_with_report = _registry.load_with_report
save_pretrained = _registry.save_pretrained
export_weights = _registry.export_weights
example_images = _registry.example_images
