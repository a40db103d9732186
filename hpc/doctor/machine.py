"""What one machine has, and lets us have."""

import math
import os
import resource
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hpc.doctor.findings import GIB, Finding, failure, ok, plural, size, warning
from hpc.doctor.partitions import Request
from hpc.errors import HpcError
from hpc.ray_cluster import OBJECT_STORE_BYTES
from hpc.worker import TOKEN

PACKAGES = ("ray", "submitit", "torch")
LEAST_OPEN_FILES = 4096
"""Below it Ray itself warns of connections that fail."""
LEAST_PROCESSES = 2048
"""A limit of processes counts threads; a trial has about a hundred."""

Limit = tuple[float, float]
"""What there is, and up to what it can be raised; infinity: no limit."""


def examine_system(as_worker: bool) -> Iterator[Finding]:
    """What the kernel lets us have, as a worker's job or otherwise."""
    yield from check_limits(_limit(resource.RLIMIT_NOFILE), _limit(resource.RLIMIT_NPROC), as_worker)
    free_bytes = 0
    with suppress(OSError):
        shared = os.statvfs("/dev/shm")
        free_bytes = shared.f_bavail * shared.f_frsize
    yield check_shared_memory(free_bytes)
    umask = os.umask(0o077)
    os.umask(umask)
    yield from check_umask(umask)


def examine_port(address: Callable[[], str]) -> Finding:
    """Whether this node has an address where others can reach a free port."""
    try:
        host = address()
        with socket.create_server((host, 0)):
            return ok(f"{host} has free ports")
    except HpcError as error:
        text, _, remedy = str(error).partition("; ")
        return failure(text, remedy)
    except OSError as error:
        return failure(f"no port can be had ({error.strerror})", "another network: cluster: {interface: eth0}")


def installed_versions() -> dict[str, str | None]:
    """Versions of what is needed; None: it is not installed."""
    found: dict[str, str | None] = {"Python": ".".join(map(str, sys.version_info[:3]))}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def secrets_in(runs: Path) -> dict[Path, int]:
    """Access modes of the secrets by which processes join a Ray: the one that Ray makes by itself, and each run's."""
    paths = [Path("~/.ray/auth_token").expanduser(), *runs.glob(f"*/*/{TOKEN}")]
    return {path: path.stat().st_mode for path in paths if path.exists()}


def _limit(kind: int) -> Limit:
    soft, hard = (math.inf if limit == resource.RLIM_INFINITY else float(limit) for limit in resource.getrlimit(kind))
    return soft, hard


def check_versions(versions: Mapping[str, str | None]) -> Finding:
    """Whether what is needed is installed."""
    if missing := [name for name, version in versions.items() if version is None]:
        return failure(f"{', '.join(missing)} not installed", "install the project into this Python: make")
    return ok(", ".join(f"{name} {version}" for name, version in versions.items()))


def check_limits(open_files: Limit, processes: Limit, as_worker: bool) -> list[Finding]:
    """Whether a user may have as many open files and processes here as Ray needs."""

    def raised(limit: Limit, least: int, command: str) -> str:
        if limit[1] < least:
            return "ask the site's administrators for more"
        return f'cluster: {{setup: ["{command}"]}}' if as_worker else command

    found = []
    may_open = open_files[0] if as_worker else open_files[1]  # in the process that begins it, Ray raises it itself
    if may_open < LEAST_OPEN_FILES:
        text = f"at most {may_open:,.0f} open files; Ray loses connections below {LEAST_OPEN_FILES:,}"
        found.append(warning(text, raised(open_files, LEAST_OPEN_FILES, "ulimit -n 65536")))
    if processes[0] < LEAST_PROCESSES:
        text = f"at most {processes[0]:,.0f} processes and threads; each trial has about a hundred"
        found.append(warning(text, raised(processes, LEAST_PROCESSES, "ulimit -u 8192")))
    if found:
        return found
    texts = [
        f"no limit of {name}" if math.isinf(limit) else f"up to {limit:,.0f} {name}"
        for name, limit in (("open files", may_open), ("processes", processes[0]))
    ]
    return [ok(", ".join(texts))]


def check_shared_memory(free_bytes: float) -> Finding:
    """Whether Ray's messages have room."""
    if free_bytes < 2 * OBJECT_STORE_BYTES:
        return warning(
            f"/dev/shm: {size(free_bytes)} free, Ray uses {size(OBJECT_STORE_BYTES)} for its messages",
            "remove what others of your jobs have left there, or ask the administrators for more",
        )
    return ok(f"/dev/shm: {size(free_bytes)} free")


def check_umask(umask: int) -> list[Finding]:
    """Whether others can change what we write."""
    if umask & 0o022 == 0o022:
        return []
    return [warning(f"umask {umask:04o}: others may change files that you make", "in your shell's profile: umask 077")]


def check_tokens(modes: Mapping[Path, int]) -> list[Finding]:
    """Whether anybody else can read the secrets that let a process join a Ray."""
    return [
        failure(f"{path} is readable to others: whoever has it can run programs as you", f"chmod 600 {path}")
        for path, mode in modes.items()
        if mode & 0o077
    ]


def check_granted(request: Request, granted: Mapping[str, Any], usable: int, machine: int) -> list[Finding]:
    """What Slurm has granted to a job, against what it asked for, and what it can use of it.

    Parameters
    ----------
    granted
        cpus, gpus and memory_bytes; None for the latter: Slurm sets no limit.
    usable
        CPUs that the kernel lets our processes run on.
    machine
        CPUs that the node has.
    """
    cpus, gpus, memory_bytes = granted["cpus"], granted["gpus"], granted["memory_bytes"]
    found = []
    for count, asked, noun in ((cpus, request.cpus, "CPU"), (gpus, request.gpus, "GPU")):
        if count < asked:
            remedy = "another partition, or a line of your sbatch block takes them away"
            found.append(failure(f"asked for {plural(asked, noun)}, granted {count}", remedy))
    if usable < cpus:
        found.append(
            failure(
                f"granted {plural(cpus, 'CPU')}, our processes may run on {usable}",
                'cluster: {setup: ["export SLURM_CPU_BIND=none"]}',
            )
        )
    if memory_bytes is not None and memory_bytes < 0.95 * request.memory_gb * GIB:
        found.append(warning(f"asked for {request.memory_gb:g} GB, granted {memory_bytes / GIB:.1f}"))
    if found:
        return found
    memory = "memory is not limited" if memory_bytes is None else f"{memory_bytes / GIB:,.0f} GB of memory"
    return [ok(f"{cpus} of {plural(machine, 'CPU')} are ours; {memory}")]
