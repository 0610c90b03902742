"""Multi-axis vision models for recognition.

model = create_model("maxvit_tiny", num_classes=10)
model, variables = load_pretrained("maxvit_tiny", "maxvit_tiny_tf_224.safetensors")

When weights are loaded, `num_classes` (and the `relative_bias` of a MOAT) follows the file if a
model is given by name and nothing else is asked for. With `num_classes=n` other than the file's,
the classifier's last layer starts fresh (from a fixed seed); with `num_classes=0` the file's head
is left out.
"""

from operator import attrgetter

from common.registry import Family, Registry
from maxvit_jax.data_defaults import data_defaults as data_defaults
from maxvit_jax.models import aewin, maxvit, metaformer, moat
from maxvit_jax.weights import aewin as aewin_weights
from maxvit_jax.weights import maxvit as maxvit_weights
from maxvit_jax.weights import metaformer as metaformer_weights
from maxvit_jax.weights import moat as moat_weights

FAMILIES = {
    "maxvit": Family(
        maxvit.MaxViT,
        maxvit.VARIANTS,
        maxvit_weights,
        identity=("stem_widths", "widths", "depths"),
        smallest_side=attrgetter("smallest_size"),
        published=maxvit.PUBLISHED,
    ),
    "moat": Family(
        moat.MOAT,
        moat.VARIANTS,
        moat_weights,
        identity=("stem_widths", "widths", "depths"),
        smallest_side=attrgetter("smallest_size"),
        published=moat.PUBLISHED,
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
    ),
}

_registry = Registry("maxvit_jax", FAMILIES)
list_models = _registry.list_models
create_model = _registry.create_model
load_pretrained = _registry.load_pretrained
load_with_report = _registry.load_with_report
save_pretrained = _registry.save_pretrained
export_weights = _registry.export_weights
