"""What a sweep on Slurm survives: each of its workers lost in another way, and its driver too."""

from random import Random

import pytest
from crashing import of
from slurm_faults import (
    Storm,
    block,
    cancel,
    cut_network,
    cut_power,
    kill_driver,
    kill_raylet,
    node_of,
    preempt,
    requeue_driver,
    strike,
    warn_driver,
)
from slurm_sweep import END_S, SWEEP, SlurmSweep, assert_that_nothing_was_lost, left_behind

STRIKES = 6
"""Of a storm; a sweep of 24 trials takes about a minute without."""


def make(cluster, name, trials=8, **changes):
    lstm = SWEEP["families"]["lstm"] | {"trials": trials}
    settings = SWEEP | {"families": {"lstm": lstm}, "cluster": SWEEP["cluster"] | changes}
    return SlurmSweep(cluster, name, settings)


def attempts_on(sweep, worker):
    return [each for each in of(sweep.run, "attempt") if each["worker"] == f"worker-{worker}"]


@pytest.mark.slow
def test_trials_start_on_each_worker_as_it_is_granted(cluster):
    blocked = {node: block(cluster, node) for node in ("n2", "n3")}
    sweep = make(cluster, "elastic", trials=16, workers={"max": 3})
    sweep.submit()
    sweep.wait_for("trials on the first worker", lambda: of(sweep.run, "attempt"))
    assert len(sweep.workers("running")) == 1
    assert {each["reason"] for each in sweep.workers("pending").values()} <= {"Resources", "Priority", ""}
    for number, job in enumerate(blocked.values(), start=2):
        before = {*sweep.workers("running")}
        cluster.run("scancel", job)
        (granted,) = sweep.wait_for("another worker", lambda: {*sweep.workers("running")} - before)  # noqa: B023
        sweep.wait_for("trials on it", lambda: attempts_on(sweep, granted))  # noqa: B023
        assert len(sweep.workers("running", "joining")) == number
    sweep.finish()
    assert_that_nothing_was_lost(sweep)
    assert left_behind(sweep) == []


@pytest.mark.slow
def test_preemption_and_a_time_limit_cost_no_epoch(cluster):
    sweep = make(cluster, "notices", trials=14, time="00:02:00", notice_s=45)
    sweep.submit()
    worker = sweep.a_busy_worker()
    _, mend = strike(sweep, worker, preempt)
    mend()
    sweep.wait_for("a worker's time limit", lambda: "its time is nearly over" in reasons(sweep), END_S)
    sweep.finish()
    assert_that_nothing_was_lost(sweep)
    assert of(sweep.run, "left") != []
    assert of(sweep.run, "lost") == []
    assert left_behind(sweep) == []


def reasons(sweep):
    return {each["reason"] for each in of(sweep.run, "worker")}


@pytest.mark.slow
def test_a_sweep_survives_every_way_to_lose_its_driver(cluster):
    sweep = make(cluster, "drivers", trials=24)
    job = sweep.submit()
    sweep.a_busy_worker()
    kill_driver(sweep)
    cluster.wait_for_job(job, "FAILED", within_s=30)
    had = [*sweep.workers("running")]
    sweep.submit()  # the same command
    sweep.wait_for("another driver", lambda: len(of(sweep.run, "sweep")) == 2)
    sweep.wait_for("its workers", lambda: sweep.workers("running"))
    assert {*sweep.workers("running", "joining")} <= {*had}  # they have waited for it

    sweep.a_busy_worker()
    warn_driver(sweep)
    sweep.wait_for("a third, by itself", lambda: len(of(sweep.run, "sweep")) == 3)
    assert [each["status"] for each in of(sweep.run, "finish")] == ["interrupted"]

    sweep.a_busy_worker()
    requeue_driver(sweep)
    sweep.wait_for("a fourth, by itself", lambda: len(of(sweep.run, "sweep")) == 4)

    sweep.finish()
    assert_that_nothing_was_lost(sweep)
    assert left_behind(sweep) == []


@pytest.mark.slow
def test_a_driver_whose_time_is_over_goes_on_by_itself(accounting_cluster):
    cluster = accounting_cluster
    sweep = make(cluster, "limit", trials=6)
    job = sweep.submit("--time=00:01:00", "--signal=B:USR1@30")
    sweep.wait_for("another driver", lambda: len(of(sweep.run, "sweep")) == 2)
    cluster.run("scontrol", "update", f"JobId={job}", "TimeLimit=20")  # else another minute, and another
    sweep.finish()
    assert {each["reason"] for each in of(sweep.run, "finish")} == {"stopped by SIGUSR1", ""}
    assert of(sweep.run, "lost") == []
    assert_that_nothing_was_lost(sweep)
    assert left_behind(sweep) == []


@pytest.mark.slow
def test_a_sweep_survives_every_way_to_lose_a_worker(cluster):
    sweep = make(cluster, "workers", trials=16)
    sweep.submit("--mem=3G")  # no room for a worker beside the driver
    dark = set()
    for fault in (cancel, kill_raylet, cut_power, cut_network):
        worker = sweep.a_busy_worker()
        if fault is cut_power:
            dark.add(node_of(sweep, worker))
        _, mend = strike(sweep, worker, fault)
        mend()
    sweep.finish()
    assert_that_nothing_was_lost(sweep)
    assert left_behind(sweep, next_start_on=dark) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_whatever_happens_every_trial_ends_once_and_nothing_is_left(cluster, seed):
    sweep = make(cluster, f"storm-{seed}", trials=24)
    sweep.submit()
    random = Random(seed)
    storm = Storm(sweep, random)
    sweep.wait_for("its first epoch", lambda: of(sweep.run, "result"))
    for _ in range(STRIKES):
        print(f"{len(of(sweep.run, 'end'))} trials ended: {storm.strike()}", flush=True)
        storm.calm(random.uniform(5, 15))
    sweep.wait_for("the end", lambda: storm.calm(1) or sweep.status_now() == "finished", 2 * END_S)
    sweep.finish()
    assert_that_nothing_was_lost(sweep)
    assert left_behind(sweep, next_start_on=cluster.nodes) == []
