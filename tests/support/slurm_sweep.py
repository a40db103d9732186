"""Sweeps on the Slurm cluster of the tests: begun as people begin them, struck by faults, and looked at afterwards."""

import json
import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crashing import FAULTS, lost_epochs, of, repeated_epochs, rerun_trials
from slurm_cluster import CHECKOUT, SlurmCluster

from fishray.runs import Run, leased
from fishray.runs.state import TrialState
from fishray.tuning.driver import Driver
from fishray.tuning.recorder import Recorder
from fishray.tuning.seats import Seats

VENV = Path(sys.prefix)
SCRIPT = CHECKOUT / "slurm" / "sweep.sh"

START_S, END_S = 300, 900
"""Bounds for a loaded machine; a sweep's first trial starts after about 15 s."""
LOOK_EVERY_S = 0.5

TANK = {
    "simulate": {"minutes": 1.5, "fish": 3, "height": 48, "width": 64, "fps": 30},
    "look_back": 90,
}
SWEEP = {
    "data": TANK,
    "labels": {"horizon": 15, "range_threshold": "auto"},
    "families": {
        "lstm": {
            "trials": 8,
            "space": {"learning_rate": {"loguniform": [0.003, 0.05]}},
            "fixed": {"hidden": 4, "steps_per_epoch": 20, "judged_frames": 60},
            "resources": {"cpus": 1, "gpus": 0},
        }
    },
    "search": {"max_epochs": 9, "grace_epochs": 3},
    "report": {"leaders": 2, "block_frames": 60, "resamples": 100},
    "cluster": {
        "workers": {"max": 2},
        "cpus": 2,
        "memory_gb": 4,  # of a node's six: one worker on each
        "time": "02:00:00",
        "idle_s": 10,
        "driver": {"cpus": 1, "memory_gb": 1},
    },
}
PAUSE_S = 1.2
"""In each epoch, which takes little longer."""
ENDLESS = {"max_epochs": 1000, "scheduler": "none"}
"""A search whose trials are in mid-course until the sweep is stopped, whatever the machine's speed."""


NEXT_START = "from hpc.scratch import remove_stale_scratch; remove_stale_scratch()"
"""What a worker begins with."""


@dataclass
class SlurmSweep:
    """A sweep whose file lies in a folder of its own on the cluster's shared storage."""

    cluster: SlurmCluster
    name: str
    settings: dict[str, Any]
    user: str = "root"
    place: Path | None = None
    """Where its folder is made; on the shared storage when left out."""
    drivers: list[str] = field(default_factory=list)
    """Jobs that drove it, in their order."""

    def __post_init__(self):
        """Write its file."""
        self.folder = (self.place or self.cluster.shared) / self.name
        self.folder.mkdir()
        data = self.settings["data"] | {
            "store": str(self.folder.parent / "tank.zarr")
        }  # the first one makes it for all
        sweep = {"name": self.name, **self.settings, "data": data}
        (self.folder / "sweep.yaml").write_text(json.dumps(sweep))  # JSON is YAML
        if self.user != "root":
            shutil.chown(self.folder, self.user_id)

    @property
    def user_id(self) -> int:
        """Of who runs it."""
        return int(self.cluster.run("id", "-u", user=self.user))

    @property
    def run(self) -> Run:
        """Its run, which the tests read from outside the cluster."""
        return Run(self.folder / "runs" / self.name)

    @property
    def workers_folder(self) -> Path:
        """What belongs to its workers."""
        return self.run.path / "cluster"

    def command(self, *words: str, **options: Any) -> str:
        """Run a command of fishray's from the sweep's folder; what it printed."""
        environment = {"PATH": f"{VENV}/bin:{os.environ['PATH']}", "COLUMNS": "120"}
        done = self.cluster.attempt("fishray", *words, folder=self.folder, user=self.user, **options, **environment)
        self.status = done.status
        return done.output + done.errors

    def submit(self, *options: str) -> str:
        """Submit its driver, by the script that is shipped; the job."""
        words = ("sbatch", "--parsable", "--mem=1G", "--cpus-per-task=1", *options, SCRIPT, "sweep.yaml")
        job = self.cluster.run(*words, folder=self.folder, user=self.user, **self.variables).strip()
        self.drivers.append(job)
        return job

    @property
    def variables(self) -> dict[str, object]:
        """What its drivers find around them, and their workers after them."""
        path = f"{VENV}/bin:{os.environ['PATH']}"
        pace = {"PYTHONPATH": FAULTS, "FISHRAY_PAUSE": PAUSE_S, "FISHRAY_HOLD": self._held}
        return {"PATH": path, "RAY_worker_niceness": 0, **pace}  # Ray's 15 lets a worker starve where others compute

    def hold(self) -> None:
        """Let every trial that has an epoch wait within the next one."""
        self._held.touch()

    def let_go_on(self) -> None:
        """Let trials that wait go on."""
        self._held.unlink()

    @property
    def _held(self) -> Path:
        return self.folder / "held"

    def log(self) -> str:
        """What its drivers have said last."""
        texts = [path.read_text(errors="replace") for path in self.folder.glob("fishray-*.log")]
        return "\n".join(text[-30000:] for text in texts)

    def wait_for(self, what: str, condition: Callable[[], Any], within_s: float = START_S) -> Any:
        """Wait until something holds; what it gave."""
        until_s = time.monotonic() + within_s
        while not (found := condition()):
            assert time.monotonic() < until_s, f"{what}: not within {within_s} s\n{self.log()}\n{self.cluster.jobs()}"
            time.sleep(LOOK_EVERY_S)
        return found

    def finish(self) -> None:
        """Wait for its end, which must be a good one, and for its jobs'."""
        self.wait_for("the end", lambda: self.status_now() in ("finished", "failed"), END_S)
        assert self.status_now() == "finished", self.log()
        self.wait_for("the end of its jobs", lambda: not self.jobs())

    def stop(self) -> None:
        """End it and its jobs, as a person does who has seen enough."""
        said = self.command("stop", f"runs/{self.name}", timeout_s=END_S)
        assert self.status == 0, said
        self.wait_for("the end of its jobs", lambda: not self.jobs())

    def status_now(self) -> str:
        """What its journal says of it."""
        with suppress(FileNotFoundError):
            return self.run.state().status
        return "starting"

    def jobs(self) -> list[str]:
        """Jobs that have not ended: drivers and workers."""
        names = (f"fishray-{self.name}", "fishray")
        over = ("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY")
        return [
            job.id
            for job in self.cluster.jobs().values()
            if job.state not in over and (job.id in self.drivers or job.name == names[0])
        ]

    def workers(self, *states: str) -> dict[str, dict[str, Any]]:
        """The workers in some states, by their job."""
        if not self.run.journal.path.exists():
            return {}
        return {name: each for name, each in self.run.state().workers.items() if each["state"] in states}

    def trials_on(self, worker: str) -> list[TrialState]:
        """Trials that run on a worker."""
        trials = self.run.state().trials.values()
        return [trial for trial in trials if trial.status == "running" and trial.worker == f"worker-{worker}"]

    def a_busy_worker(self, *, beside_driver: bool = True) -> str:
        """A worker all of whose trials have an epoch, and none is about to end; waits for one.

        Parameters
        ----------
        beside_driver
            Whether it may be one on its driver's node.
        """
        last = self.settings["search"]["max_epochs"] - 2

        def find() -> str | None:
            avoided = "" if beside_driver else self.cluster.jobs()[self.drivers[-1]].node
            for name, worker in self.workers("running").items():
                trials = self.trials_on(name)
                if worker["node"] != avoided and trials and all(1 <= trial.epochs < last for trial in trials):
                    return name
            return None

        return self.wait_for("a worker whose trials are in mid-course", find, END_S)

    def epochs(self) -> dict[str, int]:
        """Epochs that each trial has."""
        return {name: trial.epochs for name, trial in self.run.state().trials.items()}

    def epochs_lost(self) -> dict[str, int]:
        """Epochs by trial that the journal has, and no checkpoint."""
        state = self.run.state()
        lost = {name: lost_epochs(self.run, name, trial) for name, trial in state.trials.items()}
        return {name: count for name, count in lost.items() if count}


def assert_that_nothing_was_lost(sweep: SlurmSweep) -> None:
    """It has finished, each trial ended once, and its journal is sound."""
    state = sweep.run.state()
    assert state.status == "finished"
    assert [name for name, trial in state.trials.items() if trial.status not in ("finished", "stopped")] == []
    assert len(state.trials) == sum(family["trials"] for family in sweep.settings["families"].values())
    assert assert_that_the_journal_is_sound(sweep).done


def assert_that_the_journal_is_sound(sweep: SlurmSweep) -> Driver:
    """Each epoch counts once, no trial ran behind its end, and the decisions are those that the results give.

    Returns
    -------
    A driver that would go on with it.
    """
    ends = Counter(each["trial"] for each in of(sweep.run, "end"))
    assert {name: count for name, count in ends.items() if count > 1} == {}
    assert repeated_epochs(sweep.run) == []
    assert rerun_trials(sweep.run) == []
    for name, trial in sweep.run.state().trials.items():
        assert sorted(trial.results) == list(range(1, trial.epochs + 1)), name
    copy = Run(sweep.folder / "copy")
    shutil.copytree(sweep.run.path, copy.path, ignore=shutil.ignore_patterns("lease-*", "trials"))
    with leased(copy.path) as lease:  # a driver that finds other rungs than its results give refuses
        driver = Driver(copy, copy.resolved()[0], Recorder(copy.journal, lease), Seats(dict))
    shutil.rmtree(copy.path)
    return driver


def everything_in(folder: Path) -> list[Path]:
    """Files and folders below a folder; what is removed meanwhile may be among them or not."""
    return [Path(place, name) for place, folders, files in os.walk(folder) for name in (*folders, *files)]


def left_behind(sweep: SlurmSweep, within_s: float = START_S, next_start_on: Collection[str] = ()) -> list[str]:
    """Jobs, processes, sockets and files that are still there some time after a sweep's end.

    Parameters
    ----------
    next_start_on
        Nodes where a worker was killed before it could put its files away, or lost its power: the next worker does.
    """

    def remains() -> list[str]:
        found = [f"job {job}" for job in sweep.jobs()]
        for node in ("login", *sweep.cluster.nodes):
            processes = [each for each in sweep.cluster.processes(node) if not each.is_daemon]
            found += [f"process {each.command[:80]} on {node}" for each in processes]
            ours = {each.pid_inside for each in processes}
            found += [
                f"{each.process} at port {each.port} on {node}"
                for each in sweep.cluster.listening(node)
                if each.pid_inside in ours
            ]
            for scratch in sweep.cluster.tmp(node).glob("hpc-*"):
                found += [f"{path} on {node}" for path in everything_in(scratch)]
        kept = re.compile(r"driver\.json|head\.json|driver-\d+\.log")
        files = [path for path in everything_in(sweep.workers_folder) if path.is_file()]
        found += [str(path) for path in files if not kept.match(path.name)]
        return [*found, *map(str, sweep.run.path.glob("tune-*"))]

    def wait_while(what: Callable[[], list[Any]]) -> list[Any]:
        until_s = time.monotonic() + within_s
        while (found := what()) and time.monotonic() < until_s:
            time.sleep(1)
        return found

    if next_start_on:  # what is dying still holds its files
        wait_while(
            lambda: [each for node in sweep.cluster.nodes for each in sweep.cluster.processes(node, daemons=False)]
        )
    for node in next_start_on:
        sweep.cluster.run(VENV / "bin" / "python", "-c", NEXT_START, node=node, folder=CHECKOUT)
    return wait_while(remains)
