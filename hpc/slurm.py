"""What Slurm says of jobs, and what we ask of it. The one call that leaves the process is a parameter."""

import os
import re
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from hpc.errors import SlurmError
from hpc.times import parse_moment

RunCommand = Callable[[Sequence[str], str], str]
"""Runs a command, with what it reads, and gives what it says; raises a SlurmError."""

COMMAND_TIMEOUT_S = 60.0
"""A busy controller answers in seconds, one that is down not at all."""

WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT")
"""States of a job that has no node, or none that is ready."""

OVER = (
    *("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "DEADLINE", "OUT_OF_MEMORY"),
    *("NODE_FAIL", "BOOT_FAIL", "LAUNCH_FAILED", "PREEMPTED", "REVOKED"),
)
"""States of a job that has ended; in one that a later Slurm may add, it is taken to go on."""

QUEUE_FORMAT = "%A|%T|%e|%N|%r|%k"
"""By the number that a job knows itself by, whether or not it belongs to an array."""

INHERITED = re.compile(r"(SLURM|SLURMD|SRUN|SBATCH|SQUEUE|SCANCEL|SACCT|SUBMITIT|PMI|PMIX)_")
KEPT = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT")
"""Where Slurm is, and who asks it; it sets none of these for a job, or the same as outside."""


@dataclass(frozen=True)
class QueuedJob:
    """One job in the queue."""

    job_id: str
    state: str
    reason: str
    """Why it waits, in the queue's own word (``Resources``, ``Priority``, ``QOSMaxGRESPerUser``)."""
    node: str
    end_s: float
    """When its time is over [s since 1970]; infinity if Slurm does not say."""
    comment: str

    @property
    def is_pending(self) -> bool:
        """Whether it has not been given a node yet."""
        return self.state in WAITING

    @property
    def is_active(self) -> bool:
        """Whether it has not ended."""
        return self.state not in OVER


def run_command(command: Sequence[str], given: str = "") -> str:
    """Run a command of Slurm's.

    Parameters
    ----------
    given
        What it reads.

    Returns
    -------
    What it prints; if that is nothing, what it says beside: ``sbatch --test-only`` answers there.

    Raises
    ------
    SlurmError
        With its own words, if it fails, is not there or does not answer.
    """
    try:
        done = subprocess.run(
            command,
            input=given,
            capture_output=True,
            encoding="utf-8",
            errors="replace",  # a comment on another job may be anything
            timeout=COMMAND_TIMEOUT_S,
            env=outside_a_job(),
            check=False,
        )
    except FileNotFoundError as error:
        raise SlurmError(f"{command[0]}: not found; is this a machine of the cluster?") from error
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{command[0]} did not answer within {COMMAND_TIMEOUT_S:.0f} s") from error
    if done.returncode:
        words = " ".join((done.stderr or done.stdout).split()) or f"status {done.returncode}"
        raise SlurmError(words if words.startswith(command[0]) else f"{command[0]}: {words}")
    return done.stdout or done.stderr


def outside_a_job(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment without what Slurm put there for the job that we are in, and without a user's defaults.

    A job submitted from within another inherits that one's sizes otherwise, and its ``srun`` refuses them; sbatch heeds
    its variables more than a script, and squeue leaves out jobs and rewrites times by its own.

    Parameters
    ----------
    environment
        This process's when left out.
    """
    found = os.environ if environment is None else environment
    return {key: value for key, value in found.items() if key in KEPT or not INHERITED.match(key)}


class Slurm:
    """The Slurm that this machine belongs to.

    Parameters
    ----------
    run
        Runs its commands.
    """

    def __init__(self, run: RunCommand = run_command):
        self._run = run

    def queue(self) -> list[QueuedJob]:
        """Every job of this user that Slurm lists, those that have just ended among them.

        All are asked for: squeue fails when a single one that it is asked for is not there any more.
        """
        return parse_queue(self._run(["squeue", "--me", "--noheader", "--states=all", f"--format={QUEUE_FORMAT}"], ""))

    def job(self, job_id: str) -> QueuedJob | None:
        """One job; None if Slurm does not list it any more."""
        return next((job for job in self.queue() if job.job_id == job_id), None)

    def final_state(self, job_id: str) -> str:
        """How accounting says that a job ended; empty where there is no accounting, or it does not know."""
        try:
            said = self._run(
                ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job_id}", "--format=State"], ""
            )
        except SlurmError:
            return ""
        state = re.match(r"[A-Z_]+\b", said)  # "CANCELLED by 1000"
        return state.group() if state else ""

    def cancel(self, job_ids: Collection[str]) -> None:
        """Cancel jobs; one that has ended is none of our business any more."""
        if job_ids:
            self._run(["scancel", "--quiet", *sorted(job_ids)], "")

    def signal(self, job_id: str, signal: str, *, batch: bool = False) -> None:
        """Send a signal to a job's steps, or to the shell of its script alone."""
        self._run(["scancel", "--quiet", f"--signal={signal}", *(["--batch"] if batch else []), job_id], "")

    def submit(self, script: str) -> str:
        """Submit a job script; gives the job's id."""
        said = self._run(["sbatch", "--parsable"], script)
        job_id = re.search(r"^(\d+)(;|$)", said, re.MULTILINE)  # behind what a site's own sbatch says first
        if not job_id:
            raise SlurmError(f"sbatch gave no job's number: {' '.join(said.split())}")
        return job_id.group(1)

    def requeue(self, job_id: str) -> None:
        """Let a job start again from its beginning."""
        self._run(["scontrol", "requeue", job_id], "")

    def node_address(self, node: str) -> str:
        """The name or address by which Slurm reaches a node."""
        match = re.search(r"\bNodeAddr=(\S+)", self._run(["scontrol", "show", "node", node], ""))
        return match.group(1) if match else node

    def test(self, script: str) -> str:
        """When and where a job could start, as ``sbatch --test-only`` says of its script; a SlurmError if never."""
        return self._run(["sbatch", "--test-only"], script).strip() or "it could start"


def parse_queue(text: str) -> list[QueuedJob]:
    """Read what squeue prints in `QUEUE_FORMAT`; an array's waiting tasks stand in one line."""
    jobs = []
    for line in text.splitlines():
        fields = line.strip().split("|", 5)
        if len(fields) == 6 and fields[0].isdecimal():
            job_id, state, end, node, reason, comment = fields
            jobs.append(QueuedJob(job_id, state, "" if reason == "None" else reason, node, parse_moment(end), comment))
    return jobs
