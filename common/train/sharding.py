"""Mesh and shardings: where every array of the state and the batch lives.

`jax.jit` with NamedShardings partitions the step (what pjit was); model code carries no annotation.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from common.config import require
from common.errors import nearest_valid

BATCH_AXES = ("data", "fsdp")

# Ordered (pattern over the parameter path, spec over the last axes): the first match decides; what
# has fewer axes, such as factored second moments, is left whole.
# Heads and hidden channels split over `tensor`; what remains whole follows the size rule below.
TENSOR_RULES = (
    (r"attention/qkv/kernel$", P(None, None, "tensor", None)),
    (r"attention/qkv/bias$", P(None, "tensor", None)),
    (r"attention/query/kernel$", P(None, "tensor", None)),
    (r"attention/query/bias$", P("tensor", None)),
    (r"attention/out/kernel$", P("tensor", None, None)),
    (r"mlp/expand/kernel$", P(None, "tensor")),
    (r"mlp/expand/bias$", P("tensor")),
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
    """Returns the mesh over all devices (or those given), laid out after their network.

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
    array = _arranged(devices, tuple(sizes.values()))
    return Mesh(array, tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The batch axis over all devices that hold different examples.

    Raises:
      UserError: the mesh has other axes than `make_mesh` gives, or Explicit ones.
    """
    _check_axes(mesh)
    return NamedSharding(mesh, P(BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, P())


@functools.lru_cache
def process_parts(mesh: Mesh) -> tuple[tuple[int, ...], int]:
    """Returns which parts of a batch this process's devices hold, in order, and of how many.

    Several processes hold the same part where copies of a model span them (`tensor`); a process
    need not hold neighbouring ones.
    """
    count = math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    places = batch_sharding(mesh).devices_indices_map((count,))
    here = {
        part.start or 0
        for device, (part,) in places.items()
        if device.process_index == jax.process_index()
    }
    return tuple(sorted(here)), count


def put_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Places a host batch on the mesh.

    Args:
      batch: of arrays that hold this process's parts, those of `process_parts`, one after another.
      mesh: of `make_mesh`.

    Returns:
      Arrays of the global batch.
    """
    parts, count = process_parts(mesh)
    target = batch_sharding(mesh)

    def put(array: np.ndarray) -> jax.Array:
        size = len(array) // len(parts)

        def part(index: tuple[slice, ...]) -> np.ndarray:
            first = parts.index((index[0].start or 0) // size) * size
            return array[first : first + size]

        return jax.make_array_from_callback((size * count, *array.shape[1:]), target, part)

    return {name: put(array) for name, array in batch.items()}


def check_batch_size(size: int, mesh: Mesh, name: str, parts: int = 1) -> None:
    """Raises UserError unless `size` divides over the mesh's batch axes, `parts` times over."""
    shards = math.prod(mesh.shape[axis] for axis in BATCH_AXES) * parts
    require(
        size > 0 and size % shards == 0,
        f"{name}={size} does not divide over {shards} parts (devices x accumulation steps);"
        f" {nearest_valid(size, shards)}",
    )


def tree_shardings(tree: Any, mesh: Mesh) -> Any:
    """Shardings for a state or parameter tree of shapes.

    The rules see paths and shapes alone, so optimizer moments and moving averages, whose paths end
    like their parameter's, go where it goes.

    Args:
      tree: arrays or `jax.ShapeDtypeStruct`s.
      mesh: of `make_mesh`.

    Raises:
      UserError: the mesh has a `tensor` axis, and no rule matches, or heads or hidden channels are
        not a multiple of it; or its axes are not those of `make_mesh`.
    """
    _check_axes(mesh)
    _check_tensor(tree, mesh)

    def place(path: tuple, leaf: Any) -> NamedSharding:
        return NamedSharding(mesh, _spec(_name(path), leaf.shape, mesh))

    return jax.tree_util.tree_map_with_path(place, tree)


def bytes_per_device(tree: Any, shardings: Any) -> int:
    """Bytes that a tree of arrays or shapes takes on every device under shardings like it."""
    return sum(map(_local_bytes, jax.tree.leaves(tree), jax.tree.leaves(shardings)))


def overview(tree: Any, mesh: Mesh) -> str:
    """A table of where parameters live: per rule and spec their count and bytes per device.

    Rows are in the order of the rules, then arrays that no rule names; `fsdp` and `tensor` stand
    for the axis that is split, `-` for one that is whole. Arrays that are large enough for `fsdp`
    and have no side that divides are listed below the table.

    Args:
      tree: arrays or `jax.ShapeDtypeStruct`s, such as a state's `params`.
      mesh: of `make_mesh`.
    """
    rows: dict[tuple[str, str], list[int]] = {}
    whole = []
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    for (path, leaf), place in zip(
        leaves, jax.tree.leaves(tree_shardings(tree, mesh)), strict=True
    ):
        name, size = _name(path), math.prod(leaf.shape)
        pattern, _ = _tensor_rule(name, leaf.shape) if mesh.shape["tensor"] > 1 else (None, P())
        large = size >= MIN_FSDP_SIZE
        group = pattern or f"{'at least' if large else 'less than'} {MIN_FSDP_SIZE} values"
        spec = " ".join(axis or "-" for axis in place.spec) if any(place.spec) else "whole"
        row = rows.setdefault((group, spec), [0, 0, 0])
        for i, value in enumerate((1, _bytes(leaf), _local_bytes(leaf, place))):
            row[i] += value
        if mesh.shape["fsdp"] > 1 and large and "fsdp" not in place.spec:
            whole.append(f"  {name} {list(leaf.shape)}")
    order = {pattern: i for i, (pattern, _) in enumerate(TENSOR_RULES)}
    rows = dict(sorted(rows.items(), key=lambda item: (order.get(item[0][0], len(order)), item[0])))
    rows["all", ""] = [sum(column) for column in zip(*rows.values(), strict=True)]
    table = [("parameters", "split over", "arrays", "MiB", "MiB per device")]
    for (group, spec), (count, total, local) in rows.items():
        table.append((group, spec, str(count), f"{total / 2**20:.2f}", f"{local / 2**20:.2f}"))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = [
            text.ljust(n) if i < 2 else text.rjust(n)
            for i, (text, n) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells))
    if whole:
        lines += [f"no side divides by fsdp={mesh.shape['fsdp']}, so these stay whole:", *whole]
    return "\n".join(lines)


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _bytes(leaf: Any) -> int:
    return math.prod(leaf.shape) * leaf.dtype.itemsize


def _local_bytes(leaf: Any, place: NamedSharding) -> int:
    return math.prod(place.shard_shape(leaf.shape)) * leaf.dtype.itemsize


def _arranged(devices: Sequence[jax.Device], shape: tuple[int, ...]) -> np.ndarray:
    """Devices in the mesh's shape: the later its axis, the nearer the neighbours along it."""
    left, between = len({getattr(device, "slice_index", 0) for device in devices}), []
    for size in shape:  # the slow network between slices goes to the first axes
        between.append(math.gcd(left, size))
        left //= between[-1]
    within = [size // outer for size, outer in zip(shape, between, strict=True)]
    try:
        if math.prod(between) == 1:
            return mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
        return mesh_utils.create_hybrid_device_mesh(
            within, between, devices, allow_split_physical_axes=True
        )
    # What JAX knows no arrangement for, such as devices that are a part of a torus.
    except (AssertionError, NotImplementedError, ValueError):
        return np.asarray(devices).reshape(shape)


def _check_axes(mesh: Mesh) -> None:
    names = tuple(field.name for field in dataclasses.fields(MeshConfig))
    auto = all(kind == AxisType.Auto for kind in mesh.axis_types)
    require(
        set(mesh.axis_names) == set(names) and auto,
        f"the mesh must have Auto axes {', '.join(names)}, not {dict(mesh.shape)} of types"
        f" {', '.join(kind.name for kind in mesh.axis_types)} (jax.make_mesh gives Explicit ones"
        " unless told): use common.train.sharding.make_mesh(MeshConfig()), or pass"
        f" axis_types=(jax.sharding.AxisType.Auto,) * {len(names)}",
    )


def _tensor_rule(name: str, shape: tuple[int, ...]) -> tuple[str | None, P]:
    """The first rule that matches a path; None and an empty spec where there is none.

    Optimizers that keep less than an array per parameter have leaves of fewer axes, or one value,
    under the parameter's path: no rule is about them.
    """
    rules = (rule for rule in TENSOR_RULES if re.search(rule[0], name))
    pattern, spec = next(rules, (None, P()))
    fits = len(spec) <= len(shape) and math.prod(shape) > 1
    return (pattern, spec) if fits else (None, P())


def _check_tensor(tree: Any, mesh: Mesh) -> None:
    """Raises UserError unless there are axes for `tensor` to split, and it divides them all."""
    if (tensor := mesh.shape["tensor"]) == 1:
        return
    split = {}  # path -> size of the axis
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        spec = _tensor_rule(_name(path), leaf.shape)[1]
        if "tensor" in spec:
            split[_name(path)] = leaf.shape[spec.index("tensor") - len(spec)]
    patterns = ", ".join(pattern for pattern, _ in TENSOR_RULES)
    require(
        bool(split),
        f"config.mesh.tensor={tensor}: the model has no attention heads or hidden channels to split"
        f" (no parameter matches {patterns}); nearest valid: 1",
    )
    common = math.gcd(mesh.size, *split.values())
    nearest = min(
        (n for n in range(1, common + 1) if common % n == 0), key=lambda n: abs(n - tensor)
    )
    for name, size in split.items():
        kind = "hidden channels" if "mlp/" in name else "heads"
        require(
            size % tensor == 0,
            f"config.mesh.tensor={tensor} does not divide the {size} {kind} of {name};"
            f" nearest valid for all parameters: {nearest}",
        )


def _spec(name: str, shape: tuple[int, ...], mesh: Mesh) -> P:
    axes: list[str | None] = [None] * len(shape)
    if mesh.shape["tensor"] > 1:
        spec = _tensor_rule(name, shape)[1]
        axes[len(shape) - len(spec) :] = spec
    if mesh.shape["fsdp"] > 1 and math.prod(shape) >= MIN_FSDP_SIZE:
        free = [i for i, axis in enumerate(axes) if axis is None]
        free = [i for i in free if shape[i] % mesh.shape["fsdp"] == 0]
        if free:
            axes[max(free, key=lambda i: shape[i])] = "fsdp"
    return P(*axes)
