"""What a sweep will cost, by what its smallest and largest models take here: a range, for nobody knows who goes on.

At its cheapest the smallest trials pass every rung, at its dearest the largest do. Of n trials ASHA lets n /
reduction_factor past a rung if the good ones come first; it cannot wait for them, and lets more past if they come in
random order: at its dearest the mean of that and a standard deviation more.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fishray.config.sweep import SearchSettings, Sweep
from fishray.tuning.node import Node, gpu_share
from fishray.tuning.probing import Model, Probed

START_S = (8.0, 40.0)
"""Of Ray, of the processes that train and of those that score at the end; on a quiet machine and on a loaded one."""
BETWEEN_S = (0.05, 0.3)
"""From one trial to the next in a process."""
SLOWED = 1.5
"""Trials side by side share memory and caches, and may take so many times as long as one alone."""
STATES = 4
"""A checkpoint holds weights, their average, and two moments of each."""
OTHER_FILES = 50
"""Of a run, whatever its size."""
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Range:
    """From the cheapest course of a sweep to its dearest."""

    low: float
    high: float


@dataclass(frozen=True)
class Forecast:
    """What a sweep will cost."""

    wall_s: Range
    cpu_hours: Range
    gpu_hours: Range
    full_cpu_hours: Range
    """If every trial were trained to the last epoch."""
    disk_bytes: Range
    files: Range


@dataclass(frozen=True)
class _Course:
    """How the trials of a family may go."""

    epochs_s: float
    """Of all trials' epochs together."""
    finished: int


def forecast(
    sweep: Sweep, node: Node, models: Mapping[str, Sequence[Model]], probed: Sequence[Probed], valid_frames: int
) -> Forecast:
    """Forecast a sweep that has not begun.

    Parameters
    ----------
    node
        This machine, or any worker of a cluster.
    models, probed
        What `models_of` and `probe` gave.
    valid_frames
        Of validation: a trial keeps a probability of each.
    """
    ends = [_of_course(sweep, node, models, probed, valid_frames, is_dear=is_dear) for is_dear in (False, True)]
    return Forecast(*(Range(low, high) for low, high in zip(*ends, strict=True)))


def _of_course(
    sweep: Sweep,
    node: Node,
    models: Mapping[str, Sequence[Model]],
    probed: Sequence[Probed],
    valid_frames: int,
    *,
    is_dear: bool,
) -> tuple[float, ...]:
    """The values of a forecast at one of its ends, in the order of its fields."""
    workers = 1 if is_dear else max(1, node.most_workers)
    slowed = SLOWED if is_dear else 1.0
    cpu_s = gpu_s = full_s = longest_s = disk = files = 0.0
    for name, family in sweep.families.items():
        measured = [each for each in probed if each.family == name]
        epoch_s = _epoch_times(models[name], measured, family.trials) * slowed
        course = _course(epoch_s, sweep.search, is_dear=is_dear)
        gpus = gpu_share(family.resources, len(node.gpu_names))
        trials_s = course.epochs_s + family.trials * BETWEEN_S[is_dear]
        cpu_s += trials_s * family.resources.cpus
        gpu_s += trials_s * gpus
        full_s += float(epoch_s.sum()) * sweep.search.max_epochs * family.resources.cpus
        last_s = float(epoch_s[-1 if is_dear else 0]) * sweep.search.max_epochs
        longest_s = max(longest_s, last_s + max(each.loading_s for each in measured))
        weights = models[name][-1 if is_dear else 0].weights
        best = FLOAT_BYTES * (weights + valid_frames)
        checkpoint = best + STATES * FLOAT_BYTES * weights
        disk += family.trials * best + course.finished * 2 * checkpoint  # the one before it stays beside it
        files += 2 * family.trials + 4 * course.finished  # a folder and its best; attempt, checkpoints, last words
    shares = [cpu_s / (node.cpus * workers)] + ([gpu_s / (len(node.gpu_names) * workers)] if node.gpu_names else [])
    wall_s = max(*shares, longest_s) + START_S[is_dear]
    return wall_s, cpu_s / 3600, gpu_s / 3600, full_s / 3600, disk, files + OTHER_FILES


def _epoch_times(models: Sequence[Model], probed: Sequence[Probed], trials: int) -> NDArray[np.float64]:
    """Time of an epoch of each trial, from the smallest to the largest [s], shape (trials,).

    Between the two that were measured it grows with the work; trials that are not drawn yet are like those that are.
    """
    work = np.array([model.work for model in models])
    known = sorted((each.model.work, each.epoch_s) for each in probed)
    times = np.interp(work, [each[0] for each in known], [each[1] for each in known])
    return np.sort(np.quantile(times, np.linspace(0, 1, trials)) if trials != len(times) else times)


def _course(epoch_s: NDArray[np.float64], search: SearchSettings, *, is_dear: bool) -> _Course:
    """What trials cost if the smallest go on at every rung, or the largest."""
    ordered = epoch_s[::-1] if is_dear else epoch_s
    rungs = search.rungs
    if search.scheduler == "median" and search.grace_epochs < search.max_epochs:
        rungs = [search.grace_epochs, search.max_epochs]
    entering = [len(epoch_s)]
    for _ in rungs[1:]:
        entering.append(_going_on(entering[-1], search, is_dear=is_dear))
    lengths = np.diff([0, *rungs])
    cost_s = sum(length * float(ordered[:count].sum()) for length, count in zip(lengths, entering, strict=True))
    return _Course(cost_s, entering[-1])


def _going_on(count: int, search: SearchSettings, *, is_dear: bool) -> int:
    """Of so many trials at a rung, how many go on; by the median, half of them or all."""
    if search.scheduler == "median":
        return count if is_dear else -(-count // 2)
    if not is_dear:
        return -(-count // search.reduction_factor)
    chances = [_chance(before, search.reduction_factor) for before in range(count)]
    spread = math.sqrt(sum(chance * (1 - chance) for chance in chances))
    return min(count, math.ceil(sum(chances) + spread))


def _chance(before: int, factor: int) -> float:
    """Of a trial to pass a rung where so many were before it, all orders being alike (see `Asha`)."""
    return (before - (1 - 1 / factor) * (before - 1)) / (before + 1) if before else 1.0
