"""Jobs, handed to Slurm through submitit."""

import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from math import ceil
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from hpc.errors import SlurmError
from hpc.scratch import USE
from hpc.settings import ClusterSettings, JobSettings
from hpc.slurm import COMMAND_TIMEOUT_S, outside_a_job

PACKED = "environment.tar"
"""A virtual environment in one file, in the cluster's folder."""


class _Executor(submitit.SlurmExecutor):  # type: ignore[misc]
    """Submits from within a job as from outside one; a script can be read on any machine."""

    @classmethod
    def affinity(cls) -> int:
        return 2  # not that srun was found here: sbatch itself says if this is no cluster

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        inherited = sorted(set(os.environ) - set(outside_a_job()))
        bounded = ["timeout", "--verbose", str(COMMAND_TIMEOUT_S)]
        return [*bounded, "env", *(f"--unset={key}" for key in inherited), "sbatch", str(submission_file_path)]


def submit_worker(settings: ClusterSettings, folder: Path, name: str, function: Callable[..., None], *args: Any) -> str:
    """Submit one worker; gives its job's id.

    Raises
    ------
    SlurmError
        In sbatch's own words.
    """
    try:
        return str(_worker_executor(settings, folder, name).submit(function, *args).job_id)
    except (FailedJobError, FailedSubmissionError, OSError) as error:
        _remove_unsubmitted(folder / "jobs")
        raise SlurmError(_sbatch_words(str(error))) from error


def worker_script(settings: ClusterSettings, folder: Path, name: str) -> str:
    """The job script of a worker, as it would be submitted."""
    executor = _worker_executor(settings, folder, name)
    return str(executor._make_submission_file_text(executor._submitit_command_str, ""))


def _worker_executor(settings: ClusterSettings, folder: Path, name: str) -> _Executor:
    packed = settings.environment == "packed"
    python = settings.python or ('"$HPC_PYTHON"' if packed else shlex.quote(sys.executable))
    # a lost worker is replaced by the driver: started again by Slurm as well, there would be one too many
    options = _options(settings, {"no-requeue": True, "gpus-per-node": settings.gpus or False})
    cpus = options.get("cpus-per-task")
    executor = _Executor(folder=folder / "jobs", python=python)
    executor.update_parameters(
        job_name=name,
        comment=str(folder),  # whose it is
        wckey=None,  # submitit's own, which some sites refuse
        time=None,  # neither its five minutes
        nodes=1,
        ntasks_per_node=1,
        signal_delay_s=settings.notice_s,
        stderr_to_stdout=True,
        setup=[*settings.setup, *(unpack_lines(folder / PACKED, settings.scratch) if packed else [])],
        srun_args=[f"--cpus-per-task={cpus}"] if cpus else [],  # which srun does not take from sbatch since 22.05
        additional_parameters=options,
    )
    return executor


def driver_script(
    settings: JobSettings, name: str, comment: str, log: Path, notice_s: int, command: str, setup: tuple[str, ...]
) -> str:
    """The job script of a driver: a small job that Slurm may requeue.

    Parameters
    ----------
    comment
        Whose it is.
    log
        Where its output goes; Slurm's ``%j`` stands for the job.
    notice_s
        How long before its time limit it is told, so that it stops in good order and is queued again [s].
    """
    ours = {
        "job-name": name,
        "comment": comment,
        "nodes": 1,
        "ntasks": 1,
        "output": log,
        "open-mode": "append",
        "requeue": True,
        "signal": f"B:USR1@{notice_s}",
    }
    lines = [
        f"#SBATCH --{key}" if value is True else f"#SBATCH --{key}={shlex.quote(str(value))}"
        for key, value in _options(settings, ours).items()
    ]
    return "\n".join(["#!/bin/bash", *lines, "", *setup, f"exec {command}", ""])


def unpack_lines(packed: Path, scratch: Path) -> list[str]:
    """Shell that unpacks an environment on the node's own disk, for the time of the job.

    What Slurm sends before it kills goes to every process of a job: the shell waits for what runs to end, before it
    takes its files away. What a killed shell leaves is removed by the next worker on that node, as `hpc.scratch` says.
    """
    root = shlex.quote(str(scratch / f"hpc-{os.getuid()}"))
    return [
        "umask 077",
        f"mkdir -p {root}",
        f"[ -O {root} ] && [ ! -L {root} ] || {{ echo {root} belongs to somebody else; exit 1; }}",
        f'HPC_ENVIRONMENT="$(mktemp -d {root}/environment-XXXXXXXX)" || exit 1',
        "trap 'rm -rf \"$HPC_ENVIRONMENT\"' EXIT",
        "trap : TERM USR1 USR2",
        f'exec 9> "$HPC_ENVIRONMENT/mine" && flock --shared 9 && mv "$HPC_ENVIRONMENT/mine" "$HPC_ENVIRONMENT/{USE}"',
        f'tar --extract --file {shlex.quote(str(packed))} --directory "$HPC_ENVIRONMENT" || exit 1',
        'export HPC_PYTHON="$HPC_ENVIRONMENT/bin/python"',
    ]


def _options(settings: ClusterSettings | JobSettings, ours: Mapping[str, Any]) -> dict[str, Any]:
    """Options of sbatch: ours, and over them those that are written in the settings; false leaves one out."""
    options = {
        **ours,
        "cpus-per-task": settings.cpus,
        "mem": f"{ceil(settings.memory_gb * 1024)}M",
        "time": settings.time,
        "partition": settings.partition or False,
        "account": settings.account or False,
        **settings.sbatch,
    }
    return {key: value for key, value in options.items() if value is not False}


def _remove_unsubmitted(jobs: Path) -> None:
    """Remove what submitit wrote for a job that was refused: by an hour of retries it would be thousands of files."""
    for path in jobs.glob("*"):
        if re.fullmatch(r"(\.submission_file_)?[0-9a-f]{32}\.(sh|pkl)", path.name) and not path.is_symlink():
            path.unlink(missing_ok=True)


def _sbatch_words(text: str) -> str:
    """What sbatch said, out of what submitit says around it."""
    said = [line.strip() for line in text.splitlines() if re.match(r"\s*(sbatch|srun|timeout):", line)]
    return " ".join(said) or " ".join(text.split())
