"""Kills a run again and again, and checks that it ends with the bits of one that was left alone.

    python -m launch.tools.kill_and_resume --config=configs/maxvit_digits.py \\
        --workdir=runs/killed --kills=10 --steps=100

Trains once without a break, then once more, killed (SIGKILL) at random moments, by turns while no
checkpoint is being written and while one is, and started again with 0, 1 or 2 data workers.
Parameters, batch statistics, optimizer state and moving averages of the last step are compared bit
for bit, and so is the loss of every step. Other arguments, such as `--config.data.batch_size=8`, go
to `launch.train`. Exit status: 0 identical, 1 not, 2 a mistake in the arguments.
"""

import argparse
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from common.errors import UserError

# Seconds between looks at what a run has written.
_PAUSE = 0.002
# Seconds at most from what a kill waits for to the kill.
_DELAY = 0.1
# Fields that the comparison decides, and how.
_DECIDED = {
    "--config.train.num_steps": "--steps says it",
    "--config.train.log_every": "every step is compared",
    "--config.data.num_workers": "it changes with every start",
}


def main() -> int:
    """Parses the command line, trains, kills and compares; returns the exit status."""
    args, rest = _parse()
    from absl import logging

    from common.train.run_directory import checkpoint_steps  # takes seconds: JAX comes along

    logging.set_verbosity(logging.ERROR)  # of files that Orbax misses in vain
    root = pathlib.Path(args.workdir)
    if root.exists() and any(root.iterdir()):
        raise UserError(f"{root} is not empty; choose another --workdir")
    (root / "logs").mkdir(parents=True)
    every = args.every
    if every is None:
        every = max(args.steps // (2 * args.kills), 1)
    command = [sys.executable, "-m", "launch.train", *rest, "--config.train.log_every=1"]
    command += [
        f"--config.train.num_steps={args.steps}",
        f"--config.checkpoint.every_steps={every}",
    ]

    whole, killed = root / "whole", root / "killed"
    start = time.monotonic()
    run = Run(command, whole, root / "logs" / "whole.txt", workers=0)
    run.finish()
    print(f"without a break: {args.steps} steps, {time.monotonic() - start:.0f} s", flush=True)

    rng = random.Random(args.seed)
    for kill in range(1, args.kills + 1):
        workers = kill % 3
        run = Run(command, killed, root / "logs" / f"kill_{kill}.txt", workers)
        # One in every part of the run, and early enough for a checkpoint to be written after it.
        first, last = ((kill - i) * args.steps // args.kills for i in (1, 0))
        step = min(rng.randint(first + 1, last), max(args.steps - 2 * every, 1))
        moment = run.kill(step, writing=kill % 2 == 0, delay=rng.uniform(0, _DELAY))
        left = max(checkpoint_steps(killed), default=0)
        print(
            f"kill {kill} of {args.kills}: {moment}, {workers} workers; goes on from step {left}",
            flush=True,
        )
    Run(command, killed, root / "logs" / "end.txt", workers=(args.kills + 1) % 3).finish()
    return 0 if _identical(whole, killed, args.steps) else 1


class Run:
    """One process of `launch.train`.

    Args:
      command: without the run directory.
      workdir: the run directory.
      log: file for what it prints.
      workers: its data workers.
    """

    def __init__(self, command: list[str], workdir: pathlib.Path, log: pathlib.Path, workers: int):
        self._workdir, self._log = workdir, log
        with log.open("w") as file:
            self._process = subprocess.Popen(
                [*command, f"--workdir={workdir}", f"--config.data.num_workers={workers}"],
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def finish(self) -> None:
        """Waits for the end.

        Raises:
          UserError: the run failed; with its last line.
        """
        if self._process.wait():
            raise UserError(f"{self._last()} (all it said is in {self._log})")

    def kill(self, step: int, *, writing: bool, delay: float) -> str:
        """Kills the process and returns when it did.

        Args:
          step: wait until this one is done;
          writing: then until a checkpoint is being written, or none is;
          delay: then so many seconds.
        """
        while self._step() < step and self._process.poll() is None:
            time.sleep(_PAUSE)
        while bool(self._unfinished()) != writing and self._process.poll() is None:
            time.sleep(_PAUSE)
        time.sleep(delay)
        if self._process.poll() is not None:
            self.finish()
            return "came to its end before the kill"
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        unfinished = self._unfinished()
        while_writing = f" while it wrote checkpoint {unfinished}" if unfinished else ""
        return f"after step {self._step()}{while_writing}"

    def _step(self) -> int:
        steps = re.findall(r"^step (\d+)/", self._log.read_text(), re.MULTILINE)
        return int(steps[-1]) if steps else 0

    def _unfinished(self) -> str:
        folders = (self._workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*")
        return next((folder.name.partition(".")[0] for folder in folders), "")

    def _last(self) -> str:
        lines = self._log.read_text().splitlines() or ["the run said nothing"]
        return lines[-1].removeprefix("error: ")


def _identical(whole: pathlib.Path, killed: pathlib.Path, step: int) -> bool:
    """Prints what is the same and what is not."""
    one, other = (dict(_arrays(workdir / "checkpoints" / str(step))) for workdir in (whole, killed))
    same = one.keys() == other.keys()
    for part in sorted({name.partition("/")[0] for name in one}):
        names = [name for name in one if name.partition("/")[0] == part]
        different = [name for name in names if one[name] != other.get(name)]
        same = same and not different
        verdict = f"{len(different)} differ, first {different[0]}" if different else "identical"
        print(f"{part}: {len(names)} arrays, {verdict}")
    losses = [_losses(workdir) for workdir in (whole, killed)]
    different = sorted(k for k in {*losses[0], *losses[1]} if losses[0].get(k) != losses[1].get(k))
    verdict = f"{len(different)} differ, first at step {different[0]}" if different else "identical"
    print(f"losses: {len(losses[0])} steps, {verdict}")
    same = same and not different
    print("the killed run is the other one, bit for bit" if same else "the runs DIFFER")
    return same


def _arrays(checkpoint: pathlib.Path) -> Iterator[tuple[str, tuple]]:
    """Name, and shape, type and bytes of every array."""
    import jax
    import numpy as np
    from orbax import checkpoint as ocp

    path = (checkpoint / "state").resolve()
    with ocp.PyTreeCheckpointer() as reader:
        plain = jax.tree.map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray),
            reader.metadata(path).item_metadata.tree,
        )
        tree = reader.restore(path, restore_args=plain)
    for name, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        key = jax.tree_util.keystr(name, simple=True, separator="/")
        yield key, (array.shape, str(array.dtype), array.tobytes())


def _losses(workdir: pathlib.Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["train/loss"] for line in lines if "train/loss" in line}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        raise UserError(message)


def _parse() -> tuple[argparse.Namespace, list[str]]:
    parser = _Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--workdir", required=True, help="folder of both runs, empty or new")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=100, help="steps of each run")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument(
        "--config.checkpoint.every_steps",
        dest="every",
        type=int,
        help="by default twice as often as kills",
    )
    args, rest = parser.parse_known_args()
    for name in {arg.partition("=")[0] for arg in rest} & _DECIDED.keys():
        raise UserError(f"{name} can't be given here: {_DECIDED[name]}")
    if not 1 <= args.kills <= args.steps:
        raise UserError(f"--kills={args.kills} is not within 1 and --steps={args.steps}")
    return args, rest


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        os._exit(2)
