"""A sweep that is killed again and again, and that must be equal in the end to one that was left alone."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from desk import END_S, START_S, Desk, desk_in, wait_until_none_is_left

from fishray.errors import WeightsError
from fishray.files import previous
from fishray.runs import Run
from fishray.tuning.schedulers import Decision
from fishray.weights import read_weights

FAULTS = Path(__file__).with_name("faults")

ONE_CPU = ("taskset", "--cpu-list", str(max(os.sched_getaffinity(0))))
"""A sweep sees one CPU, so that one trial runs at a time and the order of results is given."""

FAMILIES = {
    "lstm": {
        "trials": 10,
        "space": {"learning_rate": {"loguniform": [0.003, 0.05]}},
        "fixed": {"hidden": 4, "steps_per_epoch": 4, "judged_frames": 60},
    },
    "convlstm": {
        "trials": 3,
        "space": {"learning_rate": {"loguniform": [0.003, 0.05]}},
        "fixed": {"filters": [2], "downsample": 8, "steps_per_epoch": 2, "judged_frames": 60},
    },
}
ASHA = {
    "data": {
        "store": "data/tank.zarr",
        "simulate": {"minutes": 1.5, "fish": 3, "height": 48, "width": 64, "fps": 30},
        "look_back": 90,
        "split": {"train": 0.6, "validation": 0.2, "test": 0.2},
    },
    "labels": {"horizon": 15, "range_threshold": "auto"},
    "families": FAMILIES,
    "search": {"max_epochs": 9, "reduction_factor": 3},
    "report": {"leaders": 2, "block_frames": 60, "resamples": 100},
}
PBT = ASHA | {
    "families": {"lstm": FAMILIES["lstm"] | {"trials": 4}},
    "search": {"scheduler": "pbt", "max_epochs": 6, "grace_epochs": 2},
}

SCORES = ("loss", "validation_auc", "validation_average_precision", "validation_youden_j", "best_epoch", "collapsed")
"""What an epoch gave, but for times and places."""


@dataclass(frozen=True)
class Moment:
    """When a sweep is killed: at a fault, or some time after it has started, or after it has brought some results."""

    fault: str = ""
    results: int = 0
    """More than there were when it started."""
    after_s: float = 0.0

    def __str__(self):
        where = f"{self.results} more results" if self.results else "its start"
        return self.fault or f"{self.after_s:.2f} s after {where}"


@dataclass(frozen=True)
class Crash:
    """What was going on when a sweep was killed."""

    moment: Moment
    doing: str
    """starting, training or scoring; or what was being written."""
    epochs: int
    """Results in the journal."""
    ended: frozenset
    """Trials whose end was in the journal."""
    lost: dict
    """Epochs by trial that the journal had, and no checkpoint had: none, if all is well."""


@dataclass(frozen=True)
class Outcome:
    """What of a run must be the same, however often it was killed."""

    settings: dict
    decisions: list
    """In the order in which they were taken."""
    ends: dict
    scores: dict
    """By trial and epoch."""
    weights: dict
    predictions: dict
    files: list
    """Every file of the run, numbers of leases and attempts left out."""

    def unequal(self, other):
        """Names of what differs."""
        return [each.name for each in fields(self) if not same(getattr(self, each.name), getattr(other, each.name))]


class Bench:
    """Where sweeps of one kind run, all on the same data."""

    def __init__(self, desk: Desk, sweep: dict[str, Any]):
        self.desk = desk
        self._sweep = sweep

    def run(self, name):
        """A run of that name, which is there once its sweep has started; its sweep file is there now."""
        (self.desk.folder / f"{name}.yaml").write_text(json.dumps(self._sweep | {"name": name}))  # JSON is YAML
        return Run(self.desk.folder / "runs" / name)

    def start(self, run, fault=""):
        """Begin a sweep, or go on with it."""
        self._counter.unlink(missing_ok=True)
        path = os.pathsep.join([str(FAULTS), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]).strip(os.pathsep)
        variables = {
            "PYTHONPATH": path,
            "FISHRAY_FAULT": fault,
            "FISHRAY_FAULT_COUNTER": str(self._counter),
            "RAY_worker_niceness": "0",  # Ray's 15 lets a worker starve where others compute
        }
        return self.desk.start("tune", f"{run.path.name}.yaml", before=ONE_CPU, **variables)

    def finish(self, run):
        """Leave a sweep alone until it ends, which it must."""
        status = self.start(run).wait(START_S + END_S)
        assert status == 0, self.desk.log()

    def crash(self, run, moment):
        """Begin a sweep or go on with it, and kill its process group at a moment; None if it ended before.

        A worker of Ray's has a group of its own. It lives until it notices that Ray is gone, and may still be writing
        when the sweep is started again.
        """
        before = len(of(run, "result"))
        process = self.start(run, moment.fault)
        until_s = time.monotonic() + START_S
        while process.poll() is None and len(of(run, "result")) - before < moment.results:
            assert time.monotonic() < until_s, self.desk.log()
            time.sleep(0.02)
        with suppress(subprocess.TimeoutExpired):
            process.wait(START_S if moment.fault else moment.after_s)
        if process.poll() is None:
            assert not moment.fault, f"{moment} did not strike: {self.desk.log()}"
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if process.wait(END_S) != -signal.SIGKILL:
            assert process.returncode == 0, self.desk.log()
            return None
        state = run.standing()
        status = run.state().status
        return Crash(
            moment,
            moment.fault.partition(":")[0] or {"running": "training"}.get(status, status),
            len(of(run, "result")),
            frozenset(name for name, trial in state.trials.items() if trial.ended),
            {name: gone for name, trial in state.trials.items() if (gone := lost_epochs(run, name, trial))},
        )

    @property
    def _counter(self):
        return self.desk.folder / "faults"


@contextmanager
def bench_in(folder, sweep):
    """A bench in an empty folder, gone afterwards."""
    with desk_in(folder) as desk:
        yield Bench(desk, sweep)


def of(run, event):
    """A run's events of one kind."""
    return [each for each in run.journal if each["event"] == event]


def lost_epochs(run, name, trial):
    """How many epochs of a trial the journal has and its checkpoints have not."""
    if trial.ended or trial.donor or not trial.results:
        return 0
    checkpoint = run.checkpoint_path(name, trial.attempt)
    for candidate in (checkpoint, previous(checkpoint), checkpoint):  # a last process may be renaming them now
        with suppress(WeightsError):
            return max(0, trial.epochs - read_weights(candidate)[1]["epoch"])
    return trial.epochs


def outcome(run):
    """What must be the same."""
    state, kept = run.state(), ("trial", *(each.name for each in fields(Decision)))
    assert state.status == "finished", state.status
    assert of(run, "unscored") == []
    return Outcome(
        settings={name: trial.config.model_dump(mode="json") for name, trial in state.trials.items()},
        decisions=[{key: each.get(key) for key in kept} for each in of(run, "decision")],
        ends={name: (trial.status, trial.reason) for name, trial in state.trials.items()},
        scores={(each["trial"], each["epoch"]): {key: each[key] for key in SCORES} for each in of(run, "result")},
        weights={name: read_weights(run.best_path(name)) for name in state.trials},
        predictions={split: vars(each) for split, each in run.read_predictions().items()},
        files=sorted(tidy(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()),
    )


def tidy(path):
    """A file's name within a run, without the numbers of lease and attempt."""
    kinds = (part.split("-")[0] if part.startswith(("lease-", "attempt-")) else part for part in path.parts)
    return "/".join(kinds)


def same(one, other):
    """Whether two values are equal, arrays and numbers to the last bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=True)
    return type(one) is type(other) and one == other


def repeated_epochs(run):
    """Epochs of a trial that count more than once."""
    counts = Counter((each["trial"], each["epoch"]) for each in of(run, "result"))
    return [key for key, count in counts.items() if count > 1]


def rerun_trials(run):
    """Trials that were started again after their end."""
    ended, again = set(), []
    for each in run.journal:
        if each["event"] == "end":
            ended.add(each["trial"])
        if each["event"] == "attempt" and each["trial"] in ended:
            again.append(each["trial"])
    return again


def left_behind(desk):
    """Processes and files that are still there a minute after the last command."""
    return [*wait_until_none_is_left(desk), *desk.leftovers()]
