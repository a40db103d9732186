"""All that can happen to a sweep on Slurm, at random, one after another."""

from random import Random

import pytest
from crashing import of
from slurm_faults import Storm
from slurm_sweep import END_S, SWEEP, SlurmSweep, assert_that_nothing_was_lost, left_behind

TRIALS, STRIKES, CALM_S = 24, 6, (2, 8)
"""Of the sweep, of a storm, and between those; the sweep takes about a minute without."""


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_whatever_happens_every_trial_ends_once_and_nothing_is_left(cluster, seed):
    many = {"lstm": SWEEP["families"]["lstm"] | {"trials": TRIALS}}
    sweep = SlurmSweep(cluster, f"storm-{seed}", SWEEP | {"families": many})
    sweep.submit()
    random = Random(seed)
    storm = Storm(sweep, random)
    sweep.wait_for("its first epoch", lambda: of(sweep.run, "result"))
    for _ in range(STRIKES):
        print(f"{len(of(sweep.run, 'end'))} trials ended: {storm.strike()}", flush=True)
        storm.calm(random.uniform(*CALM_S))
    sweep.wait_for("the end", lambda: storm.calm(1) or sweep.status_now() == "finished", END_S)
    sweep.finish()
    assert_that_nothing_was_lost(sweep)
    assert left_behind(sweep, next_start_on=cluster.nodes) == []
