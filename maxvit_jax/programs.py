"""Trained models of recognition as programs for other runtimes: see `common.program`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import maxvit_jax
from common.config import require
from common.program import BATCH, Input, Program, multiples_of
from maxvit_jax import detector_info, detectors, gans, segmenter_info, segmenters
from maxvit_jax.data_defaults import data_of_weights, fields_of_weights
from maxvit_jax.detection import find_objects
from maxvit_jax.generation import made_images
from maxvit_jax.inference import class_logits
from maxvit_jax.segmentation import best_classes

_SIZE = Input(
    (BATCH, 2),
    "int32",
    "height and width of what is photo, at the top left of the image; the rest is padding",
)
_OBJECTS = {
    "boxes": "float32 [b, 100, 4]: x1, y1, x2, y2 in pixels of the image; by descending score",
    "scores": "float32 [b, 100]: 0 where there is no object",
    "classes": "int32 [b, 100]: -1 where there is no object",
    "masks": "float32 [b, 100, side, side]: probabilities within the box",
}


def classifier(name: str, path: str, size: tuple[int, int] | None) -> Program:
    """Returns the program of a classifier.

    Args:
      name: of the model.
      path: anything that `load_pretrained` reads.
      size: height and width of images; None: any that suit the model.

    Raises:
      UserError: weights that can't be read, or that have no classifier.
    """
    side = size[0] if size and size[0] == size[1] else None
    model, variables = maxvit_jax.load_pretrained(name, path, **fields_of_weights(name, path, side))
    require(model.num_classes > 0, f"{path} has no classifier: num_classes=0")
    data, names = data_of_weights(name, path, side, model.in_channels)

    def run(variables: Any, inputs: Any) -> dict[str, Any]:
        return {"logits": class_logits(model, data, variables, inputs["image"])}

    return Program(
        run=run,
        variables=variables,
        inputs={"image": image_input(model, data, size)},
        outputs={"logits": "float32 [b, classes]: softmax makes probabilities of them"},
        info={"preprocessing": preprocessing(data, size), **_named(names)},
    )


def segmenter(name: str, path: str, size: tuple[int, int] | None) -> Program:
    """Returns the program of a segmentation model; see `classifier`."""
    model, variables = segmenters.load_pretrained(name, path)
    data, names, palette = segmenter_info.meaning_of_weights(path, model.num_classes)

    def run(variables: Any, inputs: Any) -> dict[str, Any]:
        return best_classes(model, data, variables, inputs["image"], inputs["size"])

    return Program(
        run=run,
        variables=variables,
        inputs={"image": image_input(model, data, size), "size": _SIZE},
        outputs={
            "label_map": "uint8 [b, height, width]: the best class of every pixel",
            "confidence": "float32 [b, height, width]: its probability",
        },
        info={
            "preprocessing": preprocessing(data),
            "palette": palette.tolist(),
            **_named(names),
        },
    )


def detector(name: str, path: str, size: tuple[int, int] | None) -> Program:
    """Returns the program of a detector, of its canvas unless a size is given; see `classifier`."""
    model, variables = detectors.load_pretrained(name, path)
    data, meaning = detector_info.meaning_of_weights(path, model.num_classes)
    sides = size or (data.image_size, data.image_size)

    def run(variables: Any, inputs: Any) -> dict[str, Any]:
        return find_objects(model, data, variables, inputs["image"], inputs["size"])

    masks = getattr(model, "masks", False)
    return Program(
        run=run,
        variables=variables,
        inputs={"image": image_input(model, data, sides), "size": _SIZE},
        outputs={name: text for name, text in _OBJECTS.items() if masks or name != "masks"},
        info={
            "preprocessing": preprocessing(data, size),
            "category_ids": meaning.category_ids,
            **_named(meaning.class_names),
        },
    )


def generator(name: str, path: str) -> Program:
    """Returns the program of a GAN's generator; see `classifier`."""
    model, variables = gans.load_pretrained(name, path, generator_only=True)
    latent = Input((BATCH, model.latent_dim), "float32", "drawn from N(0, 1)")

    def run(variables: Any, inputs: Any) -> dict[str, Any]:
        return {"image": made_images(model, variables, inputs["latent"])}

    shape = f"[b, {model.image_size}, {model.image_size}, {model.in_channels}]"
    return Program(
        run=run,
        variables=variables,
        inputs={"latent": latent},
        outputs={"image": f"uint8 {shape}"},
        info={},
    )


def image_input(model: Any, data: Any, size: tuple[int, int] | None) -> Input:
    """Returns the images that a program takes, which normalises them.

    Args:
      model: a backbone, or a model on one.
      data: has `mean` and `std`.
      size: height and width; None: any that suit the model.
    """
    sides = size or model.only_size or multiples_of(model.smallest_size)
    by = f"mean {list(data.mean)} and deviation {list(data.std)}"
    kind = {1: "gray", 4: "RGB and alpha"}.get(model.in_channels, "RGB")
    meaning = f"{kind}, 0..255; it is normalised inside, by {by}"
    return Input((BATCH, *sides, model.in_channels), "float32", meaning)


def preprocessing(data: Any, size: tuple[int, int] | None = None) -> dict[str, Any]:
    """Returns how photos are prepared but for the normalisation, which programs do themselves.

    Args:
      data: dataclass of it.
      size: height and width instead of its `image_size`.
    """
    fields = {n: v for n, v in dataclasses.asdict(data).items() if n not in ("mean", "std")}
    return fields if size is None else fields | {"image_size": list(size)}


def _named(class_names: list[str] | None) -> Mapping[str, Any]:
    return {"class_names": class_names} if class_names else {}
