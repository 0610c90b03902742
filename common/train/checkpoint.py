"""Checkpoints of a run, through Orbax: the state, the config, and checksums of all files."""

import contextlib
import dataclasses
import errno
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import jax
from absl import logging
from etils import epath
from jax.experimental import multihost_utils
from orbax import checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from common.config import require
from common.errors import UserError
from common.file_locks import locked
from common.news import announced
from common.task import Variables
from common.train.manifest import find_damage, write_manifest
from common.train.processes import failing_together, is_of_another
from common.train.run_directory import CHECKPOINTS, checkpoint_steps, place_aside
from common.train.state import TrainState
from common.weights.refusals import require_plain

_METRICS = "metrics/metrics"  # written by Orbax
_TIMES = "_CHECKPOINT_METADATA"  # written by Orbax after the checksums
_HELD, _LOCK = ".reading-", "lock"  # how folders of links begin; of their reader
_TRIES = 20  # to read a checkpoint that a trainer doesn't remove meanwhile


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """The config's `checkpoint` section.

    Attributes:
      every_steps: steps between checkpoints (one more is written after every evaluation).
      keep_latest: most recent checkpoints to keep.
      keep_best: checkpoints with the best evaluation to keep besides.
    """

    every_steps: int = 1000
    keep_latest: int = 2
    keep_best: int = 1

    def __post_init__(self):
        require(self.every_steps > 0, "config.checkpoint.every_steps must be positive")
        require(self.keep_latest > 0, "config.checkpoint.keep_latest must be positive")
        require(self.keep_best >= 0, "config.checkpoint.keep_best must not be negative")


class Checkpoints:
    """Saves and restores the state of one run, asynchronously and atomically.

    Args:
      workdir: the run directory.
      config: what to keep.
    """

    def __init__(self, workdir: str, config: CheckpointConfig):
        kept = [policies.LatestN(config.keep_latest)]
        if config.keep_best:
            kept.append(policies.BestN(get_metric_fn=_score, n=config.keep_best))
        self._folder = epath.Path(workdir).resolve() / CHECKPOINTS
        self._saving: int | None = None
        self._failed = False
        if jax.process_index() == 0:
            _remove_left_by_readers(self._folder.parent)
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                # The trainer decides when; Orbax must not skip.
                save_decision_policy=policies.FixedIntervalPolicy(1),
                preservation_policy=policies.AnyPreservationPolicy(kept),
                best_fn=_score,
                best_mode="max",
                create=True,
                # It would read what may be damaged: `restore` looks first, and then reloads.
                lightweight_initialize=True,
                # When all files are there, before the folder gets its name: both or none.
                async_options=ocp.AsyncOptions(post_finalization_callback=self._write_manifest),
            ),
            # Named, or the tree of a stored state can't be looked at before it is restored.
            item_handlers={
                "state": ocp.StandardCheckpointHandler(),
                "config": ocp.JsonCheckpointHandler(),
            },
        )

    def save(
        self,
        state: TrainState,
        config: dict[str, Any],
        score: float | None = None,
    ) -> None:
        """Writes a checkpoint of the state's step unless there is one already.

        `score` is what the best are picked by, larger is better; None where nothing was evaluated.
        Returns before the files are complete; the state's buffers may be donated at once.

        Raises:
          UserError: this or the checkpoint before can't be written, as on a full disk.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), config=ocp.args.JsonSave(config)
        )
        metrics = {} if score is None else {"score": score}  # None would be kept for ever
        try:
            with failing_together():  # none begins what another can't
                self.wait()
                self._saving = step
                with self._told():
                    self._require_room(state)
        except UserError:
            self._failed = True
            raise
        with self._told():
            self._manager.save(step, args=items, metrics=metrics)

    def restore(self, abstract_state: TrainState) -> TrainState | None:
        """Returns the latest state, placed as `abstract_state`'s shardings say; None without one.

        Raises:
          UserError: the stored tree differs from the expected one.
        """
        step = self._latest_intact()
        if step is None:
            return None
        stored = _shapes(self._manager.item_metadata(step)["state"])
        expected = _shapes(abstract_state)
        wrong = sorted(
            name
            for name in stored.keys() | expected.keys()
            if stored.get(name) != expected.get(name)
        )
        if wrong:
            raise UserError(
                f"checkpoint {self._manager.directory / str(step)} is of another model:"
                f" {len(wrong)} arrays differ, first {wrong[0]}"
                f" (stored {stored.get(wrong[0])}, expected {expected.get(wrong[0])})"
            )
        items = ocp.args.Composite(state=ocp.args.StandardRestore(abstract_state))
        return self._manager.restore(step, args=items)["state"]

    def check(self) -> None:
        """Raises UserError when the checkpoint under way has failed; costs nothing."""
        with self._told():
            self._manager.check_for_errors()

    def wait(self) -> None:
        """Waits until everything is on disk; raises as `save` does."""
        with self._told():
            self._manager.wait_until_finished()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if not is_of_another(error):  # processes complete a checkpoint together
            self.close()

    def close(self) -> None:
        """Waits until everything is on disk, and ends."""
        if not self._failed:
            with announced("writing the last checkpoint", "written"):
                self.wait()
                self._manager.close()

    def _require_room(self, state: TrainState) -> None:
        """Raises what a full disk would, but before files are begun and TensorStore complains."""
        needed = sum(x.nbytes for x in jax.tree.leaves(state))
        local = "://" not in str(self._folder)  # buckets are never full
        if local and shutil.disk_usage(self._folder).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turns what the system says against writing into one line for the user."""
        try:
            yield
        except (OSError, ValueError) as error:  # of Python and Orbax, of TensorStore
            code = re.search(r"os_error_code='(\d+)'", str(error))
            number = int(code[1]) if code else getattr(error, "errno", None)
            if number is None:
                raise
            self._failed = True
            steps = checkpoint_steps(self._folder.parent)
            kept = f"step {steps[-1]} is kept" if steps else "there was none before"
            raise UserError(
                f"the checkpoint of step {self._saving} can't be written to {self._folder}:"
                f" {os.strerror(number)}; {kept}. When that is mended, the same command goes on"
            ) from error

    def _write_manifest(self) -> None:
        (folder,) = self._folder.glob(f"{self._saving}.*tmp*")
        write_manifest(folder)

    def _latest_intact(self) -> int | None:
        """The latest step whose files are as they were written.

        Damaged later ones are put aside, which makes room to write them again, and so are earlier
        ones whose metrics can't be trusted: Orbax picks the best by them.
        """
        intact, steps = -1, checkpoint_steps(self._folder.parent)
        with failing_together():
            if steps and jax.process_index() == 0:
                intact = _first_intact(self._folder, steps[::-1])
                for step in steps:
                    folder = self._folder / str(step)
                    if step > intact or not _is_intact(folder, _METRICS):
                        folder.rename(place_aside(self._folder.parent, folder.name))
        if jax.process_count() > 1:
            intact = int(multihost_utils.broadcast_one_to_all(intact))
        if intact < 0:
            return None
        self._manager.reload()
        return intact


@announced("reading the checkpoint", "read")
def restore_variables(workdir: str, *, best: bool = False) -> tuple[int, Variables]:
    """Loads what a run publishes: the moving average when it has one, else the weights.

    The run may be trained meanwhile, and its trainer remove what is being read: then the next
    checkpoint is taken.

    Args:
      workdir: the run directory.
      best: take the checkpoint with the best evaluation instead of the latest.

    Returns:
      The step, and `{"params", "batch_stats", "constants"}`.

    Raises:
      UserError: there is no checkpoint, or each is removed before it is read.
    """
    folder = epath.Path(workdir).resolve() / CHECKPOINTS
    _remove_left_by_readers(folder.parent)
    for _ in range(_TRIES):
        steps = checkpoint_steps(workdir)
        try:
            for step in _order(folder, steps, best):
                checkpoint = folder / str(step)
                with _held(checkpoint) as held:
                    if _is_intact(checkpoint, held=held):
                        logging.info("restoring step %d of %s", step, workdir)
                        return step, _published(held)
            raise UserError(f"{workdir} holds no checkpoint that is intact")
        except Exception:  # whatever Orbax and TensorStore say about files that are gone
            if checkpoint_steps(workdir) == steps:
                raise
            logging.info("a trainer removed that checkpoint meanwhile: taking another")
    raise UserError(
        f"{workdir}: its trainer removed {_TRIES} checkpoints before they were read; try again"
        " later, or train with a larger checkpoint.keep_latest"
    )


def _order(folder: epath.Path, steps: list[int], best: bool) -> list[int]:
    """Steps as they are wanted, the first one most."""
    order = {step: step for step in steps}
    if best:
        scores = {step: _stored_score(folder / str(step)) for step in steps}
        order = {step: score for step, score in scores.items() if score is not None}
    if not order:
        kind = "evaluated checkpoint" if best else "checkpoint"
        raise UserError(f"{folder.parent} holds no {kind} (looked in {folder})")
    return sorted(order, key=order.get, reverse=True)


@contextlib.contextmanager
def _held(checkpoint: epath.Path) -> Iterator[epath.Path]:
    """A folder of hard links to a checkpoint, which no trainer removes while it is read.

    Where the file system has no links, or nothing may be written, it is the checkpoint's own: if
    that is removed, threads of TensorStore print tracebacks, whatever is done about it here.
    """
    root = checkpoint.parent.parent
    if "://" in str(root):
        yield checkpoint
        return
    with contextlib.ExitStack() as stack:
        try:
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix=_HELD, dir=root))
            stack.enter_context(locked(epath.Path(place) / _LOCK, place))
            held = epath.Path(place) / checkpoint.name
            shutil.copytree(checkpoint, held, copy_function=os.link)
        except (OSError, shutil.Error, UserError):
            held = checkpoint
        yield held


def _remove_left_by_readers(root: epath.Path) -> None:
    """Removes the links of readers that were killed; those at work hold a lock."""
    for place in root.glob(f"{_HELD}*"):
        with contextlib.suppress(OSError, UserError), locked(place / _LOCK, place) as held:
            if held:
                place.rmtree()


def _published(checkpoint: epath.Path) -> Variables:
    step = int(checkpoint.name)
    handlers = {"state": ocp.PyTreeCheckpointHandler(), "config": ocp.JsonCheckpointHandler()}
    options = ocp.CheckpointManagerOptions(lightweight_initialize=True)  # reads this step alone
    folder = checkpoint.parent
    with ocp.CheckpointManager(folder, options=options, item_handlers=handlers) as manager:
        tree = manager.item_metadata(step)["state"]
        averaged = tree.get("ema") is not None
        names = (*(["ema"] if averaged else ["params", "batch_stats"]), "constants")
        wanted = {name: tree[name] for name in names if name in tree}  # first runs: no constants
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        item = jax.tree.map(
            lambda m: jax.ShapeDtypeStruct(m.shape, m.dtype, sharding=device), wanted
        )
        restore = ocp.args.PyTreeRestore(
            item,
            partial_restore=True,
            restore_args=ocp.checkpoint_utils.construct_restore_args(item),
        )
        restored = manager.restore(step, args=ocp.args.Composite(state=restore))["state"]
    average = restored.pop("ema", {})
    return {**restored, **average}


def _first_intact(folder: epath.Path, steps: list[int]) -> int:
    for step in steps:
        if _is_intact(folder / str(step)):
            return step
    raise UserError(f"{folder.parent} holds no checkpoint that is intact")


def _is_intact(folder: epath.Path, only: str | None = None, held: epath.Path | None = None) -> bool:
    """Whether a checkpoint, or its file `only`, is intact; read in the place where it is held."""
    place = held or folder
    problem = find_damage(place, only) or _odd_times(place)
    if problem and folder.exists():  # else a trainer removed it
        logging.warning("checkpoint %s is damaged: %s; doing without it", folder, problem)
    return problem is None


def _odd_times(folder: epath.Path) -> str | None:
    """What keeps Orbax from reading the file that it writes after the checksums, if anything."""
    path = folder / _TIMES
    try:
        if not path.exists():
            return None
        require_plain(path)
        json.loads(path.read_text())
    except (UserError, RecursionError) as error:
        return f"{_TIMES} is damaged ({error})"
    except ValueError:  # Orbax does without
        return None
    try:
        ocp.metadata.get_step_metadata(folder)
    except (AttributeError, TypeError, ValueError) as error:
        return f"{_TIMES} is damaged ({error})"
    return None


def _score(metrics: dict[str, float]) -> float:
    return metrics.get("score", -math.inf)  # not evaluated: never the best


def _stored_score(folder: epath.Path) -> float | None:
    if not _is_intact(folder, _METRICS):
        return None
    return json.loads((folder / _METRICS).read_text()).get("score")


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape)
        for path, leaf in leaves
    }
