"""What can happen to a sweep on the Slurm of the tests, and what follows from it."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from slurm_cluster import ClusterError, SlurmCluster
from slurm_machine import Process
from slurm_sweep import SlurmSweep

from fishray.runs.state import TrialState


def block(cluster: SlurmCluster, node: str) -> str:
    """Take a whole node away from those who use it and who ask for it, by a job of the higher partition; its id."""
    words = ("sbatch", "--parsable", f"--nodelist={node}", "--partition=high", "--mem=6000", "--wrap=sleep 3600")
    return cluster.run(*words, "--output=/dev/null").strip()


def node_of(sweep: SlurmSweep, worker: str) -> str:
    """Where a worker runs."""
    return sweep.workers("running")[worker]["node"]


def processes(sweep: SlurmSweep) -> list[Process]:
    """Everything that runs on the nodes."""
    return [each for node in sweep.cluster.nodes for each in sweep.cluster.processes(node)]


# Each happens to a worker, and gives what mends it.


def cancel(sweep: SlurmSweep, worker: str) -> Callable[[], None]:
    """As its user may do."""
    sweep.cluster.run("scancel", worker)
    return lambda: None


def kill_raylet(sweep: SlurmSweep, worker: str) -> Callable[[], None]:
    """SIGKILL to the process that a Ray node is."""
    there = sweep.cluster.processes(node_of(sweep, worker))
    raylet = next(each for each in there if "/raylet/raylet " in each.command and f"/ray-{worker}/" in each.command)
    sweep.cluster.kill(raylet.pid)
    return lambda: None


def cut_power(sweep: SlurmSweep, worker: str) -> Callable[[], None]:
    """Of its node."""
    node = node_of(sweep, worker)
    sweep.cluster.power_off(node)
    return lambda: sweep.cluster.power_on(node)


def cut_network(sweep: SlurmSweep, worker: str) -> Callable[[], None]:
    """Of its node."""
    node = node_of(sweep, worker)
    sweep.cluster.cut_network(node)
    return lambda: sweep.cluster.mend_network(node)


def preempt(sweep: SlurmSweep, worker: str) -> Callable[[], None]:
    """By a job of a higher partition on its node."""
    job = block(sweep.cluster, node_of(sweep, worker))
    return lambda: sweep.cluster.run("scancel", job) and None


def kill_trial(sweep: SlurmSweep, worker: str) -> Callable[[], None]:
    """SIGKILL to one of the processes that train there."""
    trials = [each for each in sweep.cluster.processes(node_of(sweep, worker)) if "Trainable" in each.command]
    if trials:
        sweep.cluster.kill(trials[0].pid)
    return lambda: None


# And these to the driver.


def kill_driver(sweep: SlurmSweep, _: str = "") -> Callable[[], None]:
    """SIGKILL."""
    driver = next(each for each in processes(sweep) if " tune sweep.yaml " in each.command)
    sweep.cluster.kill(driver.pid)
    return lambda: None


def warn_driver(sweep: SlurmSweep, _: str = "") -> Callable[[], None]:
    """As Slurm does when its time is nearly over."""
    sweep.cluster.run("scancel", "--batch", "--signal=USR1", sweep.drivers[-1])
    return lambda: None


def requeue_driver(sweep: SlurmSweep, _: str = "") -> Callable[[], None]:
    """As Slurm does to make room."""
    sweep.cluster.run("scontrol", "requeue", sweep.drivers[-1])
    return lambda: None


FAULTS = {
    "scancel of a worker": cancel,
    "kill -9 of a raylet": kill_raylet,
    "kill -9 of a trial": kill_trial,
    "power cut": cut_power,
    "network cut": cut_network,
    "preemption": preempt,
    "kill -9 of the driver": kill_driver,
    "warning of the driver": warn_driver,
    "requeue of the driver": requeue_driver,
}
LASTING = ("power cut", "network cut", "preemption")
"""What goes on until it is mended."""
LONGEST_S = 20
"""A network that is cut for longer than 15 s makes a worker lost."""


@dataclass(frozen=True)
class Aftermath:
    """What followed a fault, in seconds after it."""

    seen_s: float
    """Until the journal knew that the trials were not where they had been."""
    resumed_s: float
    """Until each of them ran again."""
    trained_s: float
    """Until each of them had another epoch."""
    replaced_s: float
    """Until there were as many workers as before."""
    farewells: frozenset[str]
    """How its trials went, by the journal: left (behind a saved epoch), lost."""


def strike(
    sweep: SlurmSweep, worker: str, fault: Callable[[SlurmSweep, str], Callable[[], None]]
) -> tuple[Aftermath, Callable[[], None]]:
    """Let something happen to a worker of an endless sweep, and watch its trials go on; none may lose an epoch.

    Returns
    -------
    What followed, and what mends it.
    """
    victims = {trial.config.id: trial.attempt for trial in sweep.trials_on(worker)}
    assert victims, f"{worker} had nothing to lose"
    count = len(sweep.workers("running", "joining"))
    began_s = time.monotonic()
    mend = fault(sweep, worker)

    def passed(what: str, condition: Callable[[TrialState, int], bool]) -> float:
        """Wait until it holds of each victim; when it did."""

        def holds() -> bool:
            trials = sweep.run.state().trials
            return all(condition(trials[name], attempt) for name, attempt in victims.items())

        sweep.wait_for(f"{worker}'s trials {what}", holds)
        return time.monotonic() - began_s

    seen_s = passed("seen as gone", lambda trial, attempt: trial.attempt > attempt or trial.status == "waiting")
    assert not sweep.epochs_lost()
    resumed_s = passed("started again", lambda trial, attempt: trial.attempt > attempt)
    trained_s = passed(
        "trained on", lambda trial, attempt: any(result["attempt"] > attempt for result in trial.results.values())
    )
    sweep.wait_for(f"{worker} replaced", lambda: len(sweep.workers("running", "joining")) >= count)
    replaced_s = time.monotonic() - began_s
    farewells = {
        each["event"]
        for each in sweep.run.journal
        if each["event"] in ("left", "lost") and victims.get(each["trial"]) == each["attempt"]
    }
    return Aftermath(seen_s, resumed_s, trained_s, replaced_s, frozenset(farewells)), mend


class Storm:
    """Strikes a sweep with one fault after another, at random."""

    def __init__(self, sweep: SlurmSweep, random: Random):
        self._sweep, self._random = sweep, random

    def strike(self) -> str:
        """Let something happen, and mend it some seconds later; what it was."""
        name, workers = self._random.choice(sorted(FAULTS)), sorted(self._sweep.workers("running"))
        if not workers:
            return "calm"
        worker = self._random.choice(workers)
        with suppress(ClusterError, KeyError, StopIteration, ProcessLookupError):  # what it is about has ended
            mend = FAULTS[name](self._sweep, worker)
            time.sleep(self._random.uniform(0, LONGEST_S) if name in LASTING else 0)
            mend()
        return f"{name} ({worker})"

    def calm(self, seconds: float) -> None:
        """Wait, and type the same command again where a driver was killed, as a person does."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            job = self._sweep.cluster.jobs()[self._sweep.drivers[-1]]
            if job.state in ("FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL") and self._sweep.status_now() != "finished":
                self._sweep.submit()
            time.sleep(1)
