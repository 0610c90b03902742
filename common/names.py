"""What names stand for: models of a package, and their published weights.

names.find("maxvit_tiny_tf_384.in1k")  # Named("maxvit", "maxvit_tiny", {"window_size": 12, ...})
names.locate("maxvit_tiny_tf_384.in1k")  # ("maxvit_tiny_tf_384.in1k", "hf-hub:timm/...")
"""

import difflib
import fnmatch
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from etils import epath

from common.config import require
from common.errors import UserError, did_you_mean
from common.weights import io
from common.weights.addresses import is_address
from common.weights.hub_folder import read_hub
from common.weights.paths import weight_path

if TYPE_CHECKING:
    from common.registry import Family


class Named(NamedTuple):
    """What a name stands for: a model of a family, and fields that differ from the model's own."""

    family: str
    model: str
    fields: Mapping[str, Any]


class Names:
    """The names of some families of models.

    Args:
      families: by name; the name is stored with weights.
    """

    def __init__(self, families: "Mapping[str, Family]"):
        self._families = families

    def list_models(self, pattern: str = "*") -> list[str]:
        """Returns the names that match a shell pattern, smallest variants first per family.

        A pattern that fits no model is one of published checkpoints, such as `"maxvit_*.in21k"`.
        """
        return fnmatch.filter(self._models(), pattern) or fnmatch.filter(self._tags(), pattern)

    def knows(self, name: str) -> bool:
        """Whether a name stands for a model, or for a published checkpoint of one."""
        return self._lookup(name) is not None

    def find(self, name: str) -> Named:
        """Returns what a name stands for.

        Args:
          name: one of `list_models()`, or a published checkpoint's, with or without the part after
            its dot.

        Raises:
          UserError: an unknown name; the closest ones are listed.
        """
        found = self._lookup(name)
        if found is None:
            tags = difflib.get_close_matches(name, self._tags(), cutoff=0.7)
            hint = did_you_mean(name, [*self._models(), *tags])
            raise UserError(f"unknown model {name!r}: {hint}")
        return found

    def weight_path(self, path: epath.PathLike) -> epath.Path:
        """Returns the path of weights: given as such, an address, or a name of published ones.

        Args:
          path: see `load_pretrained`; what is there under that name on this machine comes first.

        Raises:
          UserError: they can't be had.
        """
        text = str(path)
        place = weight_path(text)
        if is_address(text) or place.exists() or epath.Path(f"{text}.index").exists():
            return place
        address = self._address(text)
        if address is None and self.knows(text):
            self.locate(text)  # says why
        close = difflib.get_close_matches(text, [] if address else self._addresses(), cutoff=0.8)
        hint = f"no published weights have that name: did you mean {' or '.join(map(repr, close))}?"
        require(not close, f"{text} does not exist, and {hint}")
        return weight_path(address) if address else place

    def locate(self, name: str) -> tuple[str, str]:
        """Returns the model and the weights that a name alone stands for.

        Args:
          name: of a model or of published weights; or weights that say their model: a folder as on
            the Hub, here or there, a run, a directory of `save_pretrained`.

        Returns:
          The model's name, and what `load_pretrained` takes as path.

        Raises:
          UserError: an unknown name, or of which nothing or several weights were published.
        """
        if address := self._address(name):
            return name, address
        if self.knows(name):
            model = self.find(name).model
            of_model = [tag for tag in self._tags() if self.find(tag).model == model]
            several = f"several weights of {name} are published, name one: {', '.join(of_model)}"
            require(not of_model, several)
            raise UserError(f"no weights of {name} are published: give the path of some")
        model = self.model_of(name)
        if model is None and not is_address(name):
            self.find(name)  # says what is like it
        require(model is not None, f"{name} does not say which model it is of: give its name too")
        return model, name

    def model_of(self, path: epath.PathLike) -> str | None:
        """Returns the name of the model that weights say they are of, if it is one of these.

        Of a custom model in a directory of ours it is that of its family's first, as all fields are
        stored with it.

        Raises:
          UserError: they can't be had or are damaged.
        """
        path = self.weight_path(path)
        if io.is_own(path):
            config = io.read_config(path)
            family = self._families.get(str(config.get("family")))
            names = [config.get("model"), next(iter(family.variants)) if family else None]
        elif (path / "checkpoints").is_dir():
            from common.train.run_directory import read_model_name

            names = [read_model_name(str(path))]
        else:
            hub = read_hub(path)
            names = hub.names if hub else []
        return next((n for n in names if isinstance(n, str) and self.knows(n)), None)

    def _address(self, name: str) -> str | None:
        """Where the weights of a name are, with or without the part after its dot."""
        addresses = self._addresses()
        if name in addresses or name in self._models():
            return addresses.get(name)
        return next((a for known, a in addresses.items() if known.partition(".")[0] == name), None)

    def _addresses(self) -> dict[str, str]:
        return {n: a for family in self._families.values() for n, a in family.addresses.items()}

    def _models(self) -> list[str]:
        return [name for family in self._families.values() for name in family.variants]

    def _tags(self) -> list[str]:
        return [name for family in self._families.values() for name in family.published_names]

    def _lookup(self, name: str) -> Named | None:
        for key, family in self._families.items():
            if name in family.variants:
                return Named(key, name, {})
            for tag, (model, fields) in family.published_names.items():
                if name in (tag, tag.partition(".")[0]):
                    return Named(key, model, fields)
        return None
