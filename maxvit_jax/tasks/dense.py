"""What jobs on a backbone under a head share: weights in parts, classes that follow the data."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from common.config import require
from common.data.renumbered import Renumbered
from common.registry import BACKBONE_AND_HEAD
from common.task import InitConfig, Task, Variables
from common.train.labels import match_labels, require_as_many, require_same_labels
from maxvit_jax.dense_weights import (
    Preparation,
    backbone_of_weights,
    holds_head,
    info_of_weights,
)
from maxvit_jax.models.dense import DenseModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseInit(InitConfig):
    """The config's `init` section.

    Attributes:
      reset_head: take only the backbone of weights that have the head too.
    """

    reset_head: bool = False


class DenseTask(Task):
    """A job whose model is a backbone and a head, and whose sources have `class_names`.

    A job writes `make_source` and `stored_data`, beside what every `Task` writes.

    Args:
      config: the whole config; sections `init`, `model`, `task` and `data` are read.
      train_source: to train on instead of what `data` names.
      eval_source: the same for evaluation.

    Attributes, beside those of `Task`:
      preparation: dataclass of how photos are prepared.
      renumbered: sources of its kind, with the classes in another order.

    Raises:
      UserError: a section that doesn't hold together, or data that isn't there.
    """

    preparation: ClassVar[type[Preparation]]
    renumbered: ClassVar[type[Renumbered]]

    model: DenseModel

    def __init__(
        self, config: Mapping[str, Any], *, train_source: Any = None, eval_source: Any = None
    ):
        super().__init__(config)
        self._train_source, self._eval_source = train_source, eval_source
        classes = self.model_config.get("num_classes")
        if classes is None:
            classes = len(self.eval_source().class_names)
        self.model = self.create_model(num_classes=classes)

    @abc.abstractmethod
    def make_source(self, split: str) -> Any:
        """Returns the examples of a split."""

    @classmethod
    @abc.abstractmethod
    def stored_data(cls, path: str, num_classes: int, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns fields of the section `data` that weights know better than its defaults.

        Args:
          path: anything that `load_pretrained` reads.
          num_classes: of the model.
          data: the section.
        """

    def train_source(self) -> Any:
        """Returns what there is to train on."""
        if self._train_source is None:
            self._train_source = self._checked_source(self.data.train_split)
        known = self.labels()["class_names"]
        self._train_source = self.renumbered.as_in(self._train_source, known)
        names = {"class_names": list(self._train_source.class_names)}
        require_same_labels("the evaluation data", self.labels(), names)
        return self._train_source

    def eval_source(self) -> Any:
        """Returns what there is to evaluate on."""
        if self._eval_source is None:
            self._eval_source = self._checked_source(self.data.eval_split)
        return self._eval_source

    def number_classes(self, names: Sequence[str]) -> None:
        """See `common.task.Task`."""
        self._eval_source = self.renumbered(self.eval_source(), names)

    def load(self, model: DenseModel, path: str) -> Variables:
        """See `common.task.Task`: of weights with the same head all, of others the backbone."""
        head = self.model_config["name"].partition(BACKBONE_AND_HEAD)[2]
        if holds_head(path, head) and not self.init_config.reset_head:
            return super().load(model, path)
        return backbone_of_weights(model, path, self.package.example_images(model))

    @classmethod
    def of_weights(
        cls, name: str, path: str, config: Any, asked: Mapping[str, Any] | None, options: Any
    ) -> tuple[Self, Variables]:
        """See `common.task.Task`: on what the config says, or `--config.data...`."""
        held = config.model.name
        require(held == name, f"--config is for {held}, not {name}: add --config.model.name={name}")
        model, variables = cls.package.load_pretrained(name, path)
        config, info = config.to_dict(), info_of_weights(path, cls.preparation)
        data = config["data"]
        if asked is not None:  # the config's fields are defaults: the weights know better
            stored = cls.stored_data(path, model.num_classes, data)
            data = data | {n: v for n, v in stored.items() if f"data.{n}" not in asked}
        fields = {f.name: getattr(model, f.name) for f in dataclasses.fields(model)}
        left_out = ("parent", "num_classes")  # the data says how many, and which
        section = {n: v for n, v in fields.items() if n not in left_out} | {"name": name}
        task = cls({**config, "model": section, "data": data})
        match_labels(task, path, info)
        require_as_many(path, model.num_classes, task.labels())
        return task, variables

    def _checked_source(self, split: str) -> Any:
        source = self.make_source(split)
        found, expected = len(source.class_names), self.model_config.get("num_classes")
        require(
            expected in (None, found),
            f"config.model.num_classes={expected}, but split {split!r} of the data has {found}"
            " classes; set it to that, or leave it out",
        )
        return source
