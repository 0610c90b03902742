"""Multi-axis vision models for recognition.

model = create_model("maxvit_tiny", num_classes=10)
model, variables = load_pretrained("maxvit_tiny", "maxvit_tiny_tf_224.safetensors")

When weights are loaded, `num_classes` follows the file if a model is given by name and nothing else
is asked for. With `num_classes=n` other than the file's, the classifier's last layer starts fresh
(from a fixed seed); with `num_classes=0` the file's head is left out.
"""

import math

from common.registry import Family, Registry
from maxvit_jax.models import maxvit
from maxvit_jax.weights import maxvit as maxvit_weights


def _smallest_side(model: maxvit.MaxViT) -> int:
    windows = [getattr(model, name, None) or 1 for name in ("window_size", "grid_size")]
    return max(model.feature_strides.values()) * math.lcm(*windows)


FAMILIES = {
    "maxvit": Family(
        maxvit.MaxViT,
        maxvit.VARIANTS,
        maxvit_weights,
        identity=("stem_widths", "widths", "depths"),
        smallest_side=_smallest_side,
        published=maxvit.PUBLISHED,
    ),
}

_registry = Registry("maxvit_jax", FAMILIES)
list_models = _registry.list_models
create_model = _registry.create_model
load_pretrained = _registry.load_pretrained
load_with_report = _registry.load_with_report
save_pretrained = _registry.save_pretrained
export_weights = _registry.export_weights
