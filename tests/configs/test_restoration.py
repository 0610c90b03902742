"""Recipes of restoration carry the published numbers."""

import pytest

from common.data.pair_layouts import LAYOUTS
from maxim_jax.checkpoints import CHECKPOINTS
from tests.configs.recipes import (
    RESTORATION,
    get,
    make_task,
    module,
)


@pytest.mark.parametrize("name", RESTORATION)
def test_restoration(name):
    config, (steps, finetuned) = get(name), RESTORATION[name]
    row = next(row for row in CHECKPOINTS if name == f"{row.model}_{row.data_set}")
    assert config.model.name == row.model
    assert f"Published: {row.psnr:.2f} dB PSNR, {row.ssim:.3f} SSIM" in module(name).__doc__
    assert config.train.num_steps == config.schedule.decay_steps == steps
    assert config.data.source == "pairs" and config.data.layout == row.data_set
    assert config.data.layout in LAYOUTS
    assert (config.init.weights == "") == finetuned
    assert config.data.batch_size == 256 and config.data.crop_size == 256
    assert config.data.flip and config.data.rotate and not config.data.degradations
    assert config.task.charbonnier_eps == 1e-3 and config.task.frequency_weight == 0.1
    assert config.task.mixup_probability == 0.5 and config.task.mixup_alpha == 1.2
    assert (config.optimizer.learning_rate, config.schedule.end_value) == (2e-4, 1e-7)
    assert config.optimizer.weight_decay == 0 and config.schedule.warmup_steps == 0
    model = make_task(config).model
    assert model.num_supervision_scales == 3 and model.remat and model.dtype == "bfloat16"


def test_there_is_a_recipe_for_every_published_checkpoint():
    """Two of the thirteen rows test the weights of another on other data."""
    assert {f"{row.model}_{row.data_set}" for row in CHECKPOINTS} - RESTORATION.keys() == {
        "maxim_s3_dnd",
        "maxim_s3_hide",
    }


def test_photos_are_denoised_at_sigma_25():
    config = get("maxim_photos")
    assert config.data.source == "photos"
    assert config.data.degradations == ({"kind": "gaussian_noise", "sigma": 25.0},)
