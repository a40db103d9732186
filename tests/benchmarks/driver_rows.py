"""What a sweep's driver costs by itself: scheduler, journal and files of a run, with trials that learn nothing."""

import json
import shutil
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measuring import Figure, Goal, Plan, Row

from fishray.config.sweep import Sweep
from fishray.files import previous
from fishray.runs import Run, leased
from fishray.runs.directory import provenance
from fishray.tuning.driver import Driver
from fishray.tuning.recorder import Recorder
from fishray.tuning.seats import Seats
from fishray.weights import BEST, under, write_weights
from hpc.cluster import Joined

FEW, MANY = 200, 20_000
MOST_ROUNDS = 2
"""A round of the large sweep takes a minute."""
AT_ONCE = 4
"""Trials on each worker."""


@dataclass(frozen=True)
class Drove:
    """A sweep that was driven to its end."""

    cpu_s: float
    """Of the driver alone, from its first trial to its last."""
    trials: int
    reports: int
    journal_bytes: int
    inodes: int
    """Files and folders of the run, at its end."""

    @property
    def cost_s(self) -> float:
        """CPU seconds for each trial and report."""
        return self.cpu_s / (self.trials + self.reports)


def driver(plan: Plan) -> list[Row]:
    """The cost of each trial and report, in a small sweep and in a large one."""
    many = 2000 if plan.quick else MANY
    small, large = [], []
    for number in range(min(plan.rounds, MOST_ROUNDS)):
        small.append(drive(plan.folder / f"small-{number}", FEW).cost_s)
        large.append(drive(plan.folder / f"large-{number}", many).cost_s)
        shutil.rmtree(plan.folder / f"large-{number}")
    return [
        Row("driver, each trial and report of 20,000", "CPU s", Figure(tuple(large)), Goal("<=", 1.5),
            Figure(tuple(small)), "of 200")
    ]  # fmt: skip


def drive(folder: Path, trials: int, workers: int = 2) -> Drove:
    """Run a sweep whose trials give random values at once."""
    sweep = Sweep.model_validate_json(
        json.dumps({
            "name": "large",
            "data": {"store": "tank.zarr"},
            "families": {"lstm": {"model": "lstm", "trials": trials,
                                  "space": {"learning_rate": {"loguniform": [0.001, 0.1]}}}},
        })
    )  # fmt: skip
    run = Run.claim(folder)
    run.write_sweep(sweep, provenance("none"))
    joined = {f"worker-{number}": Joined(f"node-{number}", AT_ONCE, 0) for number in range(workers)}
    spent_s, reports = 0.0, 0
    rng = np.random.default_rng(0)

    def ask(question: Callable, *arguments):
        nonlocal spent_s
        began_s = time.process_time()
        answer = question(*arguments)
        spent_s += time.process_time() - began_s
        return answer

    with leased(folder) as lease:
        driver = Driver(run, sweep, Recorder(run.journal, lease), Seats(lambda: joined))
        ask(driver.begin, {})
        ask(driver.draw_planned)
        running: deque[Idler] = deque()
        while not ask(lambda: driver.done):
            while (attempt := ask(driver.next_attempt)) is not None:
                running.append(Idler(attempt.trial.config.id, attempt.number, attempt.checkpoint))
                ask(driver.started, running[-1].trial, running[-1].attempt)
            idler = running.popleft()
            reports += 1
            if ask(driver.result, idler.trial, idler.attempt, idler.epoch(float(rng.random()))):
                running.append(idler)
    inodes = sum(1 for _ in folder.rglob("*"))
    return Drove(spent_s, trials, reports, run.journal.path.stat().st_size, inodes)


class Idler:
    """An attempt that learns nothing; its checkpoint is there as soon as its epoch has begun."""

    def __init__(self, trial: str, attempt: int, checkpoint: Path):
        self.trial, self.attempt = trial, attempt
        self._checkpoint = checkpoint
        self._values: list[float] = []

    def epoch(self, value: float) -> dict[str, object]:
        """What a process reports."""
        self._values.append(value)
        epoch = len(self._values)
        best = int(np.argmax(self._values)) + 1
        if epoch == 1:
            write_weights(self._checkpoint, under({"weights": np.zeros(1000, np.float32)}, BEST), {"epoch": epoch})
        else:
            shutil.copyfile(self._checkpoint, previous(self._checkpoint))
        return {
            "epoch": epoch, "loss": 0.5, "validation_auc": value, "validation_average_precision": 0.5,
            "validation_youden_j": 0.5, "best_epoch": best, "collapsed": False, "labels_per_s": 40_000.0,
            "epoch_s": 0.0, "host": "here", "pid": 1, "cpus": 1, "gpus": 0.0,
        }  # fmt: skip
