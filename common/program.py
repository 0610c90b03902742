"""A trained model as a program for other runtimes: what goes in, what comes out, what it means."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax import Array, export

BATCH = "b"  # the leading axis of every input


@dataclasses.dataclass(frozen=True)
class Input:
    """An array that a program takes.

    Attributes:
      shape: numbers, and names of what may be any number: `("b", "32*h", "32*w", 3)`; the batch
        comes first.
      dtype: such as `"float32"`.
      meaning: in words, with units and ranges.
    """

    shape: tuple[int | str, ...]
    dtype: str
    meaning: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """What a model computes: a pure function of arrays by name, to arrays by name.

    Attributes:
      run: of variables and inputs.
      variables: of the model.
      inputs: by name.
      outputs: what they mean, by name; others of `run` are left out.
      info: what else is to be known, as JSON values: class names, how photos are prepared.
    """

    run: Callable[[Mapping[str, Any], Mapping[str, Array]], Mapping[str, Array]]
    variables: Mapping[str, Any]
    inputs: Mapping[str, Input]
    outputs: Mapping[str, str]
    info: Mapping[str, Any]

    def of_batch(self, size: int) -> "Program":
        """Returns the program for batches of one size."""
        inputs = {
            name: dataclasses.replace(given, shape=(size, *given.shape[1:]))
            for name, given in self.inputs.items()
        }
        return dataclasses.replace(self, inputs=inputs)

    def __call__(
        self, inputs: Mapping[str, Array], variables: Mapping[str, Any] | None = None
    ) -> dict[str, Array]:
        """Returns the outputs, in their order.

        Args:
          inputs: by name.
          variables: instead of the model's.
        """
        found = self.run(self.variables if variables is None else variables, inputs)
        return {name: found[name] for name in self.outputs}

    def abstract_inputs(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Returns shapes of the inputs, symbolic where they are open."""
        scope = export.SymbolicScope()
        return {
            name: jax.ShapeDtypeStruct(
                export.symbolic_shape(dimensions(given), scope=scope), given.dtype
            )
            for name, given in self.inputs.items()
        }

    def metadata(self) -> dict[str, Any]:
        """Returns what stands with an exported file, as JSON values."""
        inputs = {name: dataclasses.asdict(given) for name, given in self.inputs.items()}
        return {**self.info, "inputs": inputs, "outputs": dict(self.outputs)}


def dimensions(given: Input) -> str:
    """Returns a shape as JAX's tools for symbolic shapes read it: `"b, 32*h, 32*w, 3"`."""
    return ", ".join(map(str, given.shape))


def multiples_of(sides: tuple[int, int]) -> tuple[str, str]:
    """Returns height and width of an image that may be any multiples of these."""
    return f"{sides[0]}*h", f"{sides[1]}*w"
