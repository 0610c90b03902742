"""A run of every job, with a model of a few thousand parameters that has learned nothing."""

import json

import jax
import optax
from jax import numpy as jnp

import maxim_jax
import maxvit_jax
from common.train.checkpoint import CheckpointConfig, Checkpoints
from common.train.state import create_state
from maxvit_jax import detectors, gans, segmenters
from tests.golden.weights import make_variables
from tests.heads import micro
from tests.tasks import gans as tiny_gan
from tests.tasks import patches
from tests.train import tiny

SIDE = 8
NORM = {"mean": [127.5] * 3, "std": [60.0] * 3}
_CLASSIFIER = {"stem_widths": [4, 8], "widths": [32], "depths": [1], "window_size": 2}
_RESTORER = {
    **{"features": 4, "depth": 1, "num_stages": 1, "num_groups": 1, "num_bottleneck_blocks": 1},
    **{"num_supervision_scales": 1, "use_global_mlp": False, "use_cross_gating": False},
    **{"high_res_stages": 1, "block_size_hr": [8, 8], "grid_size_hr": [8, 8]},
}
_BACKBONE = {"backbone_fields": micro.BACKBONES["poolformer_s12"]}
_SEGMENTER = {**_BACKBONE, "head_fields": micro.HEADS["semantic_fpn"], "num_classes": 3}
_DETECTOR = {**_BACKBONE, **micro.DETECTORS["retinanet"], "num_classes": 2}


def _dense(kind, name, fields, labels, **data):
    config = {"model": {"name": name, **fields}, "task": {"kind": kind}, "data": NORM | data}
    return config, labels


# Name of the run: config, and what its numbers mean.
RUNS = {
    "digits": (
        tiny.config({"model": {"name": "maxvit_tiny", **_CLASSIFIER, "num_classes": 10}}),
        {},
    ),
    "photos": ({"model": {"name": "maxim_s1", **_RESTORER}, "task": {"kind": "restoration"}}, {}),
    "land": _dense(
        "segmentation",
        "poolformer_s12+semantic_fpn",
        _SEGMENTER,
        {"class_names": ["sea", "<b>sand</b>", "sky"], "palette": [[0, 0, 255]] * 2 + [[9] * 3]},
    ),
    "cups": _dense(
        "detection",
        "poolformer_s12+retinanet",
        _DETECTOR,
        {"class_names": ["cup", "mug"], "category_ids": [3, 9]},
        image_size=64,
        resize=None,
    ),
    "quality": (patches.config(), {}),
    "gan": (tiny_gan.config(), {}),
}


def _package(config):
    kind = config["task"].get("kind")
    kinds = {"restoration": maxim_jax, "segmentation": segmenters, "detection": detectors}
    return (kinds | {"generation": gans}).get(kind, maxvit_jax)


def write_run(folder, name):
    """Writes `RUNS[name]` into `folder / name`, and returns that."""
    config, labels = RUNS[name]
    package, fields = _package(config), dict(config["model"])
    if name == "quality":
        fields["num_classes"] = len(patches.SCORES)
    model = package.create_model(fields.pop("name"), **fields)
    if package is gans:
        inputs = jnp.zeros((1, model.latent_dim))
    elif package is maxvit_jax:
        inputs = jnp.zeros((1, SIDE, SIDE, 3))
    elif package is maxim_jax:
        inputs = maxim_jax.example_images(model)
    else:
        inputs = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    place = folder / name
    place.mkdir(parents=True)
    (place / "config.json").write_text(json.dumps({"train": {}} | config))
    (place / "labels.json").write_text(json.dumps(labels))
    checkpoints = Checkpoints(str(place), CheckpointConfig())
    state = create_state(make_variables(model, inputs), optax.identity(), ema=True)
    checkpoints.save(state, json.loads((place / "config.json").read_text()))
    checkpoints.close()
    return place
