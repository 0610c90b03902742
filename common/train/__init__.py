"""The one training loop and what it stands on."""

from typing import Any


def __getattr__(name: str) -> Any:
    # Lazily, so that the state and optimizer can be used with nothing but jax, flax and optax.
    if name == "train":
        from common.train.trainer import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
