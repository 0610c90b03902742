"""Folders as timm and transformers publish weights: `config.json` beside them."""

from typing import Any, NamedTuple

from etils import epath

from common.errors import UserError
from common.json_files import read_json

CONFIG = "config.json"
SHARDS = "model.safetensors.index.json"
WEIGHTS = ("model.safetensors", SHARDS, "pytorch_model.bin")  # the first that is there counts
_FIELDS = ("architecture", "architectures", "pretrained_cfg")  # which our configs lack


class Hub(NamedTuple):
    """What such a folder holds; its file names are like ours.

    Attributes:
      weights: file of the weights, or index of their parts.
      config: of the model, as the other library writes it.
    """

    weights: epath.Path
    config: dict[str, Any]

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """What timm says of the weights; transformers keeps it."""
        found = self.config.get("pretrained_cfg")
        return found if isinstance(found, dict) else {}

    @property
    def names(self) -> list[str]:
        """Names of the weights, the most telling first: `"maxvit_tiny_tf_384.in1k"`."""
        model, tag = self.config.get("architecture"), self.pretrained_cfg.get("tag")
        if not isinstance(model, str):
            return []
        return [f"{model}.{tag}", model] if tag else [model]

    @property
    def class_names(self) -> Any:
        """Names of the classes in order, as stored; None if there are none."""
        for config in (self.config, self.pretrained_cfg):
            if config.get("label_names"):
                return config["label_names"]
        named = self.config.get("id2label")  # transformers' own; it names unknown ones LABEL_0
        if not isinstance(named, dict) or named.get("0") == "LABEL_0":
            return None
        order = [str(index) for index in range(len(named))]
        return [named[index] for index in order] if named.keys() == set(order) else None


def read_hub(path: epath.PathLike) -> Hub | None:
    """Returns what a folder of another library holds; None for any other path."""
    path = epath.Path(path)
    weights = next((path / n for n in WEIGHTS if (path / n).exists()), None)
    if weights is None or not (path / CONFIG).exists():
        return None
    try:
        config = read_json(path / CONFIG)
    except UserError:  # whoever wants it is told
        return None
    theirs = isinstance(config, dict) and not config.keys().isdisjoint(_FIELDS)
    return Hub(weights, config) if theirs and "format_version" not in config else None
