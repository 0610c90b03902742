"""The largest batch that fits is found in few tries, whatever the estimate was."""

import jax
import pytest

from common.errors import UserError
from configs import maxvit_folder
from launch import fit
from launch.fit import candidates, largest_batch
from launch.tpu_program import DoesNotFit, TpuProgram
from launch.tpu_topology import CHIPS, Topology
from tests.launch.test_plan import SMALL


def test_candidates():
    assert candidates(20) == [1, 2, 3, 4, 6, 8, 12, 16]


@pytest.mark.parametrize("factor", [0.25, 0.5, 1, 2, 4])
@pytest.mark.parametrize(("true", "expected"), [(1, 96), (9, 8), (60, 1), (98, 0)])
def test_largest(true, expected, factor):
    tried = []

    def needed(size):
        tried.append(size)
        return 3 + true * size

    estimate = {"fixed": 3, "per_example": factor * true}
    assert largest_batch(needed, **estimate, room=100) == expected
    assert len(tried) <= 3 and len(set(tried)) == len(tried)


def test_a_line_that_is_none():
    """Programs of some sizes need more than a line through the smaller ones says."""
    assert largest_batch(lambda n: n * n, fixed=0, per_example=1, room=100) == 8


@pytest.fixture
def pod(monkeypatch):
    """Eight devices with little memory, and a compiler that says at once what a step needs."""

    def compile_for(step, pod):
        held = sum(step.held_bytes().values())
        needed = held + 10_000 * step.per_device
        if needed > pod.chip.usable_gib * 2**30:
            raise DoesNotFit("too large", needed)
        sizes = {"output": 0, "shared": 0, "code": 0, "bytes": 1.0, "flops": 1.0, "seconds": 1.0}
        return TpuProgram(arguments=held, temporaries=needed - held, collectives={}, **sizes)

    monkeypatch.setattr(fit, "compile_for", compile_for)

    def with_memory(size):
        return Topology("v5e:2x4", CHIPS["v5e"]._replace(usable_gib=size / 2**30), jax.devices())

    return with_memory


@pytest.fixture(scope="module")
def config():
    config = maxvit_folder.get_config()
    tuples = {"model.depths": (1,), "model.widths": (64,), "model.stem_widths": (4, 8)}
    config.update_from_flattened_dict(SMALL | tuples | {"data.batch_size": 128})
    return config.to_dict()


def test_batch_and_what_the_recipes_own_takes(pod, config, capsys):
    lines = list(fit.fitted(config, pod(2_800_000), per_example=5_000))
    largest = "largest batch, 6 per device: --config.data.batch_size=48 --config.mesh.fsdp=1 "
    assert lines[-2].startswith(largest)
    assert "of 128 fits" in lines[-1] and lines[-1].endswith("--config.train.accumulate_steps=4")
    assert "tried 12 per device: 0.00 GiB, is too large" in capsys.readouterr().out


def test_mesh(pod, config):
    lines = list(fit.fitted(config, pod(2_000_000), per_example=10_000))
    assert "--config.mesh.fsdp=2 " in lines[-2]


def test_nothing_fits(pod, config):
    with pytest.raises(UserError, match=r"fsdp=8, .* take more chips"):
        list(fit.fitted(config, pod(1_200_000), per_example=10_000))
