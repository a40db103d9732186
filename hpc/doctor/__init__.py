"""Looks at a machine, and through a job of its own at a compute node, for what keeps a cluster of ours from working."""

import os
import tempfile
from pathlib import Path

from hpc.doctor.asking import ASK_TIMEOUT_S, Ask, ask
from hpc.doctor.examination import examine_node
from hpc.doctor.findings import Checkup, Finding, failure, ok, warning
from hpc.doctor.gpus import PROBE, ask_torch, check_driver, check_torch
from hpc.doctor.machine import (
    check_tokens,
    check_versions,
    examine_port,
    examine_system,
    installed_versions,
    secrets_in,
)
from hpc.doctor.queue import examine_slurm
from hpc.doctor.storage import Need, examine_disk, examine_storage
from hpc.ray_cluster import LOOPBACK, address_of_this_node
from hpc.settings import ClusterSettings
from hpc.slurm import RunCommand, Slurm, run_command

__all__ = [
    "Checkup",
    "Finding",
    "Need",
    "examine_here",
    "examine_login_node",
    "examine_node",
    "failure",
    "ok",
    "warning",
]


def examine_here(runs: Path, gpus: int, need: Need, probe: str = PROBE, ask: Ask = ask) -> Checkup:
    """Look at this machine, as the one where everything is to run.

    Parameters
    ----------
    runs
        Where results are going to be written.
    gpus
        GPUs that are there.
    """
    scratch = Path(tempfile.gettempdir())
    usable = len(os.sched_getaffinity(0))
    torch = ask_torch(ask, probe)
    findings = [
        check_versions(installed_versions()),
        ok(f"{usable} of {os.cpu_count() or usable} CPUs are ours"),
        *check_torch(torch, gpus, "here", packed=False),
        *check_driver(ask(["nvidia-smi"], ASK_TIMEOUT_S).output, torch.cuda, gpus),
        *examine_storage(runs, need, ask),
        *examine_disk(scratch, "export TMPDIR=FOLDER", packed=False),
        *examine_system(as_worker=False),
        examine_port(lambda: LOOPBACK),
        *check_tokens(secrets_in(runs)),
    ]
    return Checkup("this machine", tuple(findings))


def examine_login_node(
    settings: ClusterSettings, runs: Path, need: Need, run: RunCommand = run_command, ask: Ask = ask
) -> Checkup:
    """Look at this machine, as the one from which jobs are submitted, and at what its Slurm says."""
    slurm, storage = list(examine_slurm(settings, run)), list(examine_storage(runs, need, ask))
    findings = [
        check_versions(installed_versions()),
        *slurm,
        *storage,
        *examine_system(as_worker=False),
        examine_port(lambda: address_of_this_node(Slurm(run), settings.interface)),
        *check_tokens(secrets_in(runs)),
    ]
    blocked = any(finding.level == "failure" for finding in (*slurm, *storage))
    return Checkup("login node", tuple(findings), blocked)
