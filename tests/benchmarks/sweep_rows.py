"""A whole sweep of small trials, from the command to its end, against plain function trainables of Ray Tune."""

import json
import os
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import numpy as np
from measuring import Figure, Goal, Plan, Row

from fishray.runs import Run
from fishray.store import new_recording

TRIALS, QUICK_TRIALS = 64, 4
MOST_ROUNDS = 2
"""A round takes minutes, most of them the peer's."""
FRAMES = 14_400
"""Eight minutes, as in the demo."""
SWEEP = """
name: many
data: {{store: {store}, split: {{train: 0.6, validation: 0.2, test: 0.2}}}}
families:
  lstm:
    trials: {trials}
    space:
      learning_rate: {{loguniform: [0.003, 0.05]}}
      hidden: {{choice: [8, 16, 32]}}
      class_weight: {{uniform: [0, 1]}}
      batch_size: {{choice: [4, 8, 16]}}
    fixed: {{steps_per_epoch: 10}}
    resources: {{cpus: 1}}
search: {{scheduler: none, max_epochs: 3}}
"""
EQUAL = "every trial's validation AUC after its last epoch equal bit for bit"


def small_trials(plan: Plan) -> list[Row]:
    """Trials in a second, two at a time; ours keeps checkpoints and scores leaders on test besides."""
    trials, number = QUICK_TRIALS if plan.quick else TRIALS, count()
    sweep = write_sweep(plan.folder, trials)
    plain = Path(__file__).with_name("plain_tune.py")

    def ours() -> dict[str, float]:
        runs = plan.folder / f"runs-{next(number)}"
        run("-c", "from fishray.cli import main; main()", "tune", sweep, "--runs", runs)
        trials = Run(runs / "many").state().trials.values()
        return {trial.config.id: trial.results[max(trial.results)]["validation_auc"] for trial in trials}

    def peer() -> dict[str, float]:
        scores = plan.folder / "scores.json"
        run(plain, sweep, plan.folder / f"plain-{next(number)}", scores)
        found: dict[str, float] = json.loads(scores.read_text())
        return found

    rates: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(min(plan.rounds, MOST_ROUNDS)):
        found = {}
        for name, work in (("ours", ours), ("peer", peer)):
            began_s = time.monotonic()
            found[name] = work()
            rates[name].append(trials / (time.monotonic() - began_s))
        assert found["ours"] == found["peer"]
    return [
        Row(f"{trials} small LSTM trials, two at a time", "trials/s of wall time", Figure(tuple(rates["ours"])),
            Goal(">=", 6), Figure(tuple(rates["peer"])), "function trainables", agreement=EQUAL)
    ]  # fmt: skip


def write_sweep(folder: Path, trials: int) -> Path:
    """A sweep, and a store with a speed of random bursts."""
    store = folder / "speed.zarr"
    with new_recording(store, "random", {"fps": 30.0, "source_sha256": "random"}) as writer:
        writer.finish(np.random.default_rng(0).gamma(2, 5e-4, FRAMES - 1))
    path = folder / "many.yaml"
    path.write_text(SWEEP.format(store=store, trials=trials))
    return path


def run(*words: str | Path) -> None:
    """Run this Python, silently, two trials at a time whatever the machine has."""
    first_two = sorted(os.sched_getaffinity(0))[:2]
    subprocess.run(
        [sys.executable, *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, first_two),
    )
