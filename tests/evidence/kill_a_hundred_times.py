"""Kill sweeps a hundred times in all, let each go on to its end, and compare it with one that was left alone.

make evidence; or fewer: PYTHONPATH=tests/support .venv/bin/python tests/evidence/kill_a_hundred_times.py --kills 20
Each sweep is killed ten times, half of them in the middle of writing something. A kill that comes when the sweep has
ended is none, and the sweeps go on until there are as many kills as were asked for.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from crashing import ASHA, Moment, bench_in, left_behind, of, outcome, repeated_epochs, rerun_trials

KILLS_PER_RUN = 10

FAULTS = {
    "lease-create": 1,
    "sweep-yaml": 1,
    "journal-write": 12,
    "journal-sync": 12,
    "journal-end": 2,
    "checkpoint-write": 5,
    "checkpoint-rename": 5,
    "best-write": 2,
}
"""Where a sweep is killed, and at which time at the latest."""

LAST_FAULTS = ("journal-scoring:1", "predictions-rename:1")
"""Where there is nothing more to train."""


@dataclass
class Tally:
    """What has been seen so far."""

    kills: int = 0
    resumed: int = 0
    """Kills behind which the sweep went on, with nothing lost but the epoch in flight."""
    runs: int = 0
    trials: int = 0
    """Runs with equal trials and settings, each trial run to its end once, and each epoch counted once."""
    decisions: int = 0
    scores: int = 0
    """Runs with equal scores, weights and predictions, float for float."""
    clean: int = 0
    """Runs behind which nothing was left."""

    def rows(self):
        return {
            "kills": self.kills,
            "resumed": f"{self.resumed} of {self.kills}",
            "trials equal": f"{self.trials} of {self.runs} runs",
            "decisions equal": f"{self.decisions} of {self.runs} runs",
            "scores equal": f"{self.scores} of {self.runs} runs",
            "nothing left": f"{self.clean} of {self.runs} runs",
        }

    @property
    def is_perfect(self):
        return self.resumed == self.kills and self.trials == self.decisions == self.scores == self.clean == self.runs


def main():
    """Print a line for each kill and a table; the status is 0 if everything was equal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="evidence-") as folder, bench_in(Path(folder), ASHA) as bench:
        whole = bench.run("whole")
        began_s = time.monotonic()
        bench.finish(whole)
        life_s = time.monotonic() - began_s
        print(f"left alone: {len(of(whole, 'result'))} epochs, {life_s:.0f} s", flush=True)
        while tally.kills < chosen.kills:
            kill_one_run(bench, whole, life_s, [chosen.seed, tally.runs], chosen.kills, tally)
    for name, value in tally.rows().items():
        print(f"{name:<16} {value}")
    return 0 if tally.is_perfect else 1


def kill_one_run(bench, whole, life_s, seed, kills, tally):
    """One run, killed at moments drawn from a seed until it has ended."""
    rng = np.random.default_rng(seed)
    name = f"killed-{tally.runs}"
    print(f"{name}: seed {seed}", flush=True)
    run = bench.run(name)
    tally.runs += 1
    for number in range(KILLS_PER_RUN):
        if tally.kills == kills:
            break
        crash = bench.crash(run, draw(rng, life_s, is_last=number >= KILLS_PER_RUN - 2))
        if crash is None:
            print("      it had ended before", flush=True)
            break
        tally.kills += 1
        tally.resumed += not crash.lost
        lost = f"  LOST {crash.lost}" if crash.lost else ""
        print(f"{tally.kills:>4}  {crash.moment!s:<34} {crash.doing:<18} {crash.epochs:>3} epochs{lost}", flush=True)
    else:
        bench.finish(run)
    if run.state().status != "finished":
        bench.finish(run)
    unequal = outcome(whole).unequal(outcome(run))
    again = [*repeated_epochs(run), *rerun_trials(run)]
    left = left_behind(bench.desk)
    tally.trials += not again and not {"settings", "ends"} & {*unequal}
    tally.decisions += "decisions" not in unequal
    tally.scores += not {"scores", "weights", "predictions"} & {*unequal}
    tally.clean += not left and "files" not in unequal
    faults = [*(f"unequal {part}" for part in unequal), *(f"again {each}" for each in again), *map(str, left)]
    print(f"      {name}: {'; '.join(faults) or 'equal'}", flush=True)


def draw(rng, life_s, *, is_last):
    """A moment: in the middle of writing something, at some time of a life, or after some results."""
    kind = rng.choice(["fault", "time", "results"], p=[0.5, 0.2, 0.3])
    if is_last and rng.random() < 0.5:
        return Moment(str(rng.choice(LAST_FAULTS)))
    if kind == "fault":
        where = str(rng.choice(list(FAULTS)))
        return Moment(f"{where}:{rng.integers(FAULTS[where]) + 1}")
    if kind == "time":
        return Moment(after_s=rng.uniform(0, life_s))
    return Moment(results=int(rng.integers(1, 5)), after_s=rng.uniform(0, 1))


if __name__ == "__main__":
    sys.exit(main())
