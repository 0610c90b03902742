"""What is damaged, and who reads it: as users do, through the functions that commands call."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from PIL import Image

import maxvit_jax
from common.data.images import CorruptImage, decode
from common.data.label_tables import read_label_csv
from common.errors import UserError
from common.train.checkpoint import CheckpointConfig, Checkpoints
from common.train.run_directory import open_run
from common.train.state import TrainState, create_state
from common.weights.mapping import flatten
from launch import run_config
from launch.tasks import job_of_flags, make_task, model_and_weights
from maxvit_jax.data_defaults import data_of_weights
from tests.golden.cases import write_arrays
from tests.golden.weights import make_variables
from tests.train import tiny

NAME = "maxvit_tiny"
FIELDS = {"stem_widths": (8, 8), "widths": (32,), "depths": (1,), "num_classes": 3}


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of input.

    Attributes:
      make: writes an undamaged one into a folder.
      read: reads it there; returns what tells its content, if anything does.
      checked: sums are compared when it is read, so that no damage of bytes goes unnoticed.
      is_path: what is read is a path that users give, which may lead to anything.
    """

    make: Callable[[Path], object]
    read: Callable[[Path], Any]
    checked: bool = False
    is_path: bool = True


def _model() -> tuple[Any, Any]:
    model = maxvit_jax.create_model(NAME, **FIELDS)
    return model, make_variables(model, maxvit_jax.example_images(model))


def _state() -> dict[str, np.ndarray]:
    return maxvit_jax.export_weights(*_model(), "timm")


def _digest(variables: Any) -> str:
    sums = hashlib.sha256()
    for name, array in sorted(flatten(variables).items()):
        sums.update(name.encode() + np.asarray(array).tobytes())
    return sums.hexdigest()


def _file_of(fmt: str) -> Kind:
    def make(folder: Path) -> None:
        write_arrays(folder / "weights", _state(), fmt)

    def read(folder: Path) -> str:
        data_of_weights(NAME, folder / "weights")
        return _digest(maxvit_jax.load_pretrained(NAME, folder / "weights", **FIELDS)[1])

    return Kind(make, read, checked=fmt in ("npz", "pth"))


def _legacy(folder: Path) -> None:
    import torch

    state = {name: torch.from_numpy(array.copy()) for name, array in _state().items()}
    content = {"model": state, "optimizer": {"state": {0: {"step": 1}}, "lr": 0.1}}
    torch.save(content, folder / "weights", _use_new_zipfile_serialization=False)


def _own(folder: Path) -> None:
    data = {"image_size": 64, "mean": [1, 2, 3], "std": [4, 5, 6], "eval_method": "resize"}
    info = {"preprocessing": data, "class_names": ["a", "b", "c"]}
    maxvit_jax.save_pretrained(folder / "own", *_model(), **info)


def _read_sealed(folder: Path) -> str:
    """Whoever damages the arrays on purpose writes their sum too."""
    config, arrays = folder / "own" / "config.json", folder / "own" / "model.safetensors"
    if all(path.is_file() and path.stat().st_size < 1 << 20 for path in (config, arrays)):
        sums = hashlib.sha256(arrays.read_bytes()).hexdigest()
        config.write_text(re.sub(r"\b[0-9a-f]{64}\b", sums, config.read_text(errors="replace")))
    return _read_folder(folder / "own", {})


def _hub(folder: Path) -> None:
    arrays, weight_map = _state(), {}
    for part in range(2):
        held = {name: arrays[name] for name in list(arrays)[part::2]}
        write_arrays(folder / f"part{part}.safetensors", held, "safetensors")
        weight_map |= dict.fromkeys(held, f"part{part}.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    prepared = {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 64, 64], "crop_pct": 0.9}
    prepared |= {"interpolation": "bicubic", "crop_mode": "center", "tag": "in1k"}
    config = {"architecture": "maxvit_tiny_tf_224", "num_classes": 3, "pretrained_cfg": prepared}
    config |= {"label_names": ["a", "b", "c"], "id2label": {"0": "a", "1": "b", "2": "c"}}
    (folder / "config.json").write_text(json.dumps(config))


def _read_folder(folder: Path, fields: dict[str, Any]) -> str:
    name, place = model_and_weights(None, str(folder))
    data_of_weights(name, place)
    return _digest(maxvit_jax.load_pretrained(name, place, **fields)[1])


def _run_config() -> dict[str, Any]:
    return tiny.config({"model.depths": [1], "model.drop_path_rate": 0.0})


def _run_state() -> TrainState:
    fields = {n: v for n, v in _run_config()["model"].items() if n != "name"}
    model = maxvit_jax.create_model(NAME, **fields)
    variables = make_variables(model, maxvit_jax.example_images(model))
    return create_state(jax.tree.map(jax.numpy.asarray, variables), optax.sgd(0.1), ema=False)


def _run(folder: Path) -> None:
    """A run as the trainer leaves it, without training."""
    config, state = _run_config(), _run_state()
    (folder / "run").mkdir()
    with Checkpoints(str(folder / "run"), CheckpointConfig()) as checkpoints:
        for step in (1, 2):
            checkpoints.save(state.replace(step=jax.numpy.int32(step)), config, score=1.0 * step)
    (folder / "run" / "config.json").write_text(json.dumps(config))
    (folder / "run" / "labels.json").write_text(json.dumps({"class_names": ["a", "b", "c"]}))


def _read_run(folder: Path) -> str:
    run = str(folder / "run")
    name, place, _ = job_of_flags(run, None, None)
    data_of_weights(name, place)
    make_task(run_config.get_config(run))
    return _digest(maxvit_jax.load_pretrained(name, place)[1])


def _continue_run(folder: Path) -> str:
    run = str(folder / "run")
    with open_run(run, _run_config()), Checkpoints(run, CheckpointConfig()) as checkpoints:
        state = checkpoints.restore(_run_state())
    if state is None:
        raise UserError("there is no checkpoint")
    return _digest(state.eval_variables)


def _image(fmt: str) -> Kind:
    def make(folder: Path) -> None:
        pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "photo", fmt)

    def read(folder: Path) -> None:
        try:
            decode((folder / "photo").read_bytes())
        except CorruptImage as error:
            raise UserError(" ".join(str(error).split())) from error

    return Kind(make, read, is_path=False)


def _table(folder: Path) -> None:
    lines = ["image,cat,dog", *(f"photo {i}.jpg,{i % 2},{1 - i % 2}" for i in range(20))]
    (folder / "table.csv").write_text("\n".join(lines))


def _read_table(folder: Path) -> None:
    read_label_csv(folder / "table.csv")


KINDS: dict[str, Kind] = {
    **{fmt: _file_of(fmt) for fmt in ("npz", "safetensors", "pth", "tf")},
    "legacy pth": Kind(_legacy, _file_of("pth").read),
    "own directory": Kind(_own, lambda folder: _read_folder(folder / "own", {}), checked=True),
    "own directory, sealed": Kind(_own, _read_sealed),
    "hub folder": Kind(_hub, lambda folder: _read_folder(folder, FIELDS)),
    "run": Kind(_run, _read_run, checked=True),
    "run, continued": Kind(_run, _continue_run, checked=True),
    **{f"{fmt} image": _image(fmt) for fmt in ("jpeg", "png", "tiff", "gif", "webp", "bmp")},
    "table": Kind(_table, _read_table, is_path=False),
}
