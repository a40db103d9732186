"""What facts about a node mean for a cluster of ours: findings, each with what to do about it. Pure.

`hpc.doctor` finds the facts.
"""

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hpc.ray_cluster import OBJECT_STORE_BYTES
from hpc.settings import ClusterSettings
from hpc.times import parse_time

Level = Literal["ok", "warning", "failure"]

GB, GIB = 1e9, 2**30

LEAST_OPEN_FILES = 4096
"""Below it Ray itself warns of connections that fail."""
LEAST_PROCESSES = 2048
"""A limit of processes counts threads; a trial has about a hundred."""
LEAST_FILES = 1000
LEAST_BYTES = 2 * GB
PACKED_BYTES = 8 * GB
"""An environment with torch for CUDA 13 has 7 GB."""
SLOW_IMPORT_S = 20.0
SKEW_S, SKEW_TOO_FAR_S = 5.0, 60.0
"""Between clocks of two nodes: Slurm's times are read against a node's own, to stop in time before its end."""

SITE_TORCH = 'README, "Your site\'s torch"'

NEVER = (
    "Limit",
    "Invalid",
    "BadConstraints",
    "PartitionDown",
    "PartitionInactive",
    "AccountNotAllowed",
    "QOSNotAllowed",
)
"""Parts of the queue's reasons that waiting does not mend."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    text: str
    remedy: str = ""
    """What to do about it."""


def ok(text: str) -> Finding:
    """As it should be."""
    return Finding("ok", text)


def warning(text: str, remedy: str = "") -> Finding:
    """Works, but less well than it could."""
    return Finding("warning", text, remedy)


def failure(text: str, remedy: str = "") -> Finding:
    """Does not work."""
    return Finding("failure", text, remedy)


@dataclass(frozen=True)
class Checkup:
    """What was found in one place."""

    place: str
    findings: tuple[Finding, ...]
    blocked: bool = False
    """Whether a job of ours could not even begin."""

    @property
    def failures(self) -> int:
        """How much does not work."""
        return sum(finding.level == "failure" for finding in self.findings)


def size(bytes_: float) -> str:
    """Write a number of bytes: 40 GB, 512 MB."""
    return f"{bytes_ / GB:,.0f} GB" if bytes_ >= GB else f"{bytes_ / 1e6:,.0f} MB"


def duration(seconds: float) -> str:
    """Write a time limit: 24 h, 7 days, 30 min."""
    if math.isinf(seconds):
        return "no limit"
    if seconds >= 48 * 3600 and seconds % 86400 == 0:
        return f"{seconds / 86400:.0f} days"
    return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds / 60:g} min"


# What Slurm offers


@dataclass(frozen=True)
class Nodes:
    """So many nodes of one kind."""

    count: int
    is_up: bool
    cpus: int
    memory_mb: int
    gpus: int


@dataclass(frozen=True)
class Partition:
    """A part of the cluster."""

    name: str
    is_default: bool
    is_up: bool
    limit_s: float
    """Longest time of a job [s]; infinity where there is no limit."""
    nodes: tuple[Nodes, ...] = ()


PARTITION_FORMAT = "%P|%a|%l|%D|%T|%c|%m|%G"
"""For ``sinfo --exact --noheader --all``."""

_OFF = re.compile(r"down|drain|fail|maint|reserved|unk|power(ed|ing)_down|inval", re.IGNORECASE)


def parse_partitions(text: str) -> list[Partition]:
    """Read what sinfo prints in `PARTITION_FORMAT`."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        fields = [field.strip() for field in line.split("|")]
        if len(fields) != 8:
            continue
        name, up, limit, count, state, cpus, memory_mb, gres = fields
        kind = Nodes(int(count), not _OFF.match(state), _first_number(cpus), _first_number(memory_mb), parse_gpus(gres))
        partition = Partition(name.rstrip("*"), name.endswith("*"), up == "up", _limit(limit))
        before = found.get(partition.name, partition)
        found[partition.name] = Partition(
            before.name, before.is_default, before.is_up, before.limit_s, (*before.nodes, kind)
        )
    return list(found.values())


def parse_gpus(gres: str) -> int:
    """GPUs of a node, as Slurm writes its generic resources: ``gpu:a100:4(S:0-1),tmpdisk:1``."""
    counts = (re.match(r"gpu(?::[^:,()]+)*?(?::(\d+))?(?:\(|$)", part) for part in gres.split(","))
    return sum(int(match.group(1) or 1) for match in counts if match)


def parse_config(text: str) -> dict[str, str]:
    """Read what ``scontrol show config`` prints."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def check_slurm(config: Mapping[str, str], partitions: Sequence[Partition]) -> Finding:
    """What there is."""
    if not partitions:
        return failure("Slurm shows no partition", "ask the site's administrators for access")
    shown = [
        f"{partition.name}{'*' if partition.is_default else ''} ({duration(partition.limit_s)})"
        for partition in partitions[:6]
    ]
    more = f" and {len(partitions) - 6} more" if len(partitions) > 6 else ""
    longest = int(config.get("MaxArraySize", "0")) - 1
    arrays = f"; arrays up to {longest:,}" if longest > 0 else ""
    return ok(f"Slurm {config.get('SLURM_VERSION', '')}: partitions {', '.join(shown)}{more}{arrays}")


@dataclass(frozen=True)
class Request:
    """What a job of ours asks for."""

    who: str
    """a worker, the driver."""
    key: str
    """Where its settings stand: ``cluster``, ``cluster.driver``."""
    cpus: int
    gpus: int
    memory_gb: float
    time: str
    partition: str | None

    def __str__(self) -> str:
        gpus = [_plural(self.gpus, "GPU")] if self.gpus else []
        return ", ".join([*gpus, _plural(self.cpus, "CPU"), f"{self.memory_gb:g} GB"])


def requests_of(settings: ClusterSettings) -> list[Request]:
    """What a cluster's jobs ask for."""
    driver = settings.driver

    def named(option: object, setting: str | None) -> str | None:
        return option if isinstance(option, str) else setting

    return [
        Request(
            who="a worker",
            key="cluster",
            cpus=settings.cpus,
            gpus=settings.gpus,
            memory_gb=settings.memory_gb,
            time=settings.time,
            partition=named(settings.sbatch.get("partition"), settings.partition),
        ),
        Request(
            who="the driver",
            key="cluster.driver",
            cpus=driver.cpus,
            gpus=0,
            memory_gb=driver.memory_gb,
            time=driver.time,
            partition=named(driver.sbatch.get("partition"), driver.partition),
        ),
    ]


def check_request(request: Request, partitions: Sequence[Partition]) -> list[Finding]:
    """Whether a job could ever run in its partition, or in one of those that it names."""
    names = request.partition.split(",") if request.partition else [each.name for each in partitions if each.is_default]
    known = {partition.name: partition for partition in partitions}
    if not names:
        return [
            failure(
                f"{request.who} names no partition, and there is no default one",
                f"{request.key}.partition: one of {', '.join(known)}",
            )
        ]
    if unknown := [name for name in names if name not in known]:
        close = difflib.get_close_matches(unknown[0], known, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        return [
            failure(
                f"{request.who}: there is no partition {unknown[0]}{meant}",
                f"{request.key}.partition: one of {', '.join(known)}",
            )
        ]
    complaints = [_complaints(request, known[name]) for name in names]
    if all(complaints):
        return complaints[0]
    fitting = [known[name] for name, complaint in zip(names, complaints, strict=True) if not complaint]
    nodes = sum(kind.count for partition in fitting for kind in partition.nodes if _fits(request, kind))
    return [ok(f"{request.who} ({request}, {_time_text(request)}) fits on {_plural(nodes, 'node')} of {names[0]}")]


def _complaints(request: Request, partition: Partition) -> list[Finding]:
    found = []
    if not partition.is_up:
        found.append(failure(f"{request.who}: partition {partition.name} is down", f"{request.key}.partition: another"))
    if parse_time(request.time) > partition.limit_s:
        found.append(
            failure(
                f"{request.who} asks for {_time_text(request)}, partition {partition.name} gives at most "
                f"{duration(partition.limit_s)}",
                f'{request.key}.time: "{_slurm_time(partition.limit_s)}", or another partition',
            )
        )
    if not any(_fits(request, kind) for kind in partition.nodes):
        largest = [
            f"{_plural(kind.gpus, 'GPU')}, {_plural(kind.cpus, 'CPU')}, {kind.memory_mb / 1024:,.0f} GB"
            for kind in sorted(partition.nodes, key=lambda kind: (kind.gpus, kind.cpus), reverse=True)[:1]
        ]
        has = f"the largest has {largest[0]}" if largest else "it has no nodes"
        found.append(
            failure(
                f"{request.who} asks for {request}, which no node of {partition.name} has: {has}",
                f"less in {request.key}, or another partition",
            )
        )
    elif not any(_fits(request, kind) and kind.is_up for kind in partition.nodes):
        found.append(
            failure(
                f"{request.who}: every node of {partition.name} that could hold it is down, drained or reserved",
                f"wait until they are back (sinfo --list-reasons), or {request.key}.partition: another",
            )
        )
    return found


def _fits(request: Request, kind: Nodes) -> bool:
    return request.cpus <= kind.cpus and request.gpus <= kind.gpus and round(request.memory_gb * 1024) <= kind.memory_mb


def check_test_only(request: Request, words: str | None) -> list[Finding]:
    """What ``sbatch --test-only`` says against a job script; None: nothing."""
    if words is None:
        return []
    reason = re.sub(r"^(sbatch: )?(error: |allocation failure: )*", "", words).strip()
    return [
        failure(f"Slurm would refuse {request.who}: {reason}", f"mend it in {request.key} (partition, account, sbatch)")
    ]


def check_accounting(works: bool) -> list[Finding]:
    """Whether Slurm says how a job ended that its queue has forgotten."""
    if works:
        return []
    return [warning("sacct is off: how a job ended is known from squeue and exit markers alone")]


def check_job_limit(lines: str, account: str | None, jobs: int) -> list[Finding]:
    """Whether as many jobs may be there at once as a sweep asks for.

    Parameters
    ----------
    lines
        What sacctmgr prints of this user's associations: account, running jobs, submitted jobs.
    jobs
        Workers, and the driver.
    """
    limits = []
    for line in lines.splitlines():
        fields = line.strip().split("|")
        if len(fields) >= 3 and account in (None, fields[0]):
            limits += [int(field) for field in fields[1:3] if field.isdecimal()]
    if not limits:
        return []
    if min(limits) >= jobs:
        return [ok(f"up to {_plural(min(limits), 'job')} of yours at once")]
    return [
        warning(
            f"up to {_plural(min(limits), 'job')} of yours at once, a sweep asks for {jobs} with its driver: it runs "
            "on fewer workers",
            f"cluster: {{workers: {{max: {max(1, min(limits) - 1)}}}}}",
        )
    ]


# Storage


@dataclass(frozen=True)
class Room:
    """What is left where runs are written."""

    where: str
    kind: str
    """Of file system."""
    free_bytes: float
    free_files: int | None
    """None where the file system has no limit, or does not tell."""
    quota: tuple[int, int] | None = None
    """Files used and allowed."""


@dataclass(frozen=True)
class Need:
    """What a program is going to write."""

    files: int
    what: str
    """a sweep of 500 trials."""


def check_room(room: Room, need: Need) -> list[Finding]:
    """Whether what is going to be written has room, in bytes and in files."""
    elsewhere = "put runs where there is more room: --runs FOLDER"
    needs = f"{need.what} needs about {need.files:,}"
    found = []
    if room.quota:
        used, allowed = room.quota
        left = max(0, allowed - used)
        text = f"{room.where}: your quota has {left:,} of {allowed:,} files left; {needs}"
        found += [failure(text, elsewhere)] if left < need.files else []
        found += [warning(text, elsewhere)] if need.files <= left < 2 * need.files else []
    if room.free_files is not None and room.free_files < max(LEAST_FILES, need.files):
        found.append(failure(f"{room.where}: {room.free_files:,} files (inodes) free; {needs}", elsewhere))
    if room.free_bytes < LEAST_BYTES:
        found.append(warning(f"{room.where}: {size(room.free_bytes)} free", elsewhere))
    if found:
        return found
    files = "" if room.free_files is None else f", {room.free_files:,} files"
    return [ok(f"{room.where} ({room.kind}) can be written, moves are whole; {size(room.free_bytes)}{files} free")]


def parse_quota(text: str, device: str | None = None) -> tuple[int, int] | None:
    """Files used and allowed, out of what ``quota`` or ``lfs quota`` prints; None without such a limit.

    Parameters
    ----------
    device
        Of the line to read; None: all lines are one.
    """
    lines = [" ".join(text.split())] if device is None else text.splitlines()
    for line in lines:
        fields = line.split()
        numbers = [field.rstrip("*") for field in fields[-8:]]
        if len(fields) < 8 or (device is not None and fields[0] != device):
            continue
        used, soft, hard = numbers[4:7]
        if used.isdecimal() and soft.isdecimal() and hard.isdecimal():
            limits = [limit for limit in (int(soft), int(hard)) if limit]
            return (int(used), min(limits)) if limits else None
    return None


def check_scratch(path: Path, fault: str, free_bytes: float, packed: bool) -> Finding:
    """Whether a node's own disk can be used.

    Parameters
    ----------
    fault
        What happened when it was written to; empty: nothing.
    packed
        Whether an environment is unpacked there.
    """
    elsewhere = "a folder on the node's own disk: cluster: {scratch: /local}"
    if fault:
        return failure(f"scratch {path} cannot be used: {fault}", elsewhere)
    needed = PACKED_BYTES if packed else LEAST_BYTES
    if free_bytes < needed:
        why = ", an environment with torch takes about 7 GB" if packed else ""
        return warning(f"scratch {path}: {size(free_bytes)} free{why}", elsewhere)
    return ok(f"scratch {path} can be written, {size(free_bytes)} free")


def check_sockets(wanted: Path, used: Path) -> list[Finding]:
    """Whether Ray's sockets have room in the path of a scratch directory: a socket's path may have 107 bytes."""
    if used == wanted:
        return []
    return [
        warning(
            f"{wanted} is too long a path for Ray's sockets, which go to {used}", "cluster: {scratch: /a/shorter/path}"
        )
    ]


def check_shared_memory(free_bytes: float) -> Finding:
    """Whether Ray's messages have room."""
    if free_bytes < 2 * OBJECT_STORE_BYTES:
        return warning(
            f"/dev/shm: {size(free_bytes)} free, Ray uses {size(OBJECT_STORE_BYTES)} for its messages",
            "remove what others of your jobs have left there, or ask the administrators for more",
        )
    return ok(f"/dev/shm: {size(free_bytes)} free")


# The node itself


def check_versions(versions: Mapping[str, str | None], place: str = "") -> Finding:
    """Whether what is needed is installed."""
    if missing := [name for name, version in versions.items() if version is None]:
        return failure(f"{', '.join(missing)} not installed{place}", "install the project into this Python: make")
    return ok(", ".join(f"{name} {version}" for name, version in versions.items()) + place)


def check_limits(open_files: float, processes: float) -> list[Finding]:
    """Whether this node lets a user have as many open files and processes as Ray needs; infinity: no limit."""
    found = []
    if open_files < LEAST_OPEN_FILES:
        found.append(
            warning(
                f"at most {open_files:,.0f} open files; Ray loses connections below {LEAST_OPEN_FILES:,}",
                'cluster: {setup: ["ulimit -n 65536"]}, or ask the administrators for more',
            )
        )
    if processes < LEAST_PROCESSES:
        found.append(
            warning(
                f"at most {processes:,.0f} processes and threads; each trial has about a hundred",
                'cluster: {setup: ["ulimit -u 8192"]}, or ask the administrators for more',
            )
        )
    if found:
        return found
    texts = [
        "no limit of " + name if math.isinf(limit) else f"up to {limit:,.0f} {name}"
        for name, limit in (("open files", open_files), ("processes", processes))
    ]
    return [ok(", ".join(texts))]


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
            found.append(failure(f"asked for {_plural(asked, noun)}, granted {count}", remedy))
    if usable < cpus:
        found.append(
            failure(
                f"granted {_plural(cpus, 'CPU')}, our processes may run on {usable}",
                'cluster: {setup: ["export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK"]}',
            )
        )
    if memory_bytes is not None and memory_bytes < 0.95 * request.memory_gb * GIB:
        found.append(warning(f"asked for {request.memory_gb:g} GB, granted {memory_bytes / GIB:.1f}"))
    if found:
        return found
    memory = "memory is not limited" if memory_bytes is None else f"{memory_bytes / GIB:,.0f} GB of memory"
    return [ok(f"{cpus} of {_plural(machine, 'CPU')} are ours; {memory}")]


# torch and its GPUs


@dataclass(frozen=True)
class Torch:
    """What a Python of its own says of torch."""

    version: str = ""
    cuda: str | None = None
    """The CUDA that it was built for; None: CPUs alone."""
    import_s: float = 0.0
    gpus: tuple[tuple[str, float], ...] = ()
    """Names and memory [bytes] of those that can be computed on."""
    fault: str = ""
    """Why it cannot be imported, or a GPU not be used."""


def check_torch(torch: Torch, gpus: int, place: str, packed: bool) -> list[Finding]:
    """Whether torch can be imported in good time, and uses every GPU that is ours.

    Parameters
    ----------
    gpus
        GPUs that are ours.
    place
        Whose they are: ``granted``, ``here``.
    packed
        Whether it was imported from a node's own disk.
    """
    if not torch.version:
        return [failure(f"torch cannot be imported: {torch.fault}", "install the project into this Python: make")]
    found = []
    names = ", ".join(dict.fromkeys(f"{name}, {memory / GIB:.0f} GB" for name, memory in torch.gpus))
    if len(torch.gpus) < gpus:
        said = f": {torch.fault}" if torch.fault else ""
        built = f"torch {torch.version} is built for {'CPUs alone' if torch.cuda is None else f'CUDA {torch.cuda}'}"
        found.append(
            failure(
                f"{place} {_plural(gpus, 'GPU')}, torch sees {len(torch.gpus)}{said} ({built})", f"see {SITE_TORCH}"
            )
        )
    elif gpus:
        found.append(ok(f"torch {torch.version} sees {len(torch.gpus)} of {_plural(gpus, 'GPU')} {place} ({names})"))
    else:
        found.append(ok(f"torch {torch.version}; no GPU {place}"))
    if torch.import_s > SLOW_IMPORT_S:
        source = "the node's own disk" if packed else "where it is installed"
        remedy = "" if packed else "cluster: {environment: packed}"
        found.append(warning(f"importing torch took {torch.import_s:.0f} s from {source}", remedy))
    return found


def check_driver(nvidia_smi: str, cuda: str | None) -> list[Finding]:
    """Whether a GPU's driver is as new as torch needs: any of the same major version of CUDA is.

    Parameters
    ----------
    nvidia_smi
        What it prints; empty where there is none.
    cuda
        The CUDA that torch was built for.
    """
    driver = re.search(r"Driver Version\s*:\s*([\d.]+)", nvidia_smi)
    offered = re.search(r"CUDA[\w ]*Version\s*:\s*(\d+)\.(\d+)", nvidia_smi)
    if not driver or not offered or cuda is None:
        return []
    has = f"driver {driver.group(1)} is for CUDA {offered.group(1)}.{offered.group(2)}"
    if int(offered.group(1)) < int(cuda.partition(".")[0]):
        remedy = f"install a torch for CUDA {offered.group(1)} ({SITE_TORCH})"
        return [failure(f"{has}, older than this torch needs (CUDA {cuda})", remedy)]
    return [ok(f"{has}, torch for {cuda}")]


# Between nodes


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


def check_wait(job_id: str, reason: str, waited_s: float) -> Finding:
    """What it means that a job has not begun."""
    text = f"not examined: job {job_id} waited {duration(round(waited_s))} in the queue ({reason or 'no reason given'})"
    if any(part in reason for part in NEVER):
        return failure(text, "mend it in the cluster block; this reason does not pass by itself")
    return warning(text, "wait longer: --wait SECONDS")


def check_setup(lines: Iterable[str]) -> list[Finding]:
    """What failed of the shell before a worker starts: statuses and commands."""
    pairs = (line.strip().partition(" ") for line in lines if line.strip())
    commands = {command: status for status, _, command in reversed(list(pairs))}
    return [
        failure(
            f"a line of cluster.setup failed there (status {status}): {command}",
            "mend it; if it may fail, append: || true",
        )
        for command, status in reversed(commands.items())
        if not command.startswith("exit 0")
    ]


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _first_number(text: str) -> int:
    match = re.match(r"\d+", text)
    return int(match.group()) if match else 0


def _limit(text: str) -> float:
    try:
        return parse_time(text)
    except ValueError:
        return math.inf


def _time_text(request: Request) -> str:
    return duration(parse_time(request.time))


def _slurm_time(seconds: float) -> str:
    days, rest = divmod(int(seconds), 86400)
    clock = f"{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
    return f"{days}-{clock}" if days else clock
