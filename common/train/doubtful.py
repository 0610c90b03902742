"""Settings that are allowed one by one and make no sense together: said before a run begins."""

from collections.abc import Iterator, Mapping
from typing import Any

from common.train.optimizer import OptimizerConfig
from common.train.schedule import ScheduleConfig
from common.train.sections import EvalConfig, TrainConfig


def doubtful_settings(sections: Mapping[str, Any]) -> Iterator[str]:
    """Yields lines on what a run would do that is hardly meant, and what to set instead.

    Args:
      sections: of the trainer, by name, as `parse_trainer_sections` gives them; the run's length
        is in steps.
    """
    train: TrainConfig = sections["train"]
    yield from _of_schedule(sections["schedule"], train.num_steps)
    yield from _of_evaluation(sections["eval"], train.num_steps)
    optimizer: OptimizerConfig = sections["optimizer"]
    if optimizer.ema_decay is not None and optimizer.ema_start >= train.num_steps:
        yield (
            f"config.optimizer.ema_start={optimizer.ema_start:,} is not before the end of"
            f" {train.num_steps:,} steps: the moving average is the latest weights"
        )
    if train.profile and train.profile[0] > train.num_steps:
        yield (
            f"config.train.profile={train.profile} begins after the last step,"
            f" {train.num_steps:,}: nothing is traced"
        )


def _of_schedule(schedule: ScheduleConfig, steps: int) -> Iterator[str]:
    decays = schedule.kind in ("cosine", "poly")
    end = f"config.schedule.decay_steps={schedule.decay_steps:,}"
    if schedule.warmup_steps >= steps:
        yield (
            f"config.schedule.warmup_steps={schedule.warmup_steps:,} is as long as the run or"
            f" longer ({steps:,} steps): the learning rate never reaches its peak"
        )
    elif decays and steps > schedule.decay_steps and not schedule.end_value:
        lost = steps - schedule.decay_steps
        yield (
            f"the last {lost:,} of {steps:,} steps have a learning rate of 0, as {end} ends before"
            f" config.train.num_steps={steps:,}; config.train.num_epochs makes the schedule follow,"
            f" or set config.schedule.decay_steps={steps}"
        )
    elif decays and 2 * steps < schedule.decay_steps:
        yield (
            f"the run ends after {steps:,} steps, in the first half of its schedule ({end});"
            f" config.schedule.decay_steps={steps} lets the learning rate fall to its end"
        )
    late = [step for step in schedule.milestones if step >= steps]
    if schedule.kind == "step" and late:
        yield (
            f"config.schedule.milestones={schedule.milestones}: the run ends after {steps:,} steps,"
            f" before {len(late)} of {len(schedule.milestones)}"
        )


def _of_evaluation(evaluation: EvalConfig, steps: int) -> Iterator[str]:
    every, patience = evaluation.every_steps, evaluation.patience
    if every > steps:
        yield (
            f"config.eval.every_steps={every:,} exceeds the run's {steps:,} steps: it is evaluated"
            " at its end alone"
        )
    if patience is not None and patience * every >= steps:
        yield (
            f"config.eval.patience={patience} evaluations, every {every:,} steps, are as long as"
            f" the run ({steps:,} steps): it can't end early"
        )
