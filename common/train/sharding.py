"""Mesh and shardings: where every array of the state and the batch lives.

`jax.jit` with NamedShardings partitions the step (what pjit was); model code carries no annotation.
"""

import dataclasses
import math
import re
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from common.config import require

BATCH_AXES = ("data", "fsdp")

# Ordered (pattern over the parameter path, spec over the last axes): the first match decides.
# Heads and hidden channels split over `tensor`; what remains whole follows the size rule below.
TENSOR_RULES = (
    (r"attention/qkv/kernel$", P(None, None, "tensor", None)),
    (r"attention/qkv/bias$", P(None, "tensor", None)),
    (r"attention/out/kernel$", P("tensor", None, None)),
    (r"mlp/expand/(kernel|bias)$", P("tensor")),
    (r"mlp/shrink/kernel$", P("tensor", None)),
)
# Smaller arrays are not worth a collective.
MIN_FSDP_SIZE = 2**14


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """The config's `mesh` section: devices per axis, -1 once for "all that remain".

    Attributes:
      data: copies of the model, each with its part of the batch.
      fsdp: parts of the batch that also hold parts of the parameters and optimizer state.
      tensor: parts of attention heads and MLP hidden channels.
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1


def make_mesh(config: MeshConfig, devices: list[jax.Device] | None = None) -> Mesh:
    """Returns the mesh over all devices (or those given).

    Raises:
      UserError: the axes don't multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = dataclasses.asdict(config)
    free = [name for name, size in sizes.items() if size == -1]
    require(
        len(free) <= 1 and all(size > 0 or size == -1 for size in sizes.values()),
        f"config.mesh={sizes}: sizes are positive, and at most one is -1",
    )
    fixed = math.prod(size for size in sizes.values() if size != -1)
    if free and len(devices) % fixed == 0:
        sizes[free[0]] = len(devices) // fixed
    require(
        math.prod(sizes.values()) == len(devices),
        f"config.mesh={dataclasses.asdict(config)} does not fit {len(devices)} devices",
    )
    array = np.asarray(devices).reshape(tuple(sizes.values()))
    return Mesh(array, tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The batch axis over all devices that hold different examples."""
    return NamedSharding(mesh, P(BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, P())


def check_batch_size(size: int, mesh: Mesh, name: str, parts: int = 1) -> None:
    """Raises UserError unless `size` divides over the mesh's batch axes, `parts` times over."""
    shards = math.prod(mesh.shape[axis] for axis in BATCH_AXES) * parts
    nearest = max(round(size / shards), 1) * shards
    require(
        size > 0 and size % shards == 0,
        f"{name}={size} does not divide over {shards} parts (devices x accumulation steps);"
        f" nearest valid: {nearest}",
    )


def tree_shardings(tree: Any, mesh: Mesh) -> Any:
    """Shardings for a state or parameter tree of shapes.

    The rules see paths and shapes alone, so optimizer moments and moving averages, whose paths end
    like their parameter's, go where it goes.

    Args:
      tree: arrays or `jax.ShapeDtypeStruct`s.
      mesh: of `make_mesh`.
    """

    def rule(path: tuple, leaf: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return NamedSharding(mesh, _spec(name, leaf.shape, mesh))

    return jax.tree_util.tree_map_with_path(rule, tree)


def _spec(name: str, shape: tuple[int, ...], mesh: Mesh) -> P:
    axes: list[str | None] = [None] * len(shape)
    if mesh.shape["tensor"] > 1:
        for pattern, spec in TENSOR_RULES:
            if re.search(pattern, name):
                axes[len(shape) - len(spec) :] = spec
                break
    for i, axis in enumerate(axes):
        if axis is not None and shape[i] % mesh.shape[axis]:
            axes[i] = None
    if mesh.shape["fsdp"] > 1 and math.prod(shape) >= MIN_FSDP_SIZE:
        free = [i for i, axis in enumerate(axes) if axis is None]
        free = [i for i in free if shape[i] % mesh.shape["fsdp"] == 0]
        if free:
            axes[max(free, key=lambda i: shape[i])] = "fsdp"
    return P(*axes)
