"""The train state and the step that advances it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import optax
from flax import struct
from jax import numpy as jnp

from common.errors import UserError
from common.task import Batch, Task, Variables


@struct.dataclass
class TrainState:
    """Everything a run needs to go on: saved, sharded and donated as one tree.

    Attributes:
      step: optimizer steps done; position in the data and argument of schedules and rngs.
      params: trainable weights, float32.
      batch_stats: moving statistics.
      constants: weights that are never trained, such as random token mixing.
      opt_state: of the optimizer.
      ema: averaged `{"params", "batch_stats"}`, or None when off.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    constants: Any
    opt_state: Any
    ema: Any

    @property
    def variables(self) -> Variables:
        """What is being trained."""
        names = ("params", "batch_stats", "constants")
        return {name: getattr(self, name) for name in names}

    @property
    def eval_variables(self) -> Variables:
        """What is evaluated and published: the moving average when there is one."""
        return self.variables | (self.ema or {})


def create_state(
    variables: Variables, optimizer: optax.GradientTransformation, *, ema: bool
) -> TrainState:
    """Returns the state of step 0."""
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        constants=variables.get("constants", {}),
        opt_state=optimizer.init(params),
        # A copy: a donated buffer must not appear twice.
        ema=jax.tree.map(jnp.copy, {"params": params, "batch_stats": batch_stats}) if ema else None,
    )


def merged(fresh: Variables, given: Variables) -> Variables:
    """Returns the fresh variables with those that are given, a subtree, in their place."""
    return {
        name: merged(value, given[name])
        if isinstance(value, Mapping) and name in given
        else given.get(name, value)
        for name, value in fresh.items()
    }


def require_fits(expected: Variables, given: Variables, where: str) -> None:
    """Raises UserError unless `given` is a subtree of `expected`, array by array.

    Args:
      expected: shapes of all variables.
      given: arrays of some.
      where: what gave them, for the message.
    """
    expected, given = _by_name(expected), _by_name(given)
    wrong = [
        f"{name} {list(array.shape)}, where the job has"
        f" {list(expected[name].shape) if name in expected else 'nothing'}"
        for name, array in given.items()
        if name not in expected or expected[name].shape != array.shape
    ]
    if wrong:
        raise UserError(f"{where}: {len(wrong)} arrays don't fit the job, first {wrong[0]}")


def _by_name(tree: Variables) -> dict[str, Any]:
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def make_train_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    accumulate_steps: int = 1,
    ema_decay: float | None = None,
    ema_start: int = 0,
    hold: Callable[[Any], Any] = lambda params: params,
    skip_not_finite: bool = False,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """Returns the function `(state, batch) -> (state, metrics)` to be jitted.

    Args:
      task: gives the loss.
      optimizer: applied once a step.
      seed: all randomness on device is a function of it and the step.
      accumulate_steps: the batch is cut into that many parts, run one after the other; gradients
        and metrics are averaged, batch statistics are those of the parts in turn.
      ema_decay: of the moving average, None when the state has none.
      ema_start: steps during which the average is the latest weights.
      hold: stops the gradient of frozen parameters, given and returned as a tree.
      skip_not_finite: a step whose loss or gradient is NaN or infinite changes nothing but the
        step; its metrics are zero, and `skipped` is 1.
    """

    def gradients(state, batch_stats, batch, rng):
        def loss(params):
            variables = state.variables | {"params": hold(params), "batch_stats": batch_stats}
            return task.loss(variables, batch | {"step": state.step}, rng)

        (value, (batch_stats, metrics)), grads = jax.value_and_grad(loss, has_aux=True)(
            state.params
        )
        return batch_stats, grads, {"loss": value, **metrics}

    def accumulated(state, batch_stats, batch, rng):
        def split(x):  # part i takes every k-th example: each device keeps its own
            parts = x.reshape(-1, accumulate_steps, *x.shape[1:])
            return jnp.moveaxis(parts, 1, 0)

        def body(carry, part):
            batch_stats, total = carry
            batch, index = part
            batch_stats, *new = gradients(state, batch_stats, batch, jax.random.fold_in(rng, index))
            return (batch_stats, jax.tree.map(jnp.add, total, new)), None

        parts = (jax.tree.map(split, batch), jnp.arange(accumulate_steps))
        first = jax.tree.map(lambda x: x[0], parts)
        shapes = jax.eval_shape(lambda: gradients(state, batch_stats, first[0], rng)[1:])
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), list(shapes))
        (batch_stats, total), _ = jax.lax.scan(body, (batch_stats, zeros), parts)
        grads, metrics = jax.tree.map(lambda x: x / accumulate_steps, total)
        return batch_stats, grads, metrics

    def train_step(state: TrainState, batch: Batch):
        rng = jax.random.fold_in(jax.random.key(seed), state.step)
        run = gradients if accumulate_steps == 1 else accumulated
        batch_stats, grads, metrics = run(state, state.batch_stats, batch, rng)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = state.ema
        if ema is not None:
            new = {"params": params, "batch_stats": batch_stats}
            decay = jnp.minimum(ema_decay, (1 + state.step) / (10 + state.step))
            if ema_start:
                decay = jnp.where(state.step < ema_start, 0, decay)
            # In this form what doesn't change, such as frozen weights, stays exact.
            ema = jax.tree.map(lambda new, old: old + (1 - decay) * (new - old), new, ema)
        metrics["grad_norm"] = optax.tree.norm(grads)
        new_state = state.replace(
            params=params, batch_stats=batch_stats, opt_state=opt_state, ema=ema
        )
        if skip_not_finite:
            finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])
            new_state = jax.tree.map(partial(jnp.where, finite), new_state, state)
            metrics = {name: jnp.where(finite, value, 0) for name, value in metrics.items()}
            metrics["skipped"] = 1 - finite.astype(jnp.float32)
        return new_state.replace(step=state.step + 1), metrics

    return train_step
