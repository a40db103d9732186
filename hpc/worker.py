"""What a worker's job runs: a raylet that joins the driver's Ray, for as long as there is one and the node is ours."""

import json
import os
import signal
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Self

from hpc.errors import SlurmError
from hpc.files import read_json, write_json
from hpc.ray_cluster import SIGNALS, Raylet, address_towards, room_for_sockets
from hpc.scratch import Scratch, remove_stale_scratch
from hpc.settings import NODE_END, ClusterSettings
from hpc.slurm import Slurm
from hpc.times import parse_time

HEAD, TOKEN, WORKERS, JOBS = "head.json", "token", "workers", "jobs"
"""Files and folders of a cluster: where the head is, the secret, what workers say of themselves, submitit's files."""

LOOK_EVERY_S = 0.5
LOOK_FOR_HEAD_EVERY_S = 2.0
SERVED_S = 20.0
"""A raylet that ends sooner has not joined."""
TRIES = 3
"""Raylets that end before they join, one after another, before a worker gives up."""
COARSE_S = 60.0
"""Slurm sends what it was asked to send before the end by up to this much sooner."""


@dataclass(frozen=True)
class Head:
    """Where a driver's Ray is."""

    generation: int
    """Counts the heads of this cluster."""
    address: str
    closed: bool = False
    """Whether the driver has ended it, and no other will follow."""

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read the latest that a driver has published; None before the first."""
        found = read_json(folder / HEAD)
        return cls(**found) if found else None

    def publish(self, folder: Path) -> None:
        """Let workers find it."""
        write_json(folder / HEAD, asdict(self))

    def close(self, folder: Path) -> None:
        """Let workers end: no other will follow."""
        replace(self, closed=True).publish(folder)


@dataclass(frozen=True)
class WorkerRecord:
    """What a worker says of itself."""

    job_id: str
    state: str
    """pending (its driver says so), joining, running, draining, ended, failed."""
    host: str
    pid: int
    address: str
    end_s: float
    """When its node will end [s since 1970]."""
    reason: str = ""

    @classmethod
    def read_all(cls, folder: Path) -> dict[str, Self]:
        """By job, what every worker of a cluster has said last."""
        found = (read_json(path) for path in sorted((folder / WORKERS).glob("*.json")))
        return {each["job_id"]: cls(**each) for each in found if each}

    def note_submission(self, folder: Path) -> None:
        """Note a job that has just been submitted, unless it has spoken already."""
        with suppress(FileExistsError), (folder / WORKERS / f"{self.job_id}.json").open("x") as file:
            file.write(json.dumps(asdict(self)))

    def write(self, folder: Path) -> None:
        """Say it."""
        write_json(folder / WORKERS / f"{self.job_id}.json", asdict(self))


def resource_of(job_id: str) -> str:
    """Ray's name for being on one worker and no other."""
    return f"worker-{job_id}"


def work(folder: Path, settings: ClusterSettings) -> None:
    """Be a worker of a cluster until it is not wanted any more; runs within a Slurm job."""
    umask = os.umask(0o077)
    remove_stale_scratch(settings.scratch)
    try:
        with Scratch(f"ray-{os.environ['SLURM_JOB_ID']}", room_for_sockets(settings.scratch)) as scratch:
            Worker(folder, settings, scratch.path, umask).run()
    finally:
        remove_stale_scratch(settings.scratch)  # of what was killed on this node meanwhile


class Worker:
    """One node that serves one driver after another.

    Parameters
    ----------
    folder
        The cluster's, on shared storage.
    scratch
        A private directory on the node.
    umask
        Of what trains here: its files are the user's affair.
    """

    def __init__(self, folder: Path, settings: ClusterSettings, scratch: Path, umask: int, slurm: Slurm | None = None):
        self._folder = folder
        self._settings = settings
        self._scratch = scratch
        self._umask = umask
        self._node_end = scratch / "node-end"
        self._leaving = threading.Event()
        self._why = ""
        self._failures = 0
        """Raylets that ended before they joined, since the last one that did."""
        self._has_served = False
        job_id = os.environ["SLURM_JOB_ID"]
        self._record = WorkerRecord(
            job_id=job_id,
            state="joining",
            host=socket.gethostname(),
            pid=os.getpid(),
            address="",
            end_s=end_of(job_id, slurm or Slurm(), parse_time(settings.time)),
        )

    def run(self) -> None:
        """Serve heads until told to leave, or until none comes any more."""
        for each in SIGNALS:
            signal.signal(each, self._on_signal)
        self._write_end(self._record.end_s)
        self._say("joining")
        served, state, reason = 0, "failed", "it raised"
        try:
            while not self._leaving.is_set() and self._failures < TRIES and (head := self._await_head(served)):
                served = head.generation
                try:
                    self._serve(head)
                except OSError:  # no way there, or storage that is gone
                    self._failures += 1
                    self._leaving.wait(LOOK_FOR_HEAD_EVERY_S)
            state, reason = self._conclusion()
        finally:
            self._say(state, reason)

    def _conclusion(self) -> tuple[str, str]:
        """How this ends, and why."""
        if self._why:
            return "ended", self._why
        if self._failures >= TRIES:
            return "failed", f"Ray does not start here ({self._ray_log})"
        head = Head.read(self._folder)
        if head and not head.closed and not self._has_served:
            return "failed", f"it cannot reach the driver's Ray at {head.address}"
        return "ended", "no driver any more"

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        is_time = self._record.end_s - time.time() < self._settings.notice_s + COARSE_S
        words = {signal.SIGUSR2: "asked to leave", signal.SIGTERM: "preempted or cancelled"}
        name = signal.Signals(number)
        self._why = self._why or ("its time is nearly over" if is_time else words.get(name, name.name))
        self._leaving.set()

    def _await_head(self, served: int) -> Head | None:
        """The next head, or the last one if it is there again; None if it is closed, or none comes in time."""
        until = time.monotonic() + self._settings.patience_s
        while time.monotonic() < until and not self._leaving.is_set():
            head = Head.read(self._folder)
            if head and head.closed:
                return None
            if head and (head.generation > served or answers(head.address)):
                return head
            self._leaving.wait(LOOK_FOR_HEAD_EVERY_S)
        return None

    def _serve(self, head: Head) -> None:
        """Be a node of one head's until it, or this node, is over."""
        granted = granted_here()
        self._record = replace(self._record, address=address_towards(head.address))
        raylet = Raylet(
            head.address,
            self._folder / TOKEN,
            address=self._record.address,
            cpus=granted["cpus"],
            gpus=granted["gpus"],
            memory_bytes=granted["memory_bytes"],
            resources={resource_of(self._record.job_id): 1},
            scratch=self._scratch,
            log=self._ray_log,
            umask=self._umask,
            environment={NODE_END: str(self._node_end), **caches_in(self._scratch)},
        )
        self._say("running")
        began_s = looked_s = time.monotonic()
        try:
            while not raylet.is_over:
                if self._leaving.is_set() and self._record.state != "draining":
                    self._drain()
                time.sleep(LOOK_EVERY_S)
                if time.monotonic() - looked_s > LOOK_FOR_HEAD_EVERY_S:
                    looked_s = time.monotonic()
                    if self._is_over(head):
                        break
        finally:
            raylet.stop()
        if not self._leaving.is_set():
            self._say("joining")
        lasted = time.monotonic() - began_s > SERVED_S
        self._has_served |= lasted
        self._failures = 0 if lasted or self._is_over(head) else self._failures + 1

    @property
    def _ray_log(self) -> Path:
        return self._folder / JOBS / f"{self._record.job_id}-ray.log"

    def _is_over(self, head: Head) -> bool:
        latest = Head.read(self._folder)
        return latest is not None and (latest.closed or latest.generation != head.generation)

    def _drain(self) -> None:
        """Let everything here know that the node ends now; the driver starts nothing more on it when it sees this."""
        self._write_end(time.time())
        self._say("draining", self._why)

    def _write_end(self, end_s: float) -> None:
        part = self._node_end.with_suffix(".part")
        part.write_text(repr(end_s))
        part.replace(self._node_end)

    def _say(self, state: str, reason: str = "") -> None:
        self._record = replace(self._record, state=state, reason=reason)
        with suppress(OSError):  # storage that is full or gone: the queue tells the driver as well
            self._record.write(self._folder)


def end_of(job_id: str, slurm: Slurm, limit_s: float) -> float:
    """When a job that runs now will end [s since 1970]; by its limit where Slurm cannot be asked, as in a container.

    Parameters
    ----------
    limit_s
        What it has asked for [s].
    """
    with suppress(SlurmError):
        if job := slurm.job(job_id):
            return job.end_s
    return time.time() + limit_s


def answers(address: str) -> bool:
    """Whether somebody listens at ``host:port``."""
    host, _, port = address.rpartition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=2.0):
        return True
    return False


def caches_in(scratch: Path) -> dict[str, str]:
    """Environment that keeps compilers' caches, else in everybody's /tmp, in a directory that ends with the worker."""
    return {"TORCHINDUCTOR_CACHE_DIR": str(scratch / "inductor"), "TRITON_CACHE_DIR": str(scratch / "triton")}


def granted_here(environment: dict[str, str] | None = None) -> dict[str, Any]:
    """CPUs, GPUs and memory that Slurm has granted to this job on this node, whatever the machine has."""
    found = dict(os.environ) if environment is None else environment
    visible = [
        device for device in found.get("CUDA_VISIBLE_DEVICES", "").split(",") if device not in ("", "NoDevFiles")
    ]
    cpus = int(found.get("SLURM_CPUS_PER_TASK") or found.get("SLURM_CPUS_ON_NODE") or 1)
    memory_mb = found.get("SLURM_MEM_PER_NODE", "0")
    if (by_cpu_mb := found.get("SLURM_MEM_PER_CPU", "")).isdecimal():
        memory_mb = str(int(by_cpu_mb) * cpus)
    return {
        "cpus": cpus,
        "gpus": int(found.get("SLURM_GPUS_ON_NODE") or len(visible)),
        "memory_bytes": int(memory_mb) * 2**20 if memory_mb.isdecimal() and int(memory_mb) else None,
    }
