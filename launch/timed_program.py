"""Inference or a training step of a model by name, compiled to be timed, and what it takes."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from flax import linen as nn
from jax import Array
from jax import numpy as jnp

import maxim_jax
import maxvit_jax
from common.config import require
from common.kernels.choose import preferring
from common.train.fresh import fresh_variables
from common.train.optimizer import OptimizerConfig, make_optimizer
from common.train.state import create_state, make_train_step
from maxim_jax.losses import multi_stage_loss
from maxvit_jax.models.backbone import Backbone

# No published model: CAFormer-S18, which has attention over the whole map in the last two stages
# alone, with it in all four.
FULL_ATTENTION = "full_attention"
# Repetitions at a time on an accelerator, as training starts steps before the last one has ended.
_QUEUED = 10


def repetitions_at_a_time(platform: str) -> int:
    """Returns how many repetitions are waited for together on a platform, as JAX names it."""
    return 1 if platform == "cpu" else _QUEUED


class TimedProgram(NamedTuple):
    """A compiled program.

    Attributes:
      run: a repetition, or as many as it is told one after the other, to the end of the last one.
      compile_seconds: of tracing and compiling.
      flops: of a repetition, as XLA counts before it optimises: two per multiply-add.
      bytes: that a repetition reads and writes, by XLA's estimate of what it compiled.
      temporary_bytes: beside arguments and results.
      needed_bytes: with them.
    """

    run: Callable[..., None]
    compile_seconds: float
    flops: float
    bytes: float
    temporary_bytes: int
    needed_bytes: int


def timed_program(
    name: str,
    *,
    size: int,
    batch: int,
    mode: str = "infer",
    dtype: str = "float32",
    remat: bool = False,
    pad_inputs: bool = False,
    prefer: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> TimedProgram:
    """Builds and compiles a model with fresh weights, for random images.

    Args:
      name: of a model of `maxvit_jax` or `maxim_jax`, or `FULL_ATTENTION`.
      size: side of the images in pixels.
      batch: images at once.
      mode: `"infer"`: logits, or the restored images; or `"train"`: a step of AdamW with clipping.
      dtype: compute type.
      remat: recompute blocks in the backward pass.
      pad_inputs: sides that the model's windows don't fit are padded, as for a user's photos.
      prefer: formulations of kernels, as for `common.kernels.choose.preferring`.
      options: of the compiler.

    Raises:
      UserError: there is no such model, it doesn't take the size, or none of its kernels has a
        formulation of that name.
    """
    model = _model(name, dtype=dtype, remat=remat)
    if pad_inputs and size % model.size_multiple:
        model, size = _padding(model, size)
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.standard_normal((batch, size, size, 3)), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images[:1])
    places = jax.tree.map(lambda _: images.sharding, shapes)
    variables = fresh_variables(lambda rng: model.init(rng, images[:1]), jax.random.key(0), places)
    work = _Classifying(model) if isinstance(model, Backbone) else _Restoring(model)
    build = _training if mode == "train" else _inference
    with preferring(*prefer) as chosen:
        program = build(work, variables, images, options)
    unknown = " ".join(sorted({*prefer} - chosen))
    require(not unknown, f"--prefer={unknown}: no kernel of {name} is formulated so")
    return program


def _model(name: str, **fields: Any) -> nn.Module:
    if name == FULL_ATTENTION:
        return maxvit_jax.create_model("caformer_s18", mixers=("attention",) * 4, **fields)
    package = maxim_jax if maxim_jax.knows(name) else maxvit_jax
    return package.create_model(name, **fields)


def _padding(model: nn.Module, size: int) -> tuple[nn.Module, int]:
    """What a photo of a side that doesn't fit goes through: a classifier pads inside."""
    if isinstance(model, Backbone):
        return model.having(pad_inputs=True), size
    return model, -(-size // model.size_multiple) * model.size_multiple


class _Classifying:
    """Logits; the loss is their cross-entropy with random classes."""

    def __init__(self, model: Backbone):
        self._model = model

    def outputs(self, variables: Any, images: Array) -> Array:
        return self._model.apply(variables, images)

    def batch(self, images: Array) -> dict[str, Array]:
        labels = np.random.default_rng(0).integers(self._model.num_classes, size=len(images))
        return {"image": images, "label": jnp.asarray(labels)}

    def loss(self, variables: Any, batch: Mapping[str, Array], rng: Array) -> tuple[Array, Any]:
        settings = {"train": True, "mutable": ["batch_stats"], "rngs": {"dropout": rng}}
        logits, updates = self._model.apply(variables, batch["image"], **settings)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()
        return loss, (updates.get("batch_stats", {}), {})


class _Restoring:
    """The finest restored images; the loss is MAXIM's, with the images themselves as targets."""

    def __init__(self, model: nn.Module):
        self._model = model

    def outputs(self, variables: Any, images: Array) -> Array:
        return self._model.apply(variables, images)[-1][0]

    def batch(self, images: Array) -> dict[str, Array]:
        return {"image": images}

    def loss(self, variables: Any, batch: Mapping[str, Array], rng: Array) -> tuple[Array, Any]:
        settings = {"train": True, "rngs": {"dropout": rng}}
        restored = self._model.apply(variables, batch["image"], **settings)
        return multi_stage_loss(restored, batch["image"]), ({}, {})


def _inference(work: Any, variables: Any, images: Array, options: Any) -> TimedProgram:
    compiled, costs = compiled_costs(jax.jit(work.outputs), (variables, images), options)

    def run(repetitions: int = 1) -> None:
        for _ in range(repetitions):
            outputs = compiled(variables, images)
        outputs.block_until_ready()

    return TimedProgram(run, **costs)


def _training(work: Any, variables: Any, images: Array, options: Any) -> TimedProgram:
    optimizer = make_optimizer(
        OptimizerConfig(learning_rate=1e-3, weight_decay=0.05, clip_norm=1.0),
        optax.constant_schedule(1e-3),
    )
    state, batch = create_state(variables, optimizer, ema=False), work.batch(images)
    step = jax.jit(make_train_step(work, optimizer, seed=0), donate_argnums=0)
    compiled, costs = compiled_costs(step, (state, batch), options)

    def run(repetitions: int = 1) -> None:
        nonlocal state
        for _ in range(repetitions):
            state, metrics = compiled(state, batch)
        jax.block_until_ready((state, metrics))

    return TimedProgram(run, **costs)


def compiled_costs(
    program: Any, arguments: Any, options: Mapping[str, Any] | None = None
) -> tuple[jax.stages.Compiled, dict[str, Any]]:
    """Compiles a jitted function, and returns what that says by fields of `TimedProgram`.

    Args:
      program: as `jax.jit` returns it.
      arguments: of it.
      options: of the compiler.
    """
    start = time.perf_counter()
    lowered = program.lower(*arguments)
    compiled = lowered.compile(compiler_options=options)
    seconds = time.perf_counter() - start
    memory = compiled.memory_analysis()
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes  # donated ones are there
    needed = memory.argument_size_in_bytes + memory.temp_size_in_bytes + results
    return compiled, {
        "compile_seconds": seconds,
        "flops": lowered.cost_analysis()["flops"],
        "bytes": compiled.cost_analysis()["bytes accessed"],
        "temporary_bytes": memory.temp_size_in_bytes,
        "needed_bytes": needed,
    }
