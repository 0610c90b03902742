"""Your own pictures, from pretrained weights: a folder with one folder of images per class.

    python -m launch.train --config=configs/finetune.py:model=maxvit_tiny \\
        --config.data.root=photos --workdir=runs/photos
    python -m launch.train --config=configs/finetune.py:model=caformer_s18,mode=probe,steps=500 \\
        --config.data.root=photos --workdir=runs/probe
    python -m launch.train --config=configs/finetune.py:model=maxvit_tiny,multilabel=true \\
        --config.data.root=tagged --workdir=runs/tagged

`photos/train/<class>` and `photos/val/<class>` are used where they exist, else a tenth of each
class of `photos/<class>` is held out to evaluate on. `tagged` holds images, in folders or not, and
a CSV file with the columns `image` and `labels` (docs/classification.md). Training begins with the
model's published weights, which are fetched; `init.weights` takes anything else that
`load_pretrained` reads, and `pretrained=false` none. Images are prepared as for the published ones.

By default all of the network learns, a block at 0.9 of the rate of the next (`layer_decay`);
`mode=probe` trains the head alone, and leaves batch statistics as they are. The run ends early
after six evaluations without a better one (`--config.eval.patience`), and leaves a report in
`report/`.
Recipe: ours; layer-wise decay after BEiT (arXiv:2106.08254). A GPU, or patience.
"""

import dataclasses
from typing import Any

from ml_collections import ConfigDict

import maxvit_jax
from common.config import parse_arg, require
from common.train.optimizer import layer_decay
from configs.base.complete import complete
from configs.base.imagenet import check_variant
from maxvit_jax.checkpoints import find_checkpoint
from maxvit_jax.data_defaults import data_defaults
from maxvit_jax.tasks.classification import ClassificationTask
from maxvit_jax.tasks.multilabel import MultilabelTask

MODES = ("full", "probe")
_ALL_BUT_HEAD = r"^(?!head/)"


def get_config(arg: str = "") -> ConfigDict:
    """Returns the recipe; `model=maxvit_tiny`, `size=224` or `size=256x192` (height, width),
    `steps=2000`, `mode=full` or `probe`, `layer_decay=0.9`, `multilabel=true` for a CSV file,
    `pretrained=false` to begin without weights."""
    arg = parse_arg(
        arg,
        model="maxvit_tiny",
        size="224",
        steps=2000,
        mode="full",
        layer_decay=0.9,
        multilabel=False,
        pretrained=True,
    )
    check_variant(arg.model, maxvit_jax.list_models(), "model")
    check_variant(arg.mode, MODES, "mode")
    require(0 < arg.layer_decay <= 1, f"layer_decay={arg.layer_decay}: use (0, 1]")
    size, probe = _size(arg.size), arg.mode == "probe"
    config = ConfigDict()
    config.seed = 0
    published = arg.model if find_checkpoint(arg.model) else ""  # of the others: must be named
    config.init = {"weights": published if arg.pretrained else None, "reset_head": True}
    config.model = {"name": arg.model, **_fields(arg.model, size, probe)}
    config.task = {"kind": "multilabel"} if arg.multilabel else {"label_smoothing": 0.1}
    config.data = {
        "root": "",
        "holdout": 0.1,
        **dataclasses.asdict(data_defaults(arg.model, size)),
        "crop": "inception",
        "min_area": 0.3,
        "randaugment_layers": 2,
        "randaugment_magnitude": 7.0,
        "batch_size": 32,
    }
    if not arg.multilabel:
        config.data.update({"source": "folder", "train_split": "train", "eval_split": "val"})
    decay = layer_decay(maxvit_jax.create_model(arg.model).depths, arg.layer_decay)
    config.optimizer = {
        "learning_rate": 1e-3 if probe else 2e-4,
        "weight_decay": 0.05,
        "clip_norm": 1.0,
        "ema_decay": 0.99,
        "groups": ({"pattern": _ALL_BUT_HEAD, "frozen": True},) if probe else decay,
    }
    every = max(arg.steps // 20, 1)
    config.schedule = {"warmup_steps": arg.steps // 10, "decay_steps": arg.steps}
    config.train = {"num_steps": arg.steps, "log_every": 20, "final_report": True}
    config.eval = {"every_steps": every, "patience": 6}
    config.checkpoint = {"every_steps": every}
    return complete(config, MultilabelTask if arg.multilabel else ClassificationTask)


def _size(text: str) -> int | tuple[int, int]:
    sides = text.split("x")
    positive = all(side.isdecimal() and int(side) > 0 for side in sides)
    require(
        positive and len(sides) <= 2,
        f"config argument size={text}: a side in pixels such as 224, or height x width: 256x192",
    )
    first, *second = map(int, sides)
    return (first, *second) if second else first


def _fields(name: str, size: int | tuple[int, int], probe: bool) -> dict[str, Any]:
    """What the images' size and the mode ask of a model."""
    model, fields = maxvit_jax.create_model(name), {}
    if not model.pad_inputs:
        fields["pad_inputs"] = True  # inside the attention: any size will do
    is_maxvit = maxvit_jax.find(name).family == "maxvit"
    if is_maxvit and isinstance(size, int) and size > 224 and size % 32 == 0:
        fields["window_size"] = size // 32  # as officially; tables are resized when they are loaded
    if probe:
        fields["drop_path_rate"] = 0.0
        if not model.frozen_norm:
            fields["frozen_norm"] = True
    return fields
