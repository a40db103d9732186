"""What a sweep has cost, and how long the rest of it takes: both from its epochs as measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from fishray.config.sweep import Sweep
from fishray.report.wording import cpu_time, plural, rough_time
from fishray.runs import RunState, TrialState

MOST_OVERHEAD = 4.0
"""Bound on the stretch by start-up so far, which is all there is to see at the very beginning."""


@dataclass(frozen=True)
class Cost:
    """Time that training took, and what training every trial to the last epoch would have taken."""

    cpu_hours: float
    full_cpu_hours: float


@dataclass(frozen=True)
class Rest:
    """What a sweep is still expected to take after its last event."""

    cpu_s: float
    """Of training."""
    wall_s: float


def training_cost(state: RunState, sweep: Sweep) -> Cost:
    """Add up the CPU time of training; a trial without an epoch counts in full training as its family's mean.

    Parameters
    ----------
    state
        The journal, folded.
    sweep
        The sweep, resolved.
    """
    spent_s = full_s = 0.0
    for name in sweep.families:
        trials = _of_family(state, name)
        means_s = [fmean(cpu_s) for trial in trials if (cpu_s := _epochs_cpu_s([trial]))]
        spent_s += sum(_epochs_cpu_s(trials))
        if means_s:
            full_s += fmean(means_s) * len(trials) * sweep.search.max_epochs
    return Cost(spent_s / 3600, full_s / 3600)


def goes_on(state: RunState, sweep: Sweep, grown: Sequence[str]) -> str:
    """Tell what there is of a run, what goes on, and what that costs still.

    Parameters
    ----------
    state
        The journal, folded.
    sweep
        What the run is to become.
    grown
        How it grows, in words.
    """
    trials = sum(family.trials for family in sweep.families.values())
    most = sweep.search.max_epochs
    going_on = [
        each for each in state.trials.values() if not each.ended or (each.status == "finished" and each.epochs < most)
    ]
    ended, begun = len(state.trials) - len(going_on), sum(bool(trial.results) for trial in going_on)
    parts = [*grown, f"{ended:,} of {plural(trials, 'trial')} ended", f"{begun:,} in mid-course"]
    parts.append(f"{trials - ended - begun:,} not begun")
    cost = training_cost(state, sweep)
    parts.append(f"{cpu_time(cost.cpu_hours)[0]} spent")
    left = what_is_left(state, sweep)
    if left and left.wall_s:
        parts.append(f"about {rough_time(left.wall_s)} left")
    return " · ".join(parts)


def what_is_left(state: RunState, sweep: Sweep) -> Rest | None:
    """Estimate what a sweep still takes after its last event, from the epochs that it has measured so far.

    Of n trials of a family, about n / reduction_factor^k pass the k-th rung (Li et al. 2020). What is left of their
    epochs is spread over the CPUs, and stretched by what start-up and waiting have cost so far.

    Parameters
    ----------
    state
        The journal, folded.
    sweep
        The sweep, resolved.

    Returns
    -------
    None while a family that still has work has no measured epoch.
    """
    spent_s = left_s = 0.0
    demand = 0
    for name, family in sweep.families.items():
        trials = _of_family(state, name)
        cpu_s = _epochs_cpu_s(trials)
        spent_s += sum(_epochs_cpu_s(trials, since_s=state.session_s))
        going_on = family.trials - sum(trial.ended for trial in trials)
        if not going_on:
            continue
        if not cpu_s:
            return None
        left_s += _epochs_left(trials, family.trials, sweep) * fmean(cpu_s)
        demand += going_on * family.resources.cpus
    if not left_s:
        return Rest(0.0, 0.0)
    workers = sum(worker["state"] == "running" for worker in state.workers.values()) or 1
    cpus: int = (state.facts.get("usable_cpus") or state.facts.get("cpus", 1)) * workers
    wall_s: float = state.updated_s - state.session_s
    overhead = min(MOST_OVERHEAD, max(1.0, wall_s * cpus / spent_s)) if spent_s else 1.0
    return Rest(left_s, left_s / min(cpus, demand) * overhead)


def _of_family(state: RunState, name: str) -> list[TrialState]:
    return [trial for trial in state.trials.values() if trial.config.family == name]


def _epochs_cpu_s(trials: Sequence[TrialState], since_s: float = 0.0) -> list[float]:
    """CPU time of every epoch run since a time [s]."""
    results = (result for trial in trials for result in trial.results.values())
    return [result["epoch_s"] * result["cpus"] for result in results if result["time"] >= since_s]


def _epochs_left(trials: Sequence[TrialState], count: int, sweep: Sweep) -> float:
    """Epochs that a family is expected still to run, at least half of one; these of its trials have begun.

    One trial at least goes to the end, as the first at a rung has nobody to lose against.
    """
    if sweep.search.scheduler != "asha":
        ahead = sum(sweep.search.max_epochs - trial.epochs for trial in trials if not trial.ended)
        return max(0.5, ahead + sweep.search.max_epochs * (count - len(trials)))
    entering = count - sum(trial.status == "failed" for trial in trials)
    expected = previous = 0
    for rung in sweep.search.rungs:
        beyond = sum(trial.epochs > previous for trial in trials)
        expected += max(entering, beyond) * (rung - previous)
        entering, previous = -(-entering // sweep.search.reduction_factor), rung
    return max(0.5, expected - sum(trial.epochs for trial in trials))
