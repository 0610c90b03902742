"""The published classifiers, one row per checkpoint: where it is, which images it is for, and more.

How images are prepared is a property of weights. A model of one name has several: MaxViT-B's of
ImageNet-1k see images otherwise than those that began on ImageNet-21k.

    find_checkpoint("maxvit_base")                                 # the first row of the model
    find_checkpoint("maxvit_base", 384)                            # fine-tuned at that size
    find_checkpoint("maxvit_base_tf_384.in21k_ft_in1k")            # by timm's name
    find_checkpoint("maxvit_base", found={"num_classes": 21843})   # as a file says
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from maxvit_jax.models import maxvit, metaformer, moat


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One row.

    Attributes:
      model: name of the model.
      image_size: side in pixels of the images that it is for.
      data: what it was trained on, `"in1k"`, `"in21k"`, `"in21k_ft_in1k"`, ...: ImageNet-1k,
        ImageNet-21k (MetaFormer and MOAT call it 22k), and the one fine-tuned on the other.
      name: timm's; "" where timm has none, or prepares images in another way.
      half_range: images are mapped to -1..1; otherwise by ImageNet's mean and deviation.
      eval_method: see `maxvit_jax.data_defaults.DataDefaults`.
      eval_crop_fraction: of `"standard"`.
      interpolation: of `"standard"` and `"resize"`.
      num_classes: of the classifier.
      fields: of the model, that differ from those of its name.
      top1: on ImageNet-1k in per cent as published, where it is known.
      release: address of the authors' file.
      license: as the repository that publishes the weights says.
    """

    model: str
    image_size: int
    data: str
    name: str = ""
    half_range: bool = False
    eval_method: str = "standard"
    eval_crop_fraction: float = 1.0
    interpolation: str = "bicubic"
    num_classes: int = 1000
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    top1: float | None = None
    release: str = ""
    license: str = "Apache-2.0"

    @property
    def release_name(self) -> str:
        """Ours of the authors' file, such as `"maxvit_tiny.official_in1k_384"`."""
        ending = "" if self.fields.get("relative_bias", True) else "_without_bias"
        return f"{self.model}.official_{self.data}_{self.image_size}{ending}"

    @property
    def addresses(self) -> dict[str, str]:
        """Where the weights are, by the names that they have: the authors' and timm's."""
        named = {self.release_name: self.release, self.name: f"hf-hub:timm/{self.name}"}
        return {name: address for name, address in named.items() if name and address}


# ---------------------------------------------------------------- MaxViT

# Top-1 by size of what began on ImageNet-21k. The extra-large's is known from the paper alone.
_MAXVIT_21K = {
    "maxvit_base": {384: 88.24, 512: 88.38},
    "maxvit_large": {384: 88.32, 512: 88.46},
    "maxvit_xlarge": {384: None, 512: None},
}
_MAXVIT_FOLDERS = {"in1k": "i1k", "in21k": "i21k_pt", "in21k_ft_in1k": "i21k_i1k"}


def _maxvit(model: str, size: int, data: str, top1: float | None) -> Iterator[Checkpoint]:
    """One checkpoint twice: as the release evaluates it, and as timm does."""
    row = Checkpoint(
        model=model,
        image_size=size,
        data=data,
        half_range=size != 224 or data != "in1k",
        eval_method="official",
        eval_crop_fraction=0.875,  # not used by it; what configs have
        num_classes=21843 if data == "in21k" else 1000,
        fields={} if size == 224 else {"window_size": size // 32},
        top1=top1,
    )
    squashed = {"eval_method": "resize", "eval_crop_fraction": 1.0}
    timm = squashed if size != 224 else {"eval_crop_fraction": 0.95}
    name, folder = f"{model}_tf_{size}.{data}", f"{model.replace('_', '')}/{_MAXVIT_FOLDERS[data]}"
    yield dataclasses.replace(row, release=f"gs://gresearch/maxvit/ckpts/{folder}/{size}")
    yield dataclasses.replace(row, name=name, **{"eval_method": "standard"} | timm)


def _all_maxvit() -> Iterator[Checkpoint]:
    for model, sizes in maxvit.PUBLISHED.items():
        for size, top1 in sizes.items():
            yield from _maxvit(model, size, "in1k", top1)
    for model, sizes in _MAXVIT_21K.items():
        yield from _maxvit(model, 224, "in21k", None)
        for size, top1 in sizes.items():
            yield from _maxvit(model, size, "in21k_ft_in1k", top1)


# ---------------------------------------------------------------- MOAT

_MOAT_BUCKET = "https://storage.googleapis.com/gresearch/tf-deeplab/checkpoint"
_FROM_22K = ("moat_2", "moat_3", "moat_4")  # "opt 2" of the release, -1..1
_MOAT_WITHOUT_BIAS = {
    **{"moat_0": 83.0, "moat_1": 84.1, "moat_2": 87.2, "moat_3": 88.2, "moat_4": 88.9},
    **{"tiny_moat_0": 76.0, "tiny_moat_1": 78.9, "tiny_moat_2": 81.3, "tiny_moat_3": 83.0},
}


def _moat(model: str, size: int, top1: float) -> Iterator[Checkpoint]:
    """With position bias and without; the method is ours, the release evaluates no classifier."""
    large = model in _FROM_22K
    data = "22k_and_1k" if large else "1k"
    file = f"{_MOAT_BUCKET}/{model.replace('moat_', 'moat')}_imagenet_{data}_{size}"
    row = Checkpoint(
        model=model,
        image_size=size,
        data="in22k_ft_in1k" if large else "in1k",
        half_range=large,
        eval_method="official",
        eval_crop_fraction=0.875,  # not used by it; what configs have
        top1=top1,
    )
    yield dataclasses.replace(row, release=f"{file}_w_position_embedding.tar.gz")
    yield dataclasses.replace(
        row,
        fields={"relative_bias": False},
        top1=_MOAT_WITHOUT_BIAS[model],
        release=f"{file}_wo_position_embedding.tar.gz",
    )


def _all_moat() -> Iterator[Checkpoint]:
    for model, sizes in moat.PUBLISHED.items():
        for size, top1 in sizes.items():
            yield from _moat(model, size, top1)


# ---------------------------------------------------------------- MetaFormer

# Models of the first paper that see 95 % of an image; its others see 90 %, the second's all of it.
_WIDE_CROP = (
    *("poolformer_m36", "poolformer_m48"),
    *("metaformer_pppa_s12_224", "metaformer_ppaa_s12_224", "metaformer_ppff_s12_224"),
)
_FIRST_RELEASE = "https://github.com/sail-sg/poolformer/releases/download/v1.0"
_SECOND_RELEASE = "https://huggingface.co/sail/dl/resolve/main"
_IN_TIMM = ("poolformer_", "poolformerv2_", "convformer_", "caformer_")
# Top-1 by size of what began on ImageNet-22k.
_METAFORMER_22K = {
    "caformer_s18": {224: 84.1, 384: 85.4},
    "caformer_s36": {224: 85.8, 384: 86.9},
    "caformer_m36": {224: 86.6, 384: 87.5},
    "caformer_b36": {224: 87.4, 384: 88.1},
    "convformer_s18": {224: 83.7, 384: 85.0},
    "convformer_s36": {224: 85.4, 384: 86.4},
    "convformer_m36": {224: 86.1, 384: 86.9},
    "convformer_b36": {224: 87.0, 384: 87.6},
}


def _metaformer(model: str, size: int, data: str, top1: float | None) -> Checkpoint:
    """timm prepares images as the releases do, so that one row serves both."""
    first = model.startswith(("poolformer_", "metaformer_"))
    crop = 0.95 if model in _WIDE_CROP else 0.9
    at = "" if size == 224 else f"_{size}"
    kind = {"in1k": "", "in22k": "_in21k", "in22k_ft_in1k": "_in21ft1k"}[data]  # as files have it
    later = f"{_SECOND_RELEASE}/{model.partition('_')[0]}/{model}{at}{kind}.pth"
    return Checkpoint(
        model=model,
        image_size=size,
        data=data,
        name=f"{model}.sail_{data}{at}" if model.startswith(_IN_TIMM) else "",
        eval_crop_fraction=crop if first else 1.0,
        num_classes=21841 if data == "in22k" else 1000,
        top1=top1,
        release=f"{_FIRST_RELEASE}/{model}.pth.tar" if first else later,
    )


def _all_metaformer() -> Iterator[Checkpoint]:
    for model, sizes in metaformer.PUBLISHED.items():
        for size, top1 in sizes.items():
            yield _metaformer(model, size, "in1k", top1)
    for model, sizes in _METAFORMER_22K.items():
        for size, top1 in sizes.items():
            yield _metaformer(model, size, "in22k_ft_in1k", top1)
        yield _metaformer(model, 224, "in22k", None)


# Of a model's rows, the first is meant where nothing else is said.
CHECKPOINTS = (*_all_maxvit(), *_all_moat(), *_all_metaformer())
_OF_22K = range(21841, 21844)  # heads differ by classes without images


def find_checkpoint(
    name: str, image_size: int | None = None, found: Mapping[str, Any] | None = None
) -> Checkpoint | None:
    """Returns the row that fits best what is known about some weights.

    Args:
      name: of a model, or of the weights (timm's with or without the part after the dot).
      image_size: side in pixels, where one is asked for.
      found: fields that a file says, such as `num_classes` or `window_size`: they weigh more.

    Returns:
      The first of the rows that fit best; None for a name of which nothing was published.
    """
    named = [row for row in CHECKPOINTS if name in (*row.addresses, row.name.partition(".")[0])]
    rows = [row for row in CHECKPOINTS if row.model == name] or named[:1]
    found = found or {}

    def fit(row: Checkpoint) -> tuple[bool, int, bool]:
        said = [found[field] == value for field, value in row.fields.items() if field in found]
        return (
            _classes(row.num_classes) == _classes(found.get("num_classes")),
            sum(1 if same else -1 for same in said),
            row.image_size == image_size,
        )

    return max(rows, key=fit, default=None)


def published_names(models: Mapping[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Returns, by the names of every checkpoint of some models: the model's, and its fields."""
    return {
        name: (row.model, {**row.fields, "num_classes": row.num_classes})
        for row in CHECKPOINTS
        if row.model in models
        for name in row.addresses
    }


def addresses(models: Mapping[str, Any]) -> dict[str, str]:
    """Returns where the checkpoints of some models are, by name.

    A model's name means timm's copy of its first, which needs neither TensorFlow nor PyTorch to be
    read; where timm has none, the authors' file.
    """
    rows = [row for row in CHECKPOINTS if row.model in models]
    first = {row.model: row.release for row in reversed(rows) if row.release}
    first |= {row.model: row.addresses[row.name] for row in reversed(rows) if row.name}
    return first | {name: address for row in rows for name, address in row.addresses.items()}


_HEADER = ("name", "data", "pixels", "classes", "images", "top-1", "licence")


def checkpoint_markdown() -> str:
    """Returns a table of all weights by name, in Markdown."""
    lines = [f"| {' | '.join(_HEADER)} |", "| --- | --- | ---: | ---: | --- | ---: | --- |"]
    for row in CHECKPOINTS:
        method = row.eval_method
        if method == "standard":
            method = f"{row.eval_crop_fraction:g} of the middle"
        values = "-1..1" if row.half_range else "ImageNet's mean"
        said = [row.data, row.image_size, f"{row.num_classes:,}", f"{method}, {values}"]
        said += [f"{row.top1} %" if row.top1 else "-", row.license]
        for name, address in row.addresses.items():
            link = f"[`{name}`]({_page(address)})"
            lines.append(f"| {' | '.join(map(str, (link, *said)))} |")
    return "\n".join(lines)


def _page(address: str) -> str:
    """What a browser shows of an address."""
    console = "https://console.cloud.google.com/storage/browser/"
    hub = "https://huggingface.co/"
    return address.replace("gs://", console).replace("hf-hub:", hub)


def _classes(number: int | None) -> int | None:
    return _OF_22K.start if number in _OF_22K else number
