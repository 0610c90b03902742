"""The training loop: one for all tasks, read from top to bottom."""

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import Any, Literal

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from common.config import parse_section, require
from common.data.pipeline import train_batches
from common.errors import UserError, did_you_mean
from common.task import Dataset, Task, Variables
from common.train import sharding
from common.train.checkpoint import CheckpointConfig, Checkpoints
from common.train.corrupt import CorruptCounter
from common.train.evaluate import EvalLoop
from common.train.optimizer import OptimizerConfig, hold_frozen, make_optimizer
from common.train.processes import failing_together, require_same
from common.train.progress import ProgressReport
from common.train.run_directory import open_run
from common.train.schedule import ScheduleConfig, make_schedule
from common.train.sharding import put_batch
from common.train.state import TrainState, create_state, make_train_step
from common.train.stop import Stopped, StopRequest
from common.train.writer import Writer


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The config's `train` section.

    Attributes:
      num_steps: optimizer steps of the run.
      log_every: steps between metrics.
      accumulate_steps: parts a batch is cut into, run one after the other, to save memory.
      not_finite: what to do when the loss or a gradient is NaN or infinite: `"stop"`; `"skip"` the
        update of that step, but stop after 50 in a row; `"restore"` the last checkpoint and try
        once more, which helps where hardware was at fault.
      sample_images: save pictures of the first training batch and of each evaluation.
    """

    num_steps: int
    log_every: int = 100
    accumulate_steps: int = 1
    not_finite: Literal["stop", "skip", "restore"] = "stop"
    sample_images: bool = True

    def __post_init__(self):
        for name in ("num_steps", "log_every", "accumulate_steps"):
            require(getattr(self, name) > 0, f"config.train.{name} must be positive")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """The config's `eval` section.

    Attributes:
      every_steps: steps between evaluations; the last step is always evaluated.
    """

    every_steps: int = 1000

    def __post_init__(self):
        require(self.every_steps > 0, "config.eval.every_steps must be positive")


# With `not_finite="skip"`, a run that skips so many steps in a row is beyond hope.
_MOST_SKIPPED = 50

# Sections of a config that the trainer reads, and those that the task does.
TRAINER_SECTIONS = {
    "optimizer": OptimizerConfig,
    "schedule": ScheduleConfig,
    "train": TrainConfig,
    "eval": EvalConfig,
    "mesh": sharding.MeshConfig,
    "checkpoint": CheckpointConfig,
}
TASK_SECTIONS = ("init", "model", "task", "data")


def train(task: Task, config: Mapping[str, Any], workdir: str) -> dict[str, float]:
    """Trains a task from scratch or from where its run directory stands, up to `train.num_steps`.

    Args:
      task: what to train; it has read its own sections of the config.
      config: the whole config; see docs/architecture.md for the sections.
      workdir: the run directory.

    Returns:
      The metrics of the last evaluation, by name.

    Raises:
      UserError: a config that doesn't hold together, a directory of another run or in use,
        unreadable data, no intact checkpoint, or a loss that is not finite.
    """
    plain = json.loads(json.dumps(_to_dict(config)))
    require_same({"workdir": workdir, "config": plain})
    with failing_together():
        job = _prepare(task, plain)
    with _opened(workdir, plain) as changes, StopRequest() as stop:
        failed = None
        while True:
            try:
                return _run(job, workdir, changes, stop)
            except _NotFiniteError as error:
                if job.sections["train"].not_finite != "restore" or error.step == failed:
                    raise
                failed, changes = error.step, [error.found]


@dataclasses.dataclass(frozen=True)
class _Job:
    """What is known of a run before its directory is touched.

    Attributes:
      plain: the whole config as JSON values.
      sections: of the trainer.
      dataset, eval_sets: the task's.
      create: from variables to the state of step 0.
      abstract, shardings: shape and place of everything in the state.
    """

    task: Task
    plain: dict[str, Any]
    sections: dict[str, Any]
    mesh: Mesh
    dataset: Dataset
    eval_sets: dict[str, Dataset]
    schedule: optax.Schedule
    optimizer: optax.GradientTransformation
    create: Callable[[Variables], TrainState]
    abstract: TrainState
    shardings: TrainState
    eval_loop: EvalLoop


def _prepare(task: Task, plain: dict[str, Any]) -> _Job:
    """Refuses what doesn't hold together: sizes, data, rules of sharding."""
    sections = parse_trainer_sections(plain)
    mesh = sharding.make_mesh(sections["mesh"])
    accumulate_steps = sections["train"].accumulate_steps
    sharding.check_batch_size(
        task.data.batch_size, mesh, "config.data.batch_size", accumulate_steps
    )
    schedule = make_schedule(sections["schedule"], sections["optimizer"].learning_rate)
    optimizer = make_optimizer(sections["optimizer"], schedule)
    ema = sections["optimizer"].ema_decay is not None
    create = partial(create_state, optimizer=optimizer, ema=ema)
    # Shapes first, so that nothing is ever whole on one device.
    abstract = jax.eval_shape(lambda rng: create(task.init(rng)), jax.random.key(0))
    return _Job(
        task=task,
        plain=plain,
        sections=sections,
        mesh=mesh,
        dataset=task.train_data(),
        eval_sets=task.eval_data(),
        schedule=schedule,
        optimizer=optimizer,
        create=create,
        abstract=abstract,
        shardings=sharding.tree_shardings(abstract, mesh),
        eval_loop=EvalLoop(task, mesh, abstract.eval_variables),
    )


def _run(job: _Job, workdir: str, changes: list[str], stop: StopRequest) -> dict[str, float]:
    """Trains from the directory's latest checkpoint, if it has one, to the end: see `train`."""
    task, mesh, sections, shardings = job.task, job.mesh, job.sections, job.shardings
    seed, cfg, primary = job.plain["seed"], sections["train"], jax.process_index() == 0

    # The state: the run's own, else pretrained weights, else fresh ones.
    checkpoints = Checkpoints(workdir, sections["checkpoint"])
    state = checkpoints.restore(_place(job.abstract, shardings))
    if state is None:
        with failing_together():
            pretrained = task.pretrained()
        if pretrained is not None:
            pretrained = jax.tree.map(np.asarray, pretrained)
            state = jax.jit(job.create, out_shardings=shardings)(pretrained)
        else:
            init = jax.jit(lambda rng: job.create(task.init(rng)), out_shardings=shardings)
            state = init(jax.random.key(seed))
        del pretrained
    first_step = int(state.step)

    train_step = jax.jit(
        make_train_step(
            task,
            job.optimizer,
            seed=seed,
            accumulate_steps=cfg.accumulate_steps,
            ema_decay=sections["optimizer"].ema_decay,
            hold=partial(hold_frozen, config=sections["optimizer"]),
            skip_not_finite=cfg.not_finite == "skip",
        ),
        in_shardings=(shardings, sharding.batch_sharding(mesh)),
        out_shardings=(shardings, sharding.replicated(mesh)),
        donate_argnums=0,
    )
    writer = Writer(workdir, first_step, quiet=not primary)
    progress = ProgressReport(cfg.num_steps, first_step, unit="step", quiet=not primary)
    count = sum(x.size for x in jax.tree.leaves(job.abstract.params))
    processes = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    progress.log(
        f"{count:,} parameters, {len(job.dataset.source):,} training examples, {mesh.size}"
        f" {jax.default_backend()} device(s){processes}, mesh {dict(mesh.shape)}"
    )
    if mesh.size > 1:
        progress.log(sharding.overview(job.abstract.params, mesh))
    if first_step:
        progress.log("; ".join([f"continuing from step {first_step}", *changes]))

    def evaluate(step: int) -> dict[str, float]:
        results = {}
        for name, eval_set in job.eval_sets.items():
            metrics, pictures = job.eval_loop.run(
                state.eval_variables, eval_set, task.evaluator(), stop.cut_short
            )
            results |= {f"{name}/{key}": value for key, value in metrics.items()}
            if cfg.sample_images:
                writer.images(step, {f"{name}_{key}": value for key, value in pictures.items()})
        writer.scalars(step, results)
        progress.log(f"step {step}  " + "  ".join(f"{k} {v:.4g}" for k, v in results.items()))
        return results

    corrupt = CorruptCounter(job.dataset.source, task.data.max_corrupt)
    batches = train_batches(
        job.dataset.source,
        job.dataset.transform,
        batch_size=task.data.batch_size,
        seed=seed,
        start_step=first_step,
        num_workers=task.data.num_workers,
        parts=sharding.process_parts(mesh),
    )
    results: dict[str, float] = {}
    window, waited, window_start, skipped = [], 0.0, time.monotonic(), 0
    # However the loop ends, checkpoints under way are completed and workers sent home.
    with closing(writer), checkpoints, closing(batches), progress:
        if stop.reached():  # while all processes, or a second attempt, got ready
            progress.log(f"stopped by {stop.signal.name} with nothing to save")
            return results
        for step in range(first_step + 1, cfg.num_steps + 1):
            asked = time.monotonic()
            batch = next(batches)
            waited += time.monotonic() - asked
            corrupt.take(batch)
            if step == 1 and cfg.sample_images:
                pictures = task.visualise(batch, None)
                writer.images(0, {f"train_{key}": value for key, value in pictures.items()})

            state, metrics = train_step(state, put_batch(batch, mesh))
            # One step in flight while the next batch is read, no more; the first one is awaited, as
            # other processes may still compile it.
            jax.block_until_ready(metrics if step == first_step + 1 else window[-1:])
            window.append(metrics)
            progress.advance(step)
            stop.listen()  # from the first step on there is something to save

            stopping = stop.reached()
            evaluating = step % sections["eval"].every_steps == 0 or step == cfg.num_steps
            evaluating = evaluating and not stopping  # who stops us doesn't wait long
            saving = evaluating or stopping or step % sections["checkpoint"].every_steps == 0
            if saving or step % cfg.log_every == 0:
                window = jax.device_get(window)
                means, skipped = _mean(window), _skipped_in_a_row(window, skipped)
                elapsed = time.monotonic() - window_start
                values = {f"train/{key}": value for key, value in means.items()} | {
                    "train/images_per_second": len(window) * task.data.batch_size / elapsed,
                    "train/data_wait": waited / elapsed,
                    "train/learning_rate": float(job.schedule(step - 1)),
                }
                if corrupt.count:
                    values["train/corrupt"] = float(corrupt.count)
                writer.scalars(step, values)
                progress.metrics(step, values)
                _check_finite(means, step, skipped, workdir)
                window, waited, window_start = [], 0.0, time.monotonic()
                checkpoints.check()

            if saving:  # after the metrics, which stop the run if they are not finite
                paused = time.monotonic()
                score = None
                if evaluating:
                    try:
                        results = evaluate(step)
                        score = results.get(task.best_metric)
                    except Stopped:
                        stopping = True
                checkpoints.save(state, job.plain, score)
                window_start += time.monotonic() - paused
            if stopping:
                checkpoints.wait()
                progress.log(
                    f"stopped by {stop.signal.name} after step {step}, which is saved: the same"
                    " command goes on"
                )
                return results
        if not results:  # nothing was left to train
            try:
                results = evaluate(first_step)
            except Stopped:
                progress.log(f"stopped by {stop.signal.name} with nothing to save")
    return results


def parse_trainer_sections(config: Mapping[str, Any]) -> dict[str, Any]:
    """Checks the trainer's sections of a config, and that there are no unknown ones.

    Returns:
      The frozen section of each name in `TRAINER_SECTIONS`.

    Raises:
      UserError: an unknown section or field, or a value out of range.
    """
    known = {*TRAINER_SECTIONS, *TASK_SECTIONS, "seed"}
    for name in config:
        require(name in known, f"config.{name}: unknown section, {did_you_mean(name, known)}")
    seed = config.get("seed")
    require(type(seed) is int and seed >= 0, "config.seed must be an integer, 0 or more")
    return {
        name: parse_section(cls, config.get(name, {}), name)
        for name, cls in TRAINER_SECTIONS.items()
    }


def _to_dict(config: Mapping[str, Any]) -> dict[str, Any]:
    return config.to_dict() if hasattr(config, "to_dict") else dict(config)


def _place(abstract: TrainState, shardings: TrainState) -> TrainState:
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), abstract, shardings
    )


def _mean(window: list[dict[str, Any]]) -> dict[str, float]:
    """Means over the steps; where some were skipped, over the others."""
    window = [{"loss": metrics["loss"], **metrics} for metrics in window]  # first on the screen
    done = [metrics for metrics in window if not metrics.get("skipped")]
    means = {key: float(np.mean([m[key] for m in done])) for key in (done[0] if done else ())}
    if "skipped" in window[0]:
        means["skipped"] = 1 - len(done) / len(window)
    return means


def _skipped_in_a_row(window: list[dict[str, Any]], before: int) -> int:
    for metrics in window:
        before = before + 1 if metrics.get("skipped") else 0
    return before


def _check_finite(metrics: dict[str, float], step: int, skipped: int, workdir: str) -> None:
    advice = (
        f"the run stops; its checkpoints are kept in {workdir}. Try a lower"
        " config.optimizer.learning_rate or a config.optimizer.clip_norm, in another --workdir"
    )
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise _NotFiniteError(f"train/{name} is {value} at step {step}", advice, step)
    if skipped >= _MOST_SKIPPED:
        raise UserError(
            f"the last {skipped} steps up to {step} were skipped, as their loss or gradient is not"
            f" finite: {advice}"
        )


class _NotFiniteError(UserError):
    def __init__(self, found: str, advice: str, step: int):
        super().__init__(f"{found}: {advice}")
        self.found, self.step = found, step


@contextlib.contextmanager
def _opened(workdir: str, config: dict[str, Any]) -> Iterator[list[str]]:
    """The run directory, opened by the first process for all of them."""
    defaults = {
        f"{name}.{field.name}": field.default
        for name, section in TRAINER_SECTIONS.items()
        for field in dataclasses.fields(section)
        if field.default is not dataclasses.MISSING
    }
    with contextlib.ExitStack() as stack:
        changes = []
        with failing_together():
            if jax.process_index() == 0:
                changes = stack.enter_context(open_run(workdir, config, defaults))
        yield changes
