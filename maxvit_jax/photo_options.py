"""A classifier for photos: what command lines say of it, and reading it."""

import dataclasses
import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import maxvit_jax
from common.data.preprocess import check_image_size
from common.errors import UserError
from common.regular_files import read_file
from common.task import option
from maxvit_jax.data_defaults import DataDefaults, data_of_weights, fields_of_weights
from maxvit_jax.models.backbone import Backbone


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhotoOptions:
    """What every command takes that shows photos to a classifier."""

    class_names: str | None = option(None, "File with one name per class and line.")
    image_size: int | None = option(
        None, "Side in pixels that the model sees, if not its weights'."
    )
    mixers: str | None = option(
        None, "Mixers of a MetaFormer, comma-separated, where its weights name code: pool,my:Mixer"
    )

    def __post_init__(self):
        if self.image_size is not None:
            check_image_size(self.image_size, "--image_size")


class LoadedClassifier(NamedTuple):
    """What `maxvit_jax.inference.Classifier` takes."""

    model: Backbone
    variables: Mapping[str, Any]
    data: DataDefaults
    class_names: list[str] | None


def load_classifier(name: str, path: str, options: PhotoOptions, dtype: str) -> LoadedClassifier:
    """Reads a classifier, how its photos are prepared, and what its classes are called.

    Args:
      name: of the model.
      path: a run, or anything else that `load_pretrained` reads.
      options: of the command line.
      dtype: compute type.

    Raises:
      UserError: weights that can't be read, or are of another model.
    """
    fields = fields_of_weights(name, path, options.image_size) | {"dtype": dtype}
    if options.mixers:
        fields["mixers"] = tuple(options.mixers.split(","))
    model, variables = maxvit_jax.load_pretrained(name, path, **fields)
    data, class_names = data_of_weights(name, path, options.image_size, model.in_channels)
    if options.class_names:
        class_names = _lines(options.class_names)
    return LoadedClassifier(model, variables, data, class_names)


def _lines(path: str) -> list[str]:
    try:
        text = read_file(path).decode("utf-8-sig", errors="replace")  # Windows' mark in front
    except OSError as error:
        raise UserError(f"--class_names: can't use {path}: {error.strerror}") from error
    return [line.rstrip("\n") for line in io.StringIO(text, None)]  # names have other breaks
