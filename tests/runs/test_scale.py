"""A run of 20,000 trials: its journal is folded and driven on in little memory."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from fishray.config.sweep import Sweep
from fishray.runs import Run
from fishray.runs.directory import provenance
from fishray.tuning.schedulers import make_scheduler
from fishray.tuning.searchers import make_searcher

pytestmark = pytest.mark.slow

TRIALS = 20_000
MOST_KIB = 1024 * 1024
AUC = "validation_auc"
SWEEP = {
    "name": "large",
    "data": {"store": "tank.zarr"},
    "families": {
        "lstm": {
            "model": "lstm",
            "trials": TRIALS,
            "space": {"learning_rate": {"loguniform": [0.001, 0.1]}, "hidden": {"choice": [4, 8, 16]}},
        }
    },
    "search": {"max_epochs": 9},
}
FACTS = {
    "recordings": [{"name": "tank", "fps": 30.0, "frames": 14_400}], "positives": 0.131, "duration_s": 480.0, "cpus": 2,
    "gpus": 0, "gpu_name": "", "store": "tank.zarr", "command": "fishray tune large.yaml", "host": "here", "pid": 1,
}  # fmt: skip

REBUILD = """
import json, sys, time
from pathlib import Path
from fishray.runs import Run, leased
from fishray.tuning.driver import Driver
from fishray.tuning.recorder import Recorder
from fishray.tuning.seats import Seats

run = Run.open(Path(sys.argv[1]))
began_s = time.perf_counter()
trials = len(run.state().trials)
folded_s = time.perf_counter()
with leased(run.path) as lease:
    driver = Driver(run, run.resolved()[0], Recorder(run.journal, lease), Seats(dict))
built_s = time.perf_counter()
# by the kernel's own mark: rusage still counts what the process was before it began, the one that tests
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(json.dumps({
    "trials": trials,
    "ended": sum(trial.ended for trial in driver.state.trials.values()),
    "done": driver.done,
    "fold_s": folded_s - began_s,
    "rebuild_s": built_s - folded_s,
    "peak_kib": int(peak.split()[1]),
}))
"""


def one_trial(config, scheduler, rng):
    """Everything that the journal says of a trial, one after another, as with one worker."""
    yield "attempt", {"trial": config.id, "attempt": 1}
    values = rng.random(9)
    for epoch, value in enumerate(values, start=1):
        result = {
            "epoch": epoch, "loss": 0.5, AUC: float(value), "validation_average_precision": 0.5,
            "validation_youden_j": 0.5, "best_epoch": int(values[:epoch].argmax()) + 1, "collapsed": False,
            "labels_per_s": 400.0, "epoch_s": 1.5, "host": "here", "pid": 1, "cpus": 1, "gpus": 0.0,
        }  # fmt: skip
        yield "result", {"trial": config.id, "attempt": 1, **result}
        for decision in scheduler.observe(config.id, epoch, float(value)):
            yield "decision", asdict(decision)
            if decision.action != "continue":
                status = {"stop": "stopped", "finish": "finished"}[decision.action]
                yield "end", {"trial": config.id, "status": status, "reason": decision.reason}
                return


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    sweep = Sweep.model_validate_json(json.dumps(SWEEP))
    made = Run.claim(tmp_path_factory.mktemp("runs") / "large")
    made.write_sweep(sweep, provenance("3f9a"))
    scheduler, rng = make_scheduler(sweep, "lstm"), np.random.default_rng(0)
    configs = make_searcher(sweep).foreseen("lstm")
    events = [("sweep", FACTS | {"search": sweep.search.model_dump(mode="json", exclude_none=True)})]
    events += [("trial", {"config": config.model_dump(mode="json")}) for config in configs]
    for config in configs:
        scheduler.add(config)
    for config in configs:
        events += one_trial(config, scheduler, rng)
    made.journal.append_all(events, generation=1)
    return made


def test_the_journal_is_as_large_as_one_of_halving(run):
    epochs = [trial.epochs for trial in run.state().trials.values()]
    assert len(epochs) == TRIALS
    assert sum(each >= 3 for each in epochs) == pytest.approx(TRIALS / 3, rel=0.1)
    assert sum(each == 9 for each in epochs) == pytest.approx(TRIALS / 9, rel=0.1)


def test_a_driver_is_rebuilt_from_it_in_less_than_a_gibibyte(run):
    process = subprocess.run([sys.executable, "-c", REBUILD, run.path], capture_output=True, text=True, check=True)
    found = json.loads(process.stdout)
    print(f"\nfolded in {found['fold_s']:.1f} s, driver in {found['rebuild_s']:.1f} s, {found['peak_kib']:,} KiB")
    assert (found["trials"], found["ended"], found["done"]) == (TRIALS, TRIALS, True)
    assert found["peak_kib"] < MOST_KIB


def test_it_can_be_reported(run):
    command = [Path(sys.executable).with_name("fishray"), "report", run.path]
    began_s = time.perf_counter()
    process = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "120"})
    print(f"\nreported in {time.perf_counter() - began_s:.1f} s")
    best = run.best_trial()
    assert best in process.stdout
    assert process.stderr == ""
