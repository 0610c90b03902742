"""What other libraries call the fields of a model, and how they are called here."""

from collections.abc import Iterable

_MAPS = 'every model gives its maps: model.apply(variables, images, method="features")'
_SIZES = (
    "models take any size that their windows fit (window_size=, if there are any), and"
    " data_defaults(name, image_size) says how images are prepared"
)
_WEIGHTS = (
    "load_pretrained(name) makes a model with published weights, load_pretrained(name, path) with"
    " yours"
)
_FIXED = "it is fixed"
# By the other's word: the fields that may be meant, in order, and what to say where a model has
# none of them.
_WORDS = {
    "img_size": (("image_size",), _SIZES),
    "input_size": (("image_size",), _SIZES),
    "image_size": ((), _SIZES),
    "in_chans": (("in_channels",), "images have 3 channels"),
    "num_channels": (("in_channels",), "images have 3 channels"),
    "num_labels": (("num_classes",), "there are no classes"),
    "drop_path": (("drop_path_rate",), "there is no stochastic depth"),
    **dict.fromkeys(
        ("drop_rate", "dropout", "drop", "proj_drop_rate", "attn_drop_rate"),
        (("head_dropout", "dropout_rate"), "there is no dropout, drop_path_rate is what there is"),
    ),
    **dict.fromkeys(("embed_dims", "embed_dim", "dims"), (("widths", "features"), _FIXED)),
    "layers": (("depths", "depth"), _FIXED),
    "num_heads": (("heads", "head_dim"), _FIXED),
    "token_mixers": (("mixers",), "only a MetaFormer has mixers"),
    "act_layer": (("activation",), _FIXED),
    "norm_layer": (("norm",), _FIXED),
    **dict.fromkeys(("use_checkpoint", "grad_checkpointing"), (("remat",), "there is none")),
    **dict.fromkeys(("pretrained", "checkpoint_path", "pretrained_cfg"), ((), _WEIGHTS)),
    **dict.fromkeys(("features_only", "out_indices", "out_features"), ((), _MAPS)),
    "global_pool": ((), f"num_classes=0 gives the mean of the last map, normalised; {_MAPS}"),
    "reset_classifier": (
        (),
        "load_pretrained(name, path, num_classes=n) starts the classifier fresh, num_classes=0"
        " leaves it out",
    ),
}


def translated(word: str, fields: Iterable[str]) -> str | None:
    """Says how another library's word is called here; None for a word that is nobody's.

    Args:
      word: such as timm's `in_chans`.
      fields: of the model.
    """
    if word not in _WORDS:
        return None
    meant, otherwise = _WORDS[word]
    here = next((field for field in meant if field in fields), None)
    return f"it is called {here} here" if here else otherwise
