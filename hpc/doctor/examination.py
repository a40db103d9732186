"""A look at a compute node, by a job that is submitted as a worker's is.

`examine_node` puts questions in a folder and waits; the job finds them there, and answers.
"""

import io
import json
import math
import os
import secrets
import shlex
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stderr, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from hpc.doctor.asking import ASK_TIMEOUT_S, Ask, ask
from hpc.doctor.findings import Checkup, Finding, failure, ok, warning
from hpc.doctor.gpus import PROBE, ask_torch, check_driver, check_torch
from hpc.doctor.machine import check_granted, examine_port, examine_system
from hpc.doctor.partitions import requests_of
from hpc.doctor.queue import check_wait
from hpc.doctor.storage import ahead_of_storage_s, examine_disk, examine_home, examine_writing, visit
from hpc.errors import ClusterError, HpcError, SlurmError
from hpc.files import read_json, write_json
from hpc.packing import pack_environment
from hpc.ray_cluster import address_of_this_node
from hpc.settings import ClusterSettings
from hpc.slurm import QueuedJob, Slurm
from hpc.submission import PACKED, submit_worker
from hpc.times import parse_time
from hpc.worker import JOBS, granted_here

ASKED, ANSWER, SETUP_LOG = "asked.json", "answer.json", "setup"
"""In the folder of an examination: the questions, what the job found, what failed of the lines of shell before it."""
JOB_TIME_S = 600
"""A short job is begun sooner."""
LONGEST_S = JOB_TIME_S + 120
"""From a job's begin, until it is given up, whatever the queue says."""
QUEUE_EVERY_S, LOOK_EVERY_S = 5.0, 0.5
UNLISTED_S = 30.0
"""How long the queue may take to list a job that it has accepted."""
LATE_S = 15.0
"""How long shared storage may take to show what a job has written."""
LEAVING_S = 20.0
LOG_LINES = 6
SKEW_S, SKEW_TOO_FAR_S = 5.0, 60.0
"""Between clocks of two nodes: Slurm's times are read against a node's own, to stop in time before its end."""


def examine_node(
    settings: ClusterSettings,
    runs: Path,
    *,
    wait_s: float,
    tell: Callable[[str], None],
    probe: str = PROBE,
    slurm: Slurm | None = None,
) -> Checkup:
    """Look at a compute node, by a short job that is otherwise submitted as a worker is.

    The job is cancelled when it is not waited for any more, and its files are removed.

    Parameters
    ----------
    wait_s
        How long it may wait in the queue [s].
    tell
        Told what is waited for, whenever that changes.
    """
    slurm = slurm or Slurm()
    node, findings = "", list[Finding]()
    try:
        with visit(runs) as folder, Listener.open(slurm, settings.interface) as listener:
            asked = {
                "settings": settings.model_dump(mode="json"),
                "runs": str(runs),
                "probe": probe,
                "address": listener.address,
                "word": listener.word,
            }
            write_json(folder / ASKED, asked)
            if settings.environment == "packed":
                tell("the environment is packed")
                pack_environment(Path(sys.prefix), folder / PACKED)
            try:
                with redirect_stderr(io.StringIO()):  # submitit passes on what the error says that it raises
                    job_id = submit_worker(_short(settings, folder), folder, "doctor", answer, folder)
                node, findings = _await(_Job(job_id, slurm), folder, listener, wait_s, tell)
            finally:
                _end(folder, slurm)
    except HpcError as error:
        findings = [failure(f"no job can be submitted as a worker is: {error}", "mend it in the cluster block")]
    except OSError as error:
        findings = [failure(f"not examined: {runs} cannot be written ({error.strerror})")]
    request = requests_of(settings)[0]
    return Checkup(f"compute node{f' {node}' if node else ''} (asked {request})", tuple(findings))


class Listener:
    """Waits for a compute node to show up at a port of this node's.

    Attributes
    ----------
    address
        ``host:port``; empty where this node has no address that others could reach.
    word
        What it must say.
    """

    def __init__(self, host: str):
        self.word = secrets.token_hex(16)
        self.arrived = threading.Event()
        self._socket = socket.create_server((host, 0)) if host else None
        self.address = f"{host}:{self._socket.getsockname()[1]}" if self._socket else ""
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)

    @classmethod
    def open(cls, slurm: Slurm, interface: str | None) -> Self:
        """Listen where workers would reach a driver on this node."""
        try:
            return cls(address_of_this_node(slurm, interface))
        except (HpcError, OSError):
            return cls("")

    def __enter__(self) -> Self:
        if self._socket:
            self._socket.settimeout(LOOK_EVERY_S)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket:
            self._socket.close()
            self._thread.join()

    def _listen(self) -> None:
        while self._socket and self._socket.fileno() >= 0:
            with suppress(OSError):
                connection, _ = self._socket.accept()
                with connection:
                    connection.settimeout(ASK_TIMEOUT_S)
                    if secrets.compare_digest(connection.recv(len(self.word)), self.word.encode()):
                        self.arrived.set()


def _short(settings: ClusterSettings, folder: Path) -> ClusterSettings:
    """A worker's settings, for a job that is over soon and notes which lines of its setup fail."""
    time_s = int(min(JOB_TIME_S, parse_time(settings.time)))
    note = 'echo "$? $BASH_COMMAND" >> "$HPC_SETUP_LOG"'
    before = (f"HPC_SETUP_LOG={shlex.quote(str(folder / SETUP_LOG))}", f"trap '{note}' ERR EXIT")
    return settings.model_copy(
        update={
            "time": f"{-(-time_s // 60)}",
            "notice_s": min(settings.notice_s, 30),
            "setup": (*before, *settings.setup, "trap - ERR EXIT") if settings.setup else (),
        }
    )


class _Job:
    """How a job stands in the queue, looked up every few seconds."""

    def __init__(self, job_id: str, slurm: Slurm):
        self.job_id = job_id
        self.state = ""
        """The last one that the queue has told."""
        self.queued: QueuedJob | None = None
        self._slurm = slurm
        self._submitted_s = time.monotonic()
        self._looked_s = self._ended_s = math.inf

    def __str__(self) -> str:
        if self.queued is None:
            return f"job {self.job_id} was submitted"
        if self.waits:
            return f"job {self.job_id} waits in the queue{f' ({self.queued.reason})' if self.queued.reason else ''}"
        return f"job {self.job_id} runs on {self.queued.node}"

    @property
    def waits(self) -> bool:
        """Whether the queue has it, and no node has been given to it."""
        return self.queued is not None and self.queued.is_pending

    @property
    def age_s(self) -> float:
        """Time since it was submitted."""
        return time.monotonic() - self._submitted_s

    @property
    def ended_for_s(self) -> float:
        """Time since it was seen to have ended; negative infinity: it has not."""
        return time.monotonic() - self._ended_s

    def look(self, every_s: float = QUEUE_EVERY_S) -> None:
        """Ask the queue, unless that was just done."""
        if 0 <= time.monotonic() - self._looked_s < every_s or self._ended_s < math.inf:
            return
        self._looked_s = time.monotonic()
        with suppress(SlurmError):  # a controller that is busy answers later
            queued = self._slurm.job(self.job_id)
            is_gone = queued is None and (self.queued is not None or self.age_s > UNLISTED_S)
            if is_gone or (queued and not queued.is_active):
                self._ended_s = self._looked_s
            self.queued = queued or self.queued
            self.state = queued.state if queued else self.state


def _await(
    job: _Job, folder: Path, listener: Listener, wait_s: float, tell: Callable[[str], None]
) -> tuple[str, list[Finding]]:
    """Wait for a job's answer; gives its node, and what was found."""
    told = ""
    while True:
        os.scandir(folder).close()  # so that storage that remembers what a folder held looks again
        if found := read_json(folder / ANSWER):
            return found["node"], _completed(found, folder, listener)
        job.look()
        has_said_why = job.state != "COMPLETED" and _log(job.job_id, folder).exists()
        if job.ended_for_s > (LOOK_EVERY_S if has_said_why else LATE_S) or job.age_s > wait_s + LONGEST_S:
            return job.queued.node if job.queued else "", _unanswered(job, folder)
        if job.waits and job.age_s > wait_s:
            job.look(every_s=0)
            if job.queued and job.waits:
                return "", [check_wait(job.job_id, job.queued.reason, wait_s)]
        if str(job) != told:
            told = str(job)
            tell(told)
        time.sleep(LOOK_EVERY_S)


def _completed(found: Mapping[str, Any], folder: Path, listener: Listener) -> list[Finding]:
    """What the job found, and what can be seen from here alone."""
    findings = [Finding(**each) for each in found["findings"]]
    if listener.address:
        drives = "SLURM_JOB_ID" in os.environ
        findings.append(check_connection(listener.address, listener.arrived.is_set(), drives))
    findings += check_clocks(found["clock_s"] - ahead_of_storage_s(folder))
    return [*_failed_setup(folder), *findings]


def _unanswered(job: _Job, folder: Path) -> list[Finding]:
    """Why a job may have ended without an answer."""
    if failed := _failed_setup(folder):
        return failed
    ended = f"job {job.job_id} gave no answer ({job.state or 'the queue does not list it'})"
    try:
        text = _log(job.job_id, folder).read_text(errors="replace")
    except OSError:
        remedy = "put runs on storage that every node sees: --runs FOLDER"
        return [failure(f"{ended} and left no log: does its node see {folder.parent}?", remedy)]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = " · ".join(lines[-LOG_LINES:]) or "its log is empty"
    remedy = "mend it in the cluster block (setup, python)"
    if "No such file" in said and sys.executable in said:
        remedy = f"have {sys.prefix} on storage that every node sees, or name another: cluster: {{python: …}}"
    return [failure(f"{ended}: {said}", remedy)]


def _log(job_id: str, folder: Path) -> Path:
    return folder / JOBS / f"{job_id}_0_log.out"


def _failed_setup(folder: Path) -> list[Finding]:
    with suppress(OSError):
        return check_setup((folder / SETUP_LOG).read_text(errors="replace").splitlines())
    return []


def _end(folder: Path, slurm: Slurm) -> None:
    """Cancel what is still there of an examination, and see it gone: what it writes last would stay."""
    until_s = time.monotonic() + LEAVING_S
    while time.monotonic() < until_s:
        with suppress(SlurmError):
            jobs = [job.job_id for job in slurm.queue() if job.comment == str(folder) and job.is_active]
            if not jobs:
                return
            slurm.cancel(jobs)
        time.sleep(LOOK_EVERY_S)


# In the job


def answer(folder: Path) -> None:
    """Look at the node that this job is on, and write what was found."""
    asked = read_json(folder / ASKED)
    if asked is None:
        raise ClusterError(f"{folder} holds no questions")
    settings = ClusterSettings.model_validate_json(json.dumps(asked["settings"]))
    findings = examine_worker(settings, folder, asked["runs"], asked["probe"])
    if asked["address"]:
        _show_up(asked["address"], asked["word"])
    found = {
        "node": socket.gethostname(),
        "findings": [asdict(finding) for finding in findings],
        "clock_s": ahead_of_storage_s(folder),
    }
    write_json(folder / ANSWER, found)


def examine_worker(
    settings: ClusterSettings, folder: Path, runs: str, probe: str = PROBE, ask: Ask = ask
) -> list[Finding]:
    """Look at the node of a worker's job.

    Parameters
    ----------
    folder
        Where runs are written.
    runs
        What that is called by whoever asks.
    """
    packed = settings.environment == "packed"
    granted = granted_here()
    usable, machine = len(os.sched_getaffinity(0)), os.cpu_count() or 1
    torch = ask_torch(ask, probe)
    nvidia_smi = ask(["nvidia-smi"], ASK_TIMEOUT_S).output if settings.gpus else ""
    return [
        *check_granted(requests_of(settings)[0], granted, usable, machine),
        *check_torch(torch, granted["gpus"], "granted", packed),
        *check_driver(nvidia_smi, torch.cuda, granted["gpus"]),
        *examine_writing(folder, runs),
        *examine_disk(settings.scratch, "cluster: {scratch: FOLDER}", packed),
        *examine_home(),
        *examine_system(as_worker=True),
        examine_port(lambda: address_of_this_node(Slurm())),
    ]


def _show_up(address: str, word: str) -> None:
    host, _, port = address.rpartition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=ASK_TIMEOUT_S) as connection:
        connection.sendall(word.encode())
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)  # until it was read


# Pure


def check_clocks(skew_s: float) -> list[Finding]:
    """Whether two nodes agree on the time."""
    if abs(skew_s) <= SKEW_S:
        return []
    text = (
        f"its clock is {abs(skew_s):,.0f} s {'ahead of' if skew_s > 0 else 'behind'} that of the node that you are on"
    )
    remedy = "tell the site's administrators; until then a larger cluster.notice_s"
    return [failure(text, remedy) if abs(skew_s) > SKEW_TOO_FAR_S else warning(text, remedy)]


def check_connection(address: str, arrived: bool, drives: bool) -> Finding:
    """Whether a compute node has reached this one.

    Parameters
    ----------
    drives
        Whether a driver started here would run here; on a login node, it runs on a compute node.
    """
    if arrived:
        return ok(f"it reaches the node that you are on ({address})")
    text = f"it cannot reach the node that you are on ({address})"
    remedy = "another network: cluster: {interface: ib0}"
    return failure(text, remedy) if drives else warning(f"{text}; the driver runs in a job, among the workers", remedy)


def check_setup(lines: Iterable[str]) -> list[Finding]:
    """What failed of the shell before a worker starts: a status and a command in each line."""
    found = []
    for line in dict.fromkeys(lines):
        status, _, command = line.partition(" ")
        if status.isdecimal():  # else it is the rest of a command of several lines
            text = f"cluster.setup: {command} (status {status})"
            found.append(failure(text, "mend it; if it may fail, append: || true"))
    return found
