"""The contract of backbones: what tasks and heads rely on, so that they know no family."""

import abc
import dataclasses
import math
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

from flax import linen as nn
from jax import Array

from common.config import require
from common.errors import UserError, did_you_mean, nearest_valid
from common.layers.images import check_images


class AttentionLayout(NamedTuple):
    """Where a `WindowAttention` of a model stands, and between which positions it attends.

    Attributes:
      path: of the module, such as `stage_3_block_0/window/attention`.
      kind: of partition, see `common.layers.partition.PARTITIONS`.
      window: positions of a group along height and width; None: those of the whole map.
    """

    path: str
    kind: str
    window: tuple[int, int] | None


class Backbone(nn.Module, abc.ABC):
    """A classifier whose maps on the way are named.

    A family has the fields `widths` and `depths` (channels and blocks per stage), `num_classes`,
    `in_channels` (of the images), `drop_path_rate`, `head_dropout`, `remat` and `dtype`. It writes
    `setup`, which begins with `self.check()` and makes `self.head`, and `maps`; where it does
    otherwise than what stands here, that too.
    """

    @property
    def feature_strides(self) -> dict[str, int]:
        """Stride of every map that `features` returns, by its name, in their order."""
        return {f"stage_{s}": 2 ** (s + 1) for s in range(1, len(self.widths) + 1)}

    @property
    def feature_widths(self) -> dict[str, int]:
        """Channels of every map that `features` returns, by its name, in their order."""
        return {f"stage_{s}": width for s, width in enumerate(self.widths, 1)}

    @abc.abstractmethod
    def maps(self, x: Array, train: bool) -> Iterator[tuple[str, Array]]:
        """Computes maps one after the other; what nobody asks for is not computed.

        Args:
          x: `[batch, height, width, in_channels]` of the compute type, of a valid size.
          train: as for `features`.

        Yields:
          Name and map, in the order of `feature_strides`.
        """

    @property
    def windows(self) -> dict[str, tuple[int, int]]:
        """What height and width of a map must be multiples of, by the map's name."""
        return {}

    def block_names(self, stage: str) -> list[str]:
        """Returns the names of a stage's blocks, the last of which gives its map.

        Raises:
          UserError: there is no such stage.
        """
        depths = {f"stage_{s}": depth for s, depth in enumerate(self.depths, 1)}
        require(stage in depths, f"stage={stage!r}: {did_you_mean(str(stage), depths)}")
        return [f"{stage}_block_{index}" for index in range(depths[stage])]

    def attention_layouts(self, stage: str) -> list[AttentionLayout]:
        """Returns the window attention of a stage's blocks, in the order of computation; empty
        where there is none.

        Raises:
          UserError: there is no such stage.
        """
        self.block_names(stage)
        return []

    @property
    def pad_inputs(self) -> bool:
        """Any height and width fits. A field where a family has the choice."""
        return True

    @property
    def frozen_norm(self) -> bool:
        """Training leaves batch statistics alone. A field where a family has any."""
        return True

    @property
    def only_size(self) -> tuple[int, int] | None:
        """Height and width that the model is made for, if it takes no other."""
        return None

    @property
    def size_multiple(self) -> int:
        """Height and width of images must be multiples of it: 1 where any size fits (`only_size`
        where one alone does)."""
        return math.lcm(*self._side_multiples)

    @property
    def smallest_size(self) -> tuple[int, int]:
        """Height and width of a small image that fits and leaves every map a position."""
        last = max(self.feature_strides.values())
        return self.only_size or tuple(math.lcm(last, side) for side in self._side_multiples)

    def having(self, **wanted: Any) -> Self:
        """Returns the model with fields changed; what a family always does takes no field.

        Args:
          **wanted: such as `pad_inputs=True, frozen_norm=True`.

        Raises:
          UserError: the family does not do that.
        """
        changes = {name: value for name, value in wanted.items() if getattr(self, name) != value}
        fields = {field.name for field in dataclasses.fields(self)}
        for name in changes:
            always = f"{type(self).__name__} always has {name}={getattr(self, name)}"
            require(name in fields, always)
        return self.clone(**changes)

    def check(self) -> None:
        """Raises UserError for fields that make no model; looks at nothing but fields."""
        widths, depths = self.widths, self.depths
        stages = f"widths={widths} and depths={depths}: one positive number per stage is needed"
        require(len(widths) == len(depths) > 0 and min(*widths, *depths) > 0, stages)
        require(self.num_classes >= 0, f"num_classes={self.num_classes} is negative")
        require(self.in_channels > 0, f"in_channels={self.in_channels} must be positive")
        for name in ("drop_path_rate", "head_dropout"):
            rate = getattr(self, name)
            require(0 <= rate < 1, f"{name}={rate}: use [0, 1)")

    def features(
        self, images: Array, train: bool = False, until: str | None = None
    ) -> OrderedDict[str, Array]:
        """Feature maps for dense tasks.

        Args:
          images: `[batch, height, width, in_channels]`, normalised.
          train: stochastic depth and dropout (rng stream `dropout`), and batch statistics, which
            move unless `frozen_norm`.
          until: name of the last map that is needed; all unless given. What comes after is not
            computed, and when the model is initialised so, has no parameters.

        Returns:
          By name, in the order of `feature_strides` and up to `until`, `[batch, height / stride,
          width / stride, channels]` with channels as in `feature_widths`. Of sides that strides
          don't divide see the family.

        Raises:
          UserError: images that don't fit, or no such map.
        """
        names = list(self.feature_strides)
        last = names[-1] if until is None else until
        known = ", ".join(names)
        require(last in names, f"until={until!r}: the maps are {known}")
        self._check_images(images.shape)
        found = OrderedDict()  # unlike a dict, in this order also when it leaves jax.jit
        for name, x in self.maps(images.astype(self.dtype), train):
            found[name] = x
            if name == last:
                break
        return found

    def __call__(self, images: Array, train: bool = False) -> Array:
        """Classifies images.

        Args:
          images: `[batch, height, width, in_channels]`, normalised.
          train: as for `features`.

        Returns:
          float32 logits `[batch, num_classes]`; for `num_classes=0` what the classifier would get,
          `[batch, channels]`.

        Raises:
          UserError: images that don't fit.
        """
        return self.classify(list(self.features(images, train).values())[-1], train)

    def classify(self, x: Array, train: bool) -> Array:
        """Maps the last map to what the model returns."""
        return self.head(x, train)

    @property
    def _side_multiples(self) -> tuple[int, int]:
        """What height and width must be multiples of."""
        if self.pad_inputs:
            return 1, 1
        strides = self.feature_strides
        sides = [[strides[name] * side for side in pair] for name, pair in self.windows.items()]
        return tuple(math.lcm(*(pair[axis] for pair in sides)) for axis in (0, 1))

    def _check_images(self, shape: tuple[int, ...]) -> None:
        check_images(shape, self.in_channels)
        if self.pad_inputs:
            return
        for axis, name in enumerate(("height", "width")):
            size, multiple = shape[1 + axis], self._side_multiples[axis]
            for part, window in self.windows.items():
                stride = self.feature_strides[part]
                if isinstance(size, int):
                    fits = self._map_side(size, part) % window[axis] == 0
                else:  # of a symbolic size multiples alone can be told
                    fits = size % (stride * window[axis]) == 0
                if not fits:
                    raise UserError(
                        f"image {name} {size} does not fit {part}, whose map at stride {stride}"
                        f" takes multiples of {window[axis]}; {nearest_valid(size, multiple)}"
                        " (pad_inputs=True takes any size)"
                    )

    def _map_side(self, size: int, name: str) -> int:
        """Height or width of a map for that of an image: strides that don't divide it round up."""
        return -(-size // self.feature_strides[name])
