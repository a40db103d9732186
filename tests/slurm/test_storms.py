"""All that can happen to a sweep on Slurm, at random, one after another."""

from random import Random

import pytest
from crashing import of
from slurm_faults import Storm
from slurm_sweep import END_S, SWEEP, SlurmSweep, assert_that_nothing_was_lost, left_behind

TRIALS, STRIKES, MOST_BETWEEN = 24, 6, 12
"""Of the sweep, which has some hundred epochs; of a storm; and epochs between two strikes, on whatever machine."""


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_whatever_happens_every_trial_ends_once_and_nothing_is_left(cluster, seed):
    many = {"lstm": SWEEP["families"]["lstm"] | {"trials": TRIALS}}
    sweep = SlurmSweep(cluster, f"storm-{seed}", SWEEP | {"families": many})
    sweep.submit()
    random = Random(seed)
    storm = Storm(sweep, random)
    for _ in range(STRIKES):
        wanted = epochs(sweep) + random.randint(1, MOST_BETWEEN)
        sweep.wait_for("more epochs", lambda: storm.calm(1) or has_got_on(sweep, wanted), END_S)  # noqa: B023
        print(f"behind {epochs(sweep)} epochs: {storm.strike()}", flush=True)
    sweep.wait_for("the end", lambda: storm.calm(1) or sweep.status_now() == "finished", END_S)
    sweep.finish()
    assert_that_nothing_was_lost(sweep)
    assert left_behind(sweep, next_start_on=cluster.nodes) == []


def has_got_on(sweep, wanted):
    return epochs(sweep) >= wanted or sweep.status_now() == "finished"


def epochs(sweep):
    return len(of(sweep.run, "result"))
