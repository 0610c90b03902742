"""What one of two processes does in `test_processes`: its parts of batches, and a short run."""

import sys
from pathlib import Path

import jax
import numpy as np
from flax import linen as nn
from jax.experimental import multihost_utils

from common.data.pipeline import train_batches
from common.train.sharding import MeshConfig, make_mesh, process_parts, put_batch
from tests.train import tiny

# Of 6 devices, and the parts that processes of 3 hold.
MESHES = [
    ({"tensor": 6}, [((0,), 1), ((0,), 1)]),
    ({"tensor": 2}, [((0, 1), 3), ((1, 2), 3)]),
    ({"fsdp": 2}, [((0, 1, 2), 6), ((3, 4, 5), 6)]),
]


class Mlp(nn.Module):
    """Has hidden channels that `tensor` splits."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(tiny.CLASSES, name="shrink")(nn.relu(nn.Dense(12, name="expand")(x)))


class Split(nn.Module):
    """A model that compiles at once."""

    num_classes: int = tiny.CLASSES

    @nn.compact
    def __call__(self, x, train=False):
        return Mlp(name="mlp")(x.reshape(len(x), -1))


def run(workdir: Path, devices: int) -> None:
    """Trains and evaluates with pairs of devices that hold a model."""
    changes = {"mesh.tensor": 2, "data.batch_size": 12, "optimizer.kind": "sgd"}
    config = tiny.quick(changes | {"train.num_steps": 3, "train.log_every": 1})
    task = tiny.make_task(config)
    task.model = Split()
    tiny.run(config, workdir, task=task, devices=devices)


def _check_batches(process: int) -> None:
    data = tiny.make_task(tiny.quick()).train_data()
    whole = next(train_batches(*data, batch_size=12, seed=0))
    for sizes, expected in MESHES:
        mesh = make_mesh(MeshConfig(**sizes))
        assert process_parts(mesh) == expected[process], (sizes, process_parts(mesh))
        part = next(train_batches(*data, batch_size=12, seed=0, parts=process_parts(mesh)))
        batch = put_batch(part, mesh)
        for name, array in multihost_utils.process_allgather(batch, tiled=True).items():
            np.testing.assert_array_equal(array, whole[name])


if __name__ == "__main__":
    port, folder, index = sys.argv[1:]
    jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=int(index))
    _check_batches(int(index))
    run(Path(folder), devices=6)
    jax.distributed.shutdown()
