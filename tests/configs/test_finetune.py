"""The recipe for one's own pictures: rates by depth, what a probe leaves alone, sizes."""

import re

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from common.config import check_type
from common.data.sources import ArraySource
from common.train.optimizer import hold_frozen, make_optimizer
from common.train.sections import parse_trainer_sections
from common.train.state import create_state, make_train_step
from maxvit_jax.tasks.classification import ClassificationTask
from maxvit_jax.tasks.multilabel import MultilabelTask
from tests.configs.recipes import get, make_task
from tests.golden.weights import make_variables
from tests.train.tiny import assert_identical

SMALL = {"stem_widths": (4, 8), "widths": (32, 32), "depths": (1, 1), "num_classes": 3}


def names_of(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]


def flat(tree):
    return dict(zip(names_of(tree), map(np.asarray, jax.tree.leaves(tree)), strict=True))


@pytest.mark.parametrize("model", ["maxvit_tiny", "moat_0"])
def test_every_block_has_a_rate_of_its_own(model):
    """The head the whole one; further down 0.8 of the one above. Nothing is forgotten."""
    config = get("finetune", f"model={model},layer_decay=0.8")
    task = make_task(config)
    params = jax.eval_shape(task.init, jax.random.key(0))["params"]
    optimizer = parse_trainer_sections(config.to_dict())["optimizer"]
    jax.eval_shape(make_optimizer(optimizer, lambda step: 1.0).init, params)  # none is empty
    factors = [group["learning_rate_factor"] for group in optimizer.groups]
    depth = sum(task.model.depths)
    np.testing.assert_allclose(factors, 0.8 ** np.arange(depth + 1, 0, -1))
    patterns = [group["pattern"] for group in optimizer.groups]
    rest = {n.split("/")[0] for n in names_of(params) if not any(re.search(p, n) for p in patterns)}
    assert rest == {"head"}


def test_probe_trains_the_head_alone():
    """One step of the recipe with a small model: not a bit of the backbone moves, its batch
    statistics neither; every array of the head does."""
    config = get("finetune", "mode=probe,steps=10").to_dict()
    config["model"] |= SMALL
    config["data"] |= {"image_size": (24, 16)}
    config["schedule"] = {"kind": "constant"}
    pixels = np.zeros((3, 8, 8, 3), np.uint8)
    source = ArraySource(pixels, [0, 1, 2], list("abc"))
    task = ClassificationTask(config, train_source=source, eval_source=source)
    optimizer_config = parse_trainer_sections(config)["optimizer"]
    optimizer = make_optimizer(optimizer_config, lambda step: 1e-3)
    variables = make_variables(task.model, jnp.zeros((1, 24, 16, 3)))
    state = create_state(variables, optimizer, ema=False)
    step = make_train_step(
        task, optimizer, seed=0, hold=lambda params: hold_frozen(params, optimizer_config)
    )
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (2, 24, 16, 3), np.uint8),
        "label": np.array([0, 2], np.int32),
    }
    new, _ = jax.jit(step)(state, batch)
    assert_identical(flat(state.batch_stats), flat(new.batch_stats))
    old, new = flat(state.params), flat(new.params)
    frozen = [name for name in old if not name.startswith("head/")]
    assert len(frozen) > 10
    assert_identical({n: old[n] for n in frozen}, {n: new[n] for n in frozen})
    assert all((old[n] != new[n]).any() for n in old.keys() - set(frozen))


@pytest.mark.parametrize(
    ("arg", "window", "size"),
    [
        ("size=224", 7, 224),
        ("size=384", 12, 384),  # as official fine-tuning
        ("size=400", 7, 400),  # padded
        ("size=256x192", 7, (256, 192)),
    ],
)
def test_windows_and_sizes(arg, window, size):
    config = get("finetune", arg)
    assert config.data.image_size == size
    model = make_task(config).model
    assert model.window_size == window and model.pad_inputs and not model.frozen_norm


@pytest.mark.parametrize(
    ("arg", "weights"),
    [
        ("model=caformer_s18", "caformer_s18"),
        ("model=maxvit_tiny,pretrained=false", None),
        ("model=aewin_tiny", ""),  # nothing was published: a user must say
    ],
)
def test_weights_to_begin_with(arg, weights):
    assert get("finetune", arg).init.weights == weights


def test_kind_of_labels():
    assert isinstance(make_task(get("finetune")), ClassificationTask)
    assert isinstance(make_task(get("finetune", "multilabel=true")), MultilabelTask)


def test_size_may_become_a_pair_on_the_command_line():
    """The field takes both kinds, also when another recipe set a side."""
    for name in ("finetune", "maxvit_digits"):
        config = get(name)
        assert config.data.get_type("image_size") is object
        config.update_from_flattened_dict({"data.image_size": (32, 64)})
        found = config.to_dict()["data"]["image_size"]
        assert check_type(found, int | tuple[int, ...], "size") == (32, 64)
