"""The job that drives a sweep on Slurm: its script, what it notes in the run, how it is found, how it goes about it."""

import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import typer

from fishray.errors import RunError
from hpc.errors import HpcError

if TYPE_CHECKING:
    from fishray.config.sweep import Sweep
    from fishray.runs.lease import Holder
    from hpc.settings import ClusterSettings
    from hpc.slurm import QueuedJob, Slurm
    from hpc.workers import RayOnSlurm

NOTE = "driver.json"
"""In a run's cluster folder."""
LOOK_EVERY_S = 2.0


@dataclass(frozen=True)
class DriverNote:
    """What a run says of the job that drives it, or drove it last."""

    job_id: str
    command: str = ""
    """What to type to go on with the run."""
    host: str = ""
    pid: int = 0
    """The process, once the job has begun."""
    log: str = ""
    """Where it writes."""

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read it from a run's cluster folder; None if no job ever drove the run."""
        from hpc.files import read_json

        found = read_json(folder / NOTE)
        return cls(**found) if found else None

    def is_of(self, holder: "Holder") -> bool:
        """Whether it is the process that holds the run's lease; if its job is over, that process was killed."""
        return (self.host, self.pid) == (holder.host, holder.pid)

    def write(self, folder: Path) -> None:
        """Put it there."""
        from hpc.files import private_directory, write_json

        write_json(private_directory(folder) / NOTE, asdict(self))


def cluster_settings(sweep: "Sweep") -> "ClusterSettings":
    """What a sweep's workers and its driver's job are."""
    from hpc.settings import ClusterSettings

    return sweep.cluster or ClusterSettings()


def cluster_folder(path: Path) -> Path:
    """Where a run keeps what belongs to its jobs; the same name for it on every node."""
    from fishray.runs.directory import CLUSTER

    return path.resolve() / CLUSTER


def log_path(folder: Path, job_id: str) -> Path:
    """Where a driver's job that `tune` submits writes."""
    return folder / f"driver-{job_id}.log"


def driver_jobs(folder: Path, slurm: "Slurm") -> list["QueuedJob"]:
    """Jobs that drive a run, or wait to: the one that it has noted, and those that carry its name in the queue."""
    note = DriverNote.read(folder)
    noted = note.job_id if note else None
    return [job for job in slurm.queue() if job.is_active and (job.job_id == noted or job.comment == _comment(folder))]


def refuse_driven(path: Path, slurm: "Slurm") -> None:
    """Refuse to start what a job drives already, or will.

    Raises
    ------
    RunError
        Naming the job.
    """
    for job in driver_jobs(cluster_folder(path), slurm):
        see = shlex.join(["fishray", "status", str(path), "--follow"])
        raise RunError(f"{path} is driven by job {job.job_id}, which {whereabouts(job)}; see it: {see}")


def whereabouts(job: "QueuedJob") -> str:
    """Where a job is, in words: ``waits in the queue (Resources)``."""
    if job.is_pending:
        return f"waits in the queue ({job.reason})" if job.reason else "waits in the queue"
    return f"runs on {job.node}" if job.node else "runs"


def driver_script(sweep: "Sweep", path: Path, words: list[str]) -> str:
    """The job script of a sweep's driver.

    Parameters
    ----------
    words
        The command line of `tune`, without the program.
    """
    from hpc.submission import driver_script as script

    cluster, folder = cluster_settings(sweep), cluster_folder(path)
    command = shlex.join([str(Path(sys.executable).with_name("fishray")), *words])
    return script(
        cluster.driver_job,
        f"fishray-{sweep.name}",
        _comment(folder),
        log_path(folder, "%j"),
        cluster.notice_s,
        command,
        cluster.setup,
    )


def is_driver() -> bool:
    """Whether this process is to drive the sweep itself: it runs within a Slurm job, and nobody sits at its terminal.

    Who does, in an interactive job, has a job submitted as from a login node: it outlives theirs, and is stopped alone.
    """
    return "SLURM_JOB_ID" in os.environ and not (sys.stdin and sys.stdin.isatty())


def wait_until_unused(path: Path, slurm: "Slurm") -> None:
    """Wait for the driver before us to be given up, which a node that died may have taken with it.

    One whose job Slurm says is over is given up at once.

    Raises
    ------
    RunError
        If it lives.
    """
    from fishray.runs.lease import SILENT_S, bury, last_holder, refuse_in_use

    until = time.monotonic() + SILENT_S + LOOK_EVERY_S
    told = False
    while path.exists():
        try:
            refuse_in_use(path)
        except RunError as error:
            if time.monotonic() > until:
                raise
            holder, note = last_holder(path), DriverNote.read(cluster_folder(path))
            if holder and note and note.is_of(holder) and _is_over(note.job_id, slurm):
                bury(path, holder)
                continue
            if not told:
                typer.echo(f"{error}; waiting for that")
            told = True
            time.sleep(LOOK_EVERY_S)
        else:
            return


def _is_over(job_id: str, slurm: "Slurm") -> bool:
    """Whether what ran in a job before us runs no more; our own job has been queued again meanwhile."""
    if job_id == os.environ.get("SLURM_JOB_ID"):
        return True
    with suppress(HpcError):
        job = slurm.job(job_id)
        return job is None or not job.is_active
    return False


def open_workers(sweep: "Sweep", path: Path, command: str) -> "RayOnSlurm":
    """The workers of a sweep, driven by this process, which notes its own job for others to find.

    Parameters
    ----------
    command
        What to type to go on with the run.
    """
    from fishray.runs import Run
    from hpc.workers import RayOnSlurm

    folder = cluster_folder(Run.claim(path).path)
    log = os.path.realpath("/proc/self/fd/1")  # which a person's own job script chooses
    job_id, host, pid = os.environ["SLURM_JOB_ID"], socket.gethostname(), os.getpid()
    DriverNote(job_id, command, host, pid, log if Path(log).is_file() else "").write(folder)
    return RayOnSlurm(cluster_settings(sweep), folder, f"fishray-{sweep.name}")


@contextmanager
def queued_again_if_told() -> Iterator[None]:
    """While a sweep has not begun, there is nothing to stop in good order: told of its end, the job starts again."""

    def start_again(number: int, _: object) -> None:
        typer.echo("The time of this job is nearly over before the sweep has begun; it is queued again")
        queue_again()
        sys.exit(128 + number)

    before = signal.signal(signal.SIGUSR1, start_again)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def queue_again() -> None:
    """Have this job start again from its beginning, because its time is over."""
    from hpc.slurm import Slurm

    try:
        Slurm().requeue(os.environ["SLURM_JOB_ID"])
    except HpcError as error:
        typer.echo(f"This job cannot be queued again ({error}); submit it once more")


def _comment(folder: Path) -> str:
    """What a driver's job carries in the queue."""
    return f"driver of {folder}"
