"""GANs by name: generators, with the discriminators that they are trained against.

model = create_model("hit_gan_128")
model, variables = load_pretrained("hit_gan_128", "runs/gan", generator_only=True)
images = model.apply(variables, latents)  # about -1..1

As in `maxvit_jax`, weights come from a run, a directory of `save_pretrained`, or a file under the
names of HiT-GAN's release. `launch.convert` keeps the generator alone.
"""

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from etils import epath
from flax import linen as nn

from common.config import require
from common.registry import Export, Family, Registry
from common.weights.writers import write_npz
from maxvit_jax.models import hit_gan
from maxvit_jax.weights import hit_gan as weights

FAMILIES = {
    "gan": Family(
        hit_gan.GAN,
        hit_gan.VARIANTS,
        weights,
        identity=("widths", "depths", "mixer"),
        smallest_side=attrgetter("image_size"),
        exports={"official": Export(write_npz, ("hit_gan_*",))},
        ends=lambda model: f"images of {model.image_size} pixels",
        input_shape=lambda model: (1, model.latent_dim),
    )
}


def fields_of_weights(name: str, path: epath.PathLike, image_size: int | None) -> Mapping[str, Any]:
    """Returns the fields of what is converted: a generator alone."""
    del name, path, image_size
    return {"generator_only": True}


def stored_info(
    name: str, path: epath.PathLike, model: nn.Module, image_size: int | None = None
) -> dict[str, Any]:
    """Returns what `save_pretrained` stores with a generator: nothing, latents mean nothing."""
    del path
    require(image_size is None, f"--image_size does not apply: {name} makes {model.image_size}")
    return {}


_registry = Registry("maxvit_jax.gans", FAMILIES)
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
