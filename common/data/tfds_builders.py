"""Opening data sets that tfds has prepared on disk; nothing is ever downloaded."""

import abc
from collections.abc import Sequence
from typing import Any

from common.errors import UserError, did_you_mean


def tfds_builder(name: str, data_dir: str | None) -> Any:
    """Returns a builder whose data is on disk with random access.

    Args:
      name: as in tfds: "cifar10", "imagenet2012:5.1.0", "my_set/config".
      data_dir: where data sets lie; None is tfds's default.

    Raises:
      UserError: an unknown name, or a data set that isn't prepared or has no random access; the
        message says how to prepare it.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        hint = did_you_mean(name, tfds.list_builders(with_community_datasets=False))
        raise UserError(f"tfds knows no data set {name!r}; {hint}") from error
    except (ValueError, AssertionError) as error:
        raise UserError(f"tfds can't open {name!r}: {' '.join(str(error).split())}") from error
    home = data_dir or tfds.core.constants.DATA_DIR
    prepare = (
        f"tfds.builder({name!r}, data_dir={str(home)!r}, file_format='array_record')"
        ".download_and_prepare()"
    )
    tensorflow = "with TensorFlow there (pip install 'multi-axis-jax[tensorflow]')"
    command = f'{tensorflow}, run: python -c "import tensorflow_datasets as tfds; {prepare}"'
    if not builder.is_prepared():
        manual = ""
        if builder.name == "imagenet2012":  # its licence forbids automatic download
            archives = "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar"
            manual = f"put {archives} in {home}/downloads/manual, then "
        raise UserError(f"tfds data set {name!r} is not in {home}; {manual}{command}")
    formats = sorted(file_format.value for file_format in builder.info.available_file_formats())
    if "array_record" not in formats:
        raise UserError(
            f"tfds data set {name!r} in {builder.data_dir} is stored as {'/'.join(formats)}, which "
            f"has no random access; move it away or choose another data_dir; then, {command}"
        )
    return builder


class TfdsRecords(abc.ABC):
    """A split of a data set as a source, opened again wherever it is pickled to.

    A source writes `_open`, which sets `_records`.

    Args:
      name: as in tfds: "cifar10", "imagenet2012:5.1.0", "my_set/config".
      split: "train", "test[:50%]", ...
      data_dir: where data sets lie; None is tfds's default.

    Raises:
      UserError: as `tfds_builder` and `encoded_records`, or features that are not those of the job.
    """

    _records: Sequence[Any]

    def __init__(self, name: str, split: str = "train", data_dir: str | None = None):
        self._args = (name, split, data_dir)
        self._open()

    @abc.abstractmethod
    def _open(self) -> None:
        """Opens what `_args` say."""

    def __getstate__(self) -> dict[str, Any]:
        return {"_args": self._args}  # open files don't travel

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def __len__(self) -> int:
        return len(self._records)


def encoded_records(builder: Any, name: str, split: str, image_key: str) -> Sequence[Any]:
    """Returns the records of a split, images as their files' content.

    Args:
      builder: of `tfds_builder`.
      name: of the data set, for messages.
      split: as in tfds.
      image_key: feature that is the image.

    Raises:
      UserError: there is no such split.
    """
    import tensorflow_datasets as tfds

    try:
        decoders = {image_key: tfds.decode.SkipDecoding()}
        records = builder.as_data_source(split, decoders=decoders)
        len(records)
    except (ValueError, KeyError) as error:
        hint = did_you_mean(split, builder.info.splits)
        raise UserError(f"no split {split!r} in tfds data set {name!r}; {hint}") from error
    return records
