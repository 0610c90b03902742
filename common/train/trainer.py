"""The training loop: one for all tasks, read from top to bottom."""

import contextlib
import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from common.compiled import announcing, sides
from common.config import require
from common.data.pipeline import train_batches
from common.errors import did_you_mean
from common.news import announced
from common.progress import ProgressReport, figure, in_columns
from common.task import Dataset, Task, Variables
from common.train import sharding
from common.train.checkpoint import Checkpoints
from common.train.corrupt import CorruptCounter
from common.train.doubtful import doubtful_settings
from common.train.evaluate import EvalLoop, Evaluating
from common.train.final_report import write_final_report
from common.train.fresh import fresh_variables
from common.train.introduction import introduction
from common.train.labels import match_order
from common.train.length import in_steps
from common.train.optimizer import hold_frozen, make_optimizer
from common.train.patience import Patience, logged_scores
from common.train.processes import failing_together, require_same
from common.train.profile import Profile
from common.train.run_directory import checkpoint_steps, open_run, read_labels
from common.train.schedule import make_schedule
from common.train.sections import TRAINER_SECTIONS, parse_trainer_sections
from common.train.sharding import put_batch
from common.train.state import TrainState, create_state, make_train_step, merged, require_fits
from common.train.stop import Stopped, StopRequest
from common.train.window import MetricsWindow, NotFiniteError
from common.train.writer import Writer


def train(task: Task, config: Mapping[str, Any], workdir: str) -> dict[str, float]:
    """Trains a task from scratch or from where its run directory stands, up to the config's length.

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
    with failing_together(), announced("preparing the model and its data", "prepared"):
        job = _prepare(task, plain, workdir)
    if jax.process_index() == 0:
        for line in doubtful_settings(job.sections):
            print(f"note: {line}", flush=True)
    with _opened(workdir, job) as changes, StopRequest() as stop:
        failed = results = None
        while results is None:
            try:
                with contextlib.ExitStack() as stack:  # closes all that an attempt opens
                    results = _Run(job, workdir, stop, stack).go(changes)
            except NotFiniteError as error:
                if job.sections["train"].not_finite != "restore" or error.step == failed:
                    raise
                failed, changes = error.step, [error.found]
    if job.sections["train"].final_report and stop.signal is None and jax.process_count() == 1:
        for line in write_final_report(task, workdir, job.mesh):
            print(line)
    return results


# ---------------------------------------------------------------- before the directory is touched


@dataclasses.dataclass(frozen=True)
class _Job:
    """What is known of a run before its directory is touched.

    Attributes:
      plain: the whole config as JSON values, its length in steps.
      sections: of the trainer.
      dataset, eval_sets: the task's.
      init: the task's, the same object each time, so that it is traced once.
      begin: from fresh and pretrained variables to the state of step 0.
      abstract, shardings: shape and place of everything in the state.
      best_metric: name, and 1 where larger is better, -1 where smaller is.
    """

    task: Task
    plain: dict[str, Any]
    sections: dict[str, Any]
    mesh: Mesh
    dataset: Dataset
    eval_sets: dict[str, Dataset]
    schedule: optax.Schedule
    optimizer: optax.GradientTransformation
    init: Callable[[jax.Array], Variables]
    begin: Callable[[Variables, Variables], TrainState]
    abstract: TrainState
    shardings: TrainState
    eval_loop: EvalLoop
    best_metric: tuple[str, int]


def _prepare(task: Task, plain: dict[str, Any], workdir: str) -> _Job:
    """Refuses what doesn't hold together: sizes, data, rules of sharding, names of metrics."""
    parse_trainer_sections(plain)
    if checkpoint_steps(workdir):  # it goes on
        match_order(task, workdir, read_labels(workdir))
    dataset, size = task.train_data(), task.data.batch_size
    plain = in_steps(plain, examples=len(dataset.source), batch_size=size, workdir=workdir)
    sections = parse_trainer_sections(plain)
    mesh = sharding.make_mesh(sections["mesh"])
    accumulate_steps = sections["train"].accumulate_steps
    sharding.check_batch_size(size, mesh, "config.data.batch_size", accumulate_steps)
    schedule = make_schedule(sections["schedule"], sections["optimizer"].learning_rate)
    optimizer = make_optimizer(sections["optimizer"], schedule)
    ema = sections["optimizer"].ema_decay is not None

    def begin(fresh: Variables, given: Variables) -> TrainState:
        return create_state(merged(fresh, given), optimizer, ema=ema)

    # Shapes first, so that nothing is ever whole on one device.
    init = task.init
    fresh = jax.eval_shape(init, jax.random.key(0))
    abstract = jax.eval_shape(begin, fresh, {})
    eval_sets = task.eval_data()
    return _Job(
        task=task,
        plain=plain,
        sections=sections,
        mesh=mesh,
        dataset=dataset,
        eval_sets=eval_sets,
        schedule=schedule,
        optimizer=optimizer,
        init=init,
        begin=begin,
        abstract=abstract,
        shardings=sharding.tree_shardings(abstract, mesh),
        eval_loop=EvalLoop(task, mesh, abstract.eval_variables),
        best_metric=_best_metric(task, eval_sets, sections["eval"].best_metric),
    )


def _best_metric(
    task: Task, eval_sets: Mapping[str, Dataset], asked: str | None
) -> tuple[str, int]:
    metric = asked or task.best_metric
    name = metric.removeprefix("-")
    known = [f"{s}/{m}" for s in eval_sets for e in task.evaluators() for m in e.metrics]
    twice = sorted({name for name in known if known.count(name) > 1})
    require(not twice, f"two evaluators of {task.kind} give {', '.join(twice)}")
    hint = f"no evaluation gives it, {did_you_mean(name, known)}"
    require(name in known, f"config.eval.best_metric={metric!r}: {hint}")
    return name, -1 if metric.startswith("-") else 1


@contextlib.contextmanager
def _opened(workdir: str, job: _Job) -> Iterator[list[str]]:
    """The run directory, opened by the first process for all of them."""
    sections = {**TRAINER_SECTIONS, **job.task.sections}
    defaults = {
        f"{name}.{field.name}": field.default
        for name, section in sections.items()
        for field in dataclasses.fields(section)
        if field.default is not dataclasses.MISSING
    }
    variant = job.task.package.create_model(job.plain["model"]["name"])
    names = {field.name for field in dataclasses.fields(variant)} - {"parent", "name"}
    defaults |= {f"model.{name}": getattr(variant, name) for name in names}
    defaults = json.loads(json.dumps(defaults, default=_plain))
    with contextlib.ExitStack() as stack:
        changes = []
        with failing_together():
            if jax.process_index() == 0:
                labels, allowed = job.task.labels(), job.task.resumable
                run = open_run(workdir, job.plain, defaults, allowed, labels)
                changes = stack.enter_context(run)
        yield changes


def _plain(value: Any) -> Any:
    """What JSON has for a field of a model: a mapping, or a dtype's name."""
    return dict(value) if isinstance(value, Mapping) else np.dtype(value).name


# ---------------------------------------------------------------- one attempt


class _Run:
    """Trains from the directory's latest checkpoint, if it has one, to the end.

    Args:
      job: what to do.
      workdir: the run directory, which is open.
      stop: says when somebody asks to.
      stack: closes what is opened here, however the attempt ends.
    """

    def __init__(self, job: _Job, workdir: str, stop: StopRequest, stack: contextlib.ExitStack):
        self.job, self.stop = job, stop
        self.cfg = job.sections["train"]
        quiet = jax.process_index() != 0
        # Checkpoints under way are completed last.
        self.checkpoints = stack.enter_context(Checkpoints(workdir, job.sections["checkpoint"]))
        self.state = self._initial_state()
        self.first_step = int(self.state.step)
        self.writer = stack.enter_context(closing(Writer(workdir, self.first_step, quiet=quiet)))
        traced = () if quiet else self.cfg.profile
        self.profile = stack.enter_context(Profile(traced, f"{workdir}/profile"))
        progress = ProgressReport(
            self.cfg.num_steps,
            self.first_step,
            unit="step",
            epoch=len(job.dataset.source) / job.task.data.batch_size,
            quiet=quiet,
        )
        self.progress = stack.enter_context(progress)
        self.batches = stack.enter_context(closing(self._batches()))
        self.corrupt = CorruptCounter(job.dataset.source, job.task.data.max_corrupt)
        self.window = MetricsWindow(workdir, progress.seconds)
        name, sign = job.best_metric
        past = [sign * score for score in logged_scores(workdir, name, self.first_step)]
        self.patience = Patience(job.sections["eval"].patience, past)
        self.train_step = self._train_step()

    def go(self, changes: list[str]) -> dict[str, float]:
        """Trains; returns the metrics of the last evaluation."""
        self._introduce(changes)
        if self.stop.reached():  # while all processes, or a second attempt, got ready
            self._log_stop("with nothing to save")
            return {}
        results: dict[str, float] = {}
        for step in range(self.first_step + 1, self.cfg.num_steps + 1):
            if self.patience.is_over:
                self._log_early_end(step - 1)
                break
            self._advance(step)
            stopping = self.stop.reached()
            evaluating = self._is_due(step, self.job.sections["eval"].every_steps)
            evaluating = evaluating and not stopping  # who stops us doesn't wait long
            saving = evaluating or stopping
            saving = saving or step % self.job.sections["checkpoint"].every_steps == 0
            if saving or step % self.cfg.log_every == 0:
                self._log(step)
            if saving:  # after the metrics, which stop the run if they are not finite
                paused = self.progress.seconds()
                if evaluating:
                    try:
                        results = self._evaluate(step)
                    except Stopped:
                        stopping, evaluating = True, False
                self._save(results if evaluating else {})
                self.window.leave_out(self.progress.seconds() - paused)
            if stopping:
                self.checkpoints.wait()
                self._log_stop(f"after step {step}, which is saved: the same command goes on")
                return results
        if not results:  # nothing was left to train
            try:
                results = self._evaluate(self.first_step)
            except Stopped:
                self._log_stop("with nothing to save")
        return results

    def _initial_state(self) -> TrainState:
        """The run's own state, else a fresh one with pretrained weights where there are any."""
        job = self.job
        with announced("reading the latest checkpoint", "read"):
            state = self.checkpoints.restore(_place(job.abstract, job.shardings))
        if state is not None:
            return state
        with failing_together():
            # On the host: it goes to the devices in its parts.
            given = jax.tree.map(np.asarray, job.task.pretrained() or {})
            require_fits(job.abstract.variables, given, "config.init.weights")
        seed = jax.random.key(job.plain["seed"])
        with (
            announced("initialising the model", "initialised"),
            ThreadPoolExecutor(1) as meanwhile,
        ):
            shapes = jax.eval_shape(job.init, seed)
            places = sharding.tree_shardings(shapes, job.mesh)
            begin = jax.jit(job.begin, out_shardings=job.shardings, donate_argnums=0)
            begin = meanwhile.submit(begin.lower(_place(shapes, places), given).compile)
            fresh = fresh_variables(job.init, seed, places)
            return jax.block_until_ready(begin.result()(fresh, given))

    def _train_step(self) -> Callable:
        job, mesh = self.job, self.job.mesh
        step = make_train_step(
            job.task,
            job.optimizer,
            seed=job.plain["seed"],
            accumulate_steps=self.cfg.accumulate_steps,
            ema_decay=job.sections["optimizer"].ema_decay,
            ema_start=job.sections["optimizer"].ema_start,
            hold=partial(hold_frozen, config=job.sections["optimizer"]),
            skip_not_finite=self.cfg.not_finite == "skip",
        )
        program = jax.jit(
            step,
            in_shardings=(job.shardings, sharding.batch_sharding(mesh)),
            out_shardings=(job.shardings, sharding.replicated(mesh)),
            donate_argnums=0,
        )
        images = job.task.images
        return announcing(program, lambda _, batch: f"the training step for {sides(batch[images])}")

    def _batches(self) -> Iterator[dict[str, Any]]:
        job = self.job
        return train_batches(
            *job.dataset,
            batch_size=job.task.data.batch_size,
            seed=job.plain["seed"],
            start_step=self.first_step,
            num_workers=job.task.data.num_workers,
            parts=sharding.process_parts(job.mesh),
        )

    def _introduce(self, changes: list[str]) -> None:
        job = self.job
        lengths = job.task.data.batch_size, self.cfg.num_steps
        shapes = job.abstract.params
        for line in introduction(shapes, job.mesh, job.dataset, job.eval_sets, *lengths):
            self.progress.log(line)
        if self.first_step:
            self.progress.log("; ".join([f"continuing from step {self.first_step}", *changes]))

    def _advance(self, step: int) -> None:
        """One step: the next batch, the update."""
        first = step == self.first_step + 1
        asked = self.progress.seconds()
        with announced("reading the first batch", "read") if first else nullcontext():
            batch = next(self.batches)
        waited = self.progress.seconds() - asked
        self.corrupt.take(batch)
        if step == 1 and self.cfg.sample_images:
            pictures = self.job.task.visualise(batch, None)
            self.writer.images(0, {f"train_{key}": value for key, value in pictures.items()})

        self.profile.before(step)
        # A step that need not wait for its batch runs in this thread on a CPU, in one heap.
        batch = jax.block_until_ready(put_batch(batch, self.job.mesh))
        self.state, metrics = self.train_step(self.state, batch)
        # One step in flight while the next batch is read, no more; the first one is awaited, as
        # other processes may still compile it.
        if first:
            self.window.add_first(jax.block_until_ready(metrics))
        else:
            self.window.await_last()
            self.window.add(metrics, waited)
        self.profile.after(step, metrics)
        self.progress.advance(step)
        self.stop.listen()  # from the first step on there is something to save

    def _is_due(self, step: int, every: int) -> bool:
        return step % every == 0 or step >= self.cfg.num_steps

    def _log(self, step: int) -> None:
        """The means since the last log; raises where they are not finite."""
        means = self.window.means(self.job.task.data.batch_size)
        values = {f"train/{key}": value for key, value in means.items()}
        values["train/learning_rate"] = float(self.job.schedule(step - 1))
        if self.corrupt.count:
            values["train/corrupt"] = self.corrupt.count
        self.writer.scalars(step, values)
        self.progress.metrics(step, values)
        self.window.check(means, step)
        self.window.restart()
        self.checkpoints.check()

    def _evaluate(self, step: int) -> dict[str, float]:
        """The metrics of all evaluation sets; raises `Stopped` when asked to stop meanwhile."""
        job, results = self.job, {}
        every = job.sections["eval"].every_steps
        for name, eval_set in job.eval_sets.items():
            evaluators = [e for e in job.task.evaluators() if self._is_due(step, every * e.every)]
            if not evaluators:
                continue
            with Evaluating(name, len(eval_set.source), self.stop.cut_short) as progress:
                metrics, pictures = job.eval_loop.run(
                    self.state.eval_variables,
                    eval_set,
                    evaluators,
                    progress,
                    pictures=self.cfg.sample_images,
                )
            results |= {f"{name}/{key}": value for key, value in metrics.items()}
            self.writer.images(step, {f"{name}_{key}": value for key, value in pictures.items()})
        self.writer.scalars(step, results)
        shown = (f"{name} {figure(v)}" for name, v in results.items() if math.isfinite(v))
        self.progress.log(in_columns([f"step {step}", *shown]))
        return results

    def _save(self, results: Mapping[str, float]) -> None:
        name, sign = self.job.best_metric
        score = sign * results[name] if name in results else None
        if score is not None:
            self.patience.take(score)
        self.checkpoints.save(self.state, self.job.plain, score)

    def _log_early_end(self, step: int) -> None:
        (name, sign), patience = self.job.best_metric, self.patience
        why = f"no better {name} than {sign * patience.best:.4g} in {patience.waited} evaluations"
        self.progress.log(f"stopped early after step {step}: {why}")

    def _log_stop(self, what: str) -> None:
        self.progress.log(f"stopped by {self.stop.signal.name} {what}")


def _to_dict(config: Mapping[str, Any]) -> dict[str, Any]:
    return config.to_dict() if hasattr(config, "to_dict") else dict(config)


def _place(abstract: Any, shardings: Any) -> Any:
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), abstract, shardings
    )
