"""What a sweep on Slurm survives: each of its workers lost in another way, and its driver too."""

import signal
import time
from contextlib import suppress
from random import Random

import pytest
from crashing import of
from slurm_cluster import ClusterError
from slurm_sweep import END_S, SWEEP, SlurmSweep, assert_that_nothing_was_lost, left_behind, strike


def make(cluster, name, trials=8, **changes):
    lstm = SWEEP["families"]["lstm"] | {"trials": trials}
    settings = SWEEP | {"families": {"lstm": lstm}, "cluster": SWEEP["cluster"] | changes}
    return SlurmSweep(cluster, name, settings)


def block(cluster, node):
    """Take a whole node away from everybody who asks for it from now on; the job."""
    words = ("sbatch", "--parsable", f"--nodelist={node}", "--partition=high", "--mem=6000", "--wrap=sleep 600")
    return cluster.run(*words, "--output=/dev/null").strip()


def attempts_on(sweep, worker):
    return [each for each in of(sweep.run, "attempt") if each["worker"] == f"worker-{worker}"]


def raylet_of(sweep, worker):
    processes = sweep.cluster.processes(node_of(sweep, worker))
    (raylet,) = [each for each in processes if "/raylet/raylet " in each.command and f"/ray-{worker}/" in each.command]
    return raylet.pid


def node_of(sweep, worker):
    return sweep.workers("running")[worker]["node"]


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
        began_s = time.monotonic()
        sweep.wait_for("trials on it", lambda: attempts_on(sweep, granted))  # noqa: B023
        print(f"first trial on worker {number} {time.monotonic() - began_s:.1f} s after it joined")
        assert len(sweep.workers("running", "joining")) == number
    sweep.finish()
    assert_that_nothing_was_lost(sweep)
    assert left_behind(sweep) == []


@pytest.mark.slow
def test_preemption_and_a_time_limit_cost_no_epoch(cluster):
    sweep = make(cluster, "notices", trials=14, time="00:02:00", notice_s=45)
    sweep.submit()
    worker = sweep.a_busy_worker()
    preempting = []
    node = node_of(sweep, worker)
    print("preempted", strike(sweep, worker, lambda: preempting.append(block(cluster, node))))
    cluster.run("scancel", *preempting)
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
    (driver,) = [each for each in processes(sweep) if " tune sweep.yaml " in each.command]
    cluster.kill(driver.pid, signal.SIGKILL)
    cluster.wait_for_job(job, "FAILED", within_s=30)
    had = [*sweep.workers("running")]
    job = sweep.submit()  # the same command
    sweep.wait_for("another driver", lambda: len(of(sweep.run, "sweep")) == 2)
    sweep.wait_for("its workers", lambda: sweep.workers("running"))
    assert {*sweep.workers("running", "joining")} <= {*had}  # they have waited for it

    sweep.a_busy_worker()
    cluster.run("scancel", "--batch", "--signal=USR1", job)  # as near its time limit
    sweep.wait_for("a third, by itself", lambda: len(of(sweep.run, "sweep")) == 3)
    assert [each["status"] for each in of(sweep.run, "finish")] == ["interrupted"]

    sweep.a_busy_worker()
    cluster.run("scontrol", "requeue", job)
    sweep.wait_for("a fourth, by itself", lambda: len(of(sweep.run, "sweep")) == 4)

    sweep.finish()
    assert_that_nothing_was_lost(sweep)
    assert left_behind(sweep) == []


def processes(sweep):
    return [each for node in sweep.cluster.nodes for each in sweep.cluster.processes(node)]


@pytest.mark.slow
def test_a_sweep_survives_every_way_to_lose_a_worker(cluster):
    sweep = make(cluster, "workers", trials=16)
    sweep.submit("--mem=3G")

    worker = sweep.a_busy_worker()
    print("scancel", strike(sweep, worker, lambda: cluster.run("scancel", worker)))

    worker = sweep.a_busy_worker()
    raylet = raylet_of(sweep, worker)
    print("raylet killed", strike(sweep, worker, lambda: cluster.kill(raylet, signal.SIGKILL)))

    worker = sweep.a_busy_worker()
    dark = node_of(sweep, worker)
    print("power cut", strike(sweep, worker, lambda: cluster.power_off(dark)))
    cluster.power_on(dark)

    worker = sweep.a_busy_worker()
    node = node_of(sweep, worker)
    print("network cut", strike(sweep, worker, lambda: cluster.cut_network(node)))
    cluster.mend_network(node)

    sweep.finish()
    assert_that_nothing_was_lost(sweep)
    print(sweep.log())
    assert left_behind(sweep, without_power=[dark]) == []


class Storm:
    """Strikes a sweep with one fault after another, at random."""

    def __init__(self, sweep, seed):
        self._sweep, self._cluster = sweep, sweep.cluster
        self._random = Random(seed)
        self.dark = set()
        """Nodes that lost their power; what was on their disks stays until another worker comes."""

    def strike(self):
        """Let something happen; what it was."""
        faults = {
            "scancel of a worker": self._cancel,
            "raylet killed": lambda worker: self._cluster.kill(raylet_of(self._sweep, worker)),
            "trial killed": self._kill_trial,
            "power cut": self._cut_power,
            "network cut": self._cut_network,
            "preemption": self._preempt,
            "driver killed": lambda _: self._kill_driver(),
            "driver requeued": lambda _: self._cluster.run("scontrol", "requeue", self._sweep.drivers[-1]),
            "driver signalled": lambda _: self._cluster.run(
                "scancel", "--batch", "--signal=USR1", self._sweep.drivers[-1]
            ),
        }
        name = self._random.choice(sorted(faults))
        workers = sorted(self._sweep.workers("running"))
        if not workers:
            return "calm"
        worker = self._random.choice(workers)
        with suppress(ClusterError, KeyError, ValueError, IndexError):  # what it is about may have ended just now
            faults[name](worker)
        return f"{name} ({worker})"

    def see_to_the_driver(self):
        """Type the same command again where a driver was killed, as a person does."""
        job = self._cluster.jobs()[self._sweep.drivers[-1]]
        if job.state in ("FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL") and self._sweep.status_now() != "finished":
            self._sweep.submit()

    def _cancel(self, worker):
        self._cluster.run("scancel", worker)

    def _kill_trial(self, worker):
        node = node_of(self._sweep, worker)
        trials = [each for each in self._cluster.processes(node) if "Trainable" in each.command]
        self._cluster.kill(self._random.choice(trials).pid)

    def _cut_power(self, worker):
        node = node_of(self._sweep, worker)
        self.dark.add(node)
        self._cluster.power_off(node)
        time.sleep(self._random.uniform(0, 20))
        self._cluster.power_on(node)

    def _cut_network(self, worker):
        node = node_of(self._sweep, worker)
        self._cluster.cut_network(node)
        time.sleep(self._random.uniform(0, 30))
        self._cluster.mend_network(node)

    def _preempt(self, worker):
        job = block(self._cluster, node_of(self._sweep, worker))
        time.sleep(self._random.uniform(5, 20))
        self._cluster.run("scancel", job)

    def _kill_driver(self):
        (driver,) = [each for each in processes(self._sweep) if " tune sweep.yaml " in each.command]
        self._cluster.kill(driver.pid)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_whatever_happens_every_trial_ends_once_and_nothing_is_left(cluster, seed):
    sweep = make(cluster, f"storm-{seed}", trials=24)
    sweep.submit()
    storm, random = Storm(sweep, seed), Random(seed)
    until_s = time.monotonic() + 2 * END_S
    sweep.wait_for("its first epoch", lambda: of(sweep.run, "result"))
    while sweep.status_now() not in ("finished", "failed") and time.monotonic() < until_s:
        print(f"{len(of(sweep.run, 'end'))} trials ended: {storm.strike()}", flush=True)
        until_next_s = time.monotonic() + random.uniform(5, 20)
        while time.monotonic() < until_next_s and sweep.status_now() not in ("finished", "failed"):
            storm.see_to_the_driver()
            time.sleep(1)
    sweep.finish()
    assert_that_nothing_was_lost(sweep)
    assert left_behind(sweep, without_power=storm.dark) == []
