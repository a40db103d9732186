"""What a sweep on Slurm survives: each of its workers lost in another way, and its driver too."""

import pytest
from crashing import of
from slurm_faults import (
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
from slurm_sweep import (
    END_S,
    ENDLESS,
    START_S,
    SWEEP,
    SlurmSweep,
    assert_that_nothing_was_lost,
    assert_that_the_journal_is_sound,
    left_behind,
)

FAREWELLS = {
    cancel: ({"left"}, {"lost"}, {"left", "lost"}),  # three seconds for a last epoch: some make it
    kill_raylet: ({"lost"},),
    cut_power: ({"lost"},),
    cut_network: ({"lost"},),
    preempt: ({"left"},),
}
"""How the trials of a worker may go when it happens to it."""


def make(cluster, name, trials, search=None, **changes):
    lstm = SWEEP["families"]["lstm"] | {"trials": trials}
    settings = SWEEP | {"families": {"lstm": lstm}, "search": search or SWEEP["search"]}
    return SlurmSweep(cluster, name, settings | {"cluster": SWEEP["cluster"] | changes})


def attempts_on(sweep, worker):
    return [each for each in of(sweep.run, "attempt") if each["worker"] == f"worker-{worker}"]


@pytest.mark.slow
def test_trials_start_on_each_worker_as_it_is_granted(cluster):
    blocked = {node: block(cluster, node) for node in ("n2", "n3")}
    for job in blocked.values():
        cluster.wait_for_job(job, "RUNNING", START_S)
    sweep = make(cluster, "elastic", 6, ENDLESS, workers={"max": 3})
    sweep.hold()
    sweep.submit()
    sweep.wait_for("trials on the first worker", lambda: of(sweep.run, "attempt"))
    assert len(sweep.workers("running", "joining")) == 1
    assert {each["reason"] for each in sweep.workers("pending").values()} <= {"Resources", "Priority", ""}
    for number, job in enumerate(blocked.values(), start=2):
        before = {*sweep.workers("running")}
        cluster.run("scancel", job)
        (granted,) = sweep.wait_for("another worker", lambda: {*sweep.workers("running")} - before)  # noqa: B023
        sweep.wait_for("trials on it", lambda: attempts_on(sweep, granted))  # noqa: B023
        assert len(sweep.workers("running", "joining")) == number
    sweep.let_go_on()
    sweep.stop()
    assert_that_the_journal_is_sound(sweep)
    assert left_behind(sweep) == []


@pytest.mark.slow
def test_a_sweep_survives_every_way_to_lose_a_worker(cluster):
    sweep = make(cluster, "workers", 4, ENDLESS)
    sweep.submit()
    dark = set()
    for fault, farewells in FAREWELLS.items():
        worker = sweep.a_busy_worker(beside_driver=False)
        if fault is cut_power:
            dark.add(node_of(sweep, worker))
        aftermath, mend = strike(sweep, worker, fault)
        print(fault.__name__, aftermath, flush=True)
        assert aftermath.farewells in farewells, fault
        mend()
    sweep.stop()
    assert_that_the_journal_is_sound(sweep)
    assert left_behind(sweep, next_start_on=dark) == []


@pytest.mark.slow
def test_a_worker_whose_time_is_over_costs_no_epoch_and_is_replaced(cluster):
    words = ("sbatch", "--parsable", "--partition=high", "--mem=2500", "--output=/dev/null", "--wrap=sleep 3600")
    blocked = [cluster.run(*words, f"--nodelist={node}").strip() for node in cluster.nodes]  # for workers, no driver
    for job in blocked:
        cluster.wait_for_job(job, "RUNNING", START_S)
    sweep = make(cluster, "limits", 1, ENDLESS, workers={"max": 1}, notice_s=60)
    sweep.hold()
    sweep.submit()
    (first,) = sweep.wait_for("a worker that waits", lambda: sweep.workers("pending"))
    cluster.run("scontrol", "update", f"JobId={first}", "TimeLimit=3")  # the next has two hours
    cluster.run("scancel", *blocked)
    sweep.wait_for("a worker's time limit", lambda: "its time is nearly over" in reasons(sweep), END_S)
    sweep.let_go_on()
    sweep.wait_for("an epoch elsewhere", lambda: {each["attempt"] for each in of(sweep.run, "result")} == {1, 2})
    sweep.stop()
    assert_that_the_journal_is_sound(sweep)
    assert len({each["worker"] for each in of(sweep.run, "attempt")}) == 2
    assert [each["attempt"] for each in of(sweep.run, "left")] == [1]
    assert of(sweep.run, "lost") == []
    assert left_behind(sweep) == []


def reasons(sweep):
    return {each["reason"] for each in of(sweep.run, "worker")}


@pytest.mark.slow
def test_a_sweep_survives_every_way_to_lose_its_driver(cluster):
    sweep = make(cluster, "drivers", 200)  # more than it gets through meanwhile
    job = sweep.submit()
    sweep.wait_for("the first end of a trial", lambda: of(sweep.run, "end"), END_S)
    kill_driver(sweep)
    cluster.wait_for_job(job, "FAILED", within_s=START_S)
    had = {*sweep.workers("pending", "joining", "running")}
    sweep.submit()  # the same command
    sweep.wait_for("another driver", lambda: len(of(sweep.run, "sweep")) == 2)
    sweep.wait_for("its workers", lambda: sweep.workers("running"))
    assert {*sweep.workers("joining", "running")} <= had  # they have waited for it

    sweep.a_busy_worker()
    warn_driver(sweep)
    sweep.wait_for("a third, by itself", lambda: len(of(sweep.run, "sweep")) == 3)
    assert [each["status"] for each in of(sweep.run, "finish")] == ["interrupted"]

    sweep.a_busy_worker()
    requeue_driver(sweep)
    sweep.wait_for("a fourth, by itself", lambda: len(of(sweep.run, "sweep")) == 4)

    sweep.a_busy_worker()
    sweep.stop()
    assert_that_the_journal_is_sound(sweep)
    assert left_behind(sweep) == []


@pytest.mark.slow
def test_a_driver_whose_time_is_over_goes_on_by_itself(accounting_cluster):
    cluster = accounting_cluster
    sweep = make(cluster, "limit", 6)
    sweep.hold()
    job = sweep.submit("--time=02:00:00", "--signal=B:USR1@40")
    sweep.a_busy_worker()
    cluster.run("scontrol", "update", f"JobId={job}", "EndTime=now+70")  # it is told of that 40 s before, or sooner
    sweep.wait_for("its last epochs", lambda: of(sweep.run, "stopping"))
    sweep.let_go_on()
    sweep.wait_for("another driver", lambda: len(of(sweep.run, "sweep")) == 2)
    cluster.run("scontrol", "update", f"JobId={job}", "TimeLimit=120")  # else the same again, and again
    sweep.finish()
    assert {each["reason"] for each in of(sweep.run, "finish")} == {"stopped by SIGUSR1", ""}
    assert of(sweep.run, "lost") == []
    assert_that_nothing_was_lost(sweep)
    assert left_behind(sweep) == []
