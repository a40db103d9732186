"""What a cluster has, and whether a job of ours fits anywhere. Pure."""

import difflib
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from hpc.doctor.findings import Finding, duration, failure, ok, plural
from hpc.settings import ClusterSettings, JobSettings
from hpc.times import parse_time

PARTITION_FORMAT = "%P|%a|%l|%D|%T|%c|%m|%G"
"""For ``sinfo --exact --noheader --all``."""
_OFF = re.compile(r"down|drain|fail|maint|reserved|unk|power(ed|ing)_down|inval", re.IGNORECASE)


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


@dataclass(frozen=True)
class Request:
    """What a job of ours asks for."""

    who: str
    """a worker, the driver."""
    block: str
    """Where its settings stand: ``cluster``, ``cluster.driver``."""
    cpus: int
    gpus: int
    memory_gb: float
    time_s: float
    partition: str | None

    def __str__(self) -> str:
        gpus = [plural(self.gpus, "GPU")] if self.gpus else []
        return ", ".join([*gpus, plural(self.cpus, "CPU"), f"{self.memory_gb:g} GB"])

    def setting(self, name: str, value: str) -> str:
        """How a sweep file says it: ``cluster: {driver: {partition: gpu}}``."""
        text = f"{name}: {value}"
        for key in reversed(self.block.split(".")):
            text = f"{key}: {{{text}}}"
        return text


def requests_of(settings: ClusterSettings) -> list[Request]:
    """What a cluster's jobs ask for."""
    driver = settings.driver

    return [
        Request(
            who="a worker",
            block="cluster",
            cpus=settings.cpus,
            gpus=settings.gpus,
            memory_gb=settings.memory_gb,
            time_s=_time_s(settings),
            partition=_partition(settings),
        ),
        Request(
            who="the driver",
            block="cluster.driver",
            cpus=driver.cpus,
            gpus=0,
            memory_gb=driver.memory_gb,
            time_s=_time_s(driver),
            partition=_partition(driver),
        ),
    ]


def check_request(request: Request, partitions: Sequence[Partition]) -> list[Finding]:
    """Whether a job could ever run in its partition, or in one of those that it names."""
    names = request.partition.split(",") if request.partition else [each.name for each in partitions if each.is_default]
    known = {partition.name: partition for partition in partitions}
    one_of = f"{request.setting('partition', 'NAME')}, one of {', '.join(known)}"
    if not names:
        return [failure(f"{request.who} names no partition, and there is no default one", one_of)]
    if unknown := [name for name in names if name not in known]:
        close = difflib.get_close_matches(unknown[0], known, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        return [failure(f"{request.who}: there is no partition {unknown[0]}{meant}", one_of)]
    complaints = [_complaints(request, known[name]) for name in names]
    if all(complaints):
        return complaints[0]
    fitting = [known[name] for name, complaint in zip(names, complaints, strict=True) if not complaint]
    nodes = sum(kind.count for each in fitting for kind in each.nodes if kind.is_up and _fits(request, kind))
    place = ", ".join(each.name for each in fitting)
    return [ok(f"{request.who} ({request}, {duration(request.time_s)}) fits on {plural(nodes, 'node')} of {place}")]


def _complaints(request: Request, partition: Partition) -> list[Finding]:
    found = []
    if not partition.is_up:
        found.append(
            failure(f"{request.who}: partition {partition.name} is down", request.setting("partition", "ANOTHER"))
        )
    if request.time_s > partition.limit_s:
        found.append(
            failure(
                f"{request.who} asks for {duration(request.time_s)}, partition {partition.name} gives at most "
                f"{duration(partition.limit_s)}",
                request.setting("time", f'"{_slurm_time(partition.limit_s)}"') + ", or another partition",
            )
        )
    if not any(_fits(request, kind) for kind in partition.nodes):
        largest = [
            f"{plural(kind.gpus, 'GPU')}, {plural(kind.cpus, 'CPU')}, {kind.memory_mb / 1024:,.0f} GB"
            for kind in sorted(partition.nodes, key=lambda kind: (kind.gpus, kind.cpus), reverse=True)[:1]
        ]
        has = f"the largest has {largest[0]}" if largest else "it has no nodes"
        found.append(
            failure(
                f"{request.who} asks for {request}, which no node of {partition.name} has: {has}",
                f"less in {request.block}, or another partition",
            )
        )
    elif not any(_fits(request, kind) and kind.is_up for kind in partition.nodes):
        found.append(
            failure(
                f"{request.who}: every node of {partition.name} that could hold it is down, drained or reserved",
                f"see why: sinfo --list-reasons; or {request.setting('partition', 'ANOTHER')}",
            )
        )
    return found


def _fits(request: Request, kind: Nodes) -> bool:
    return (
        request.cpus <= kind.cpus
        and request.gpus <= kind.gpus
        and math.ceil(request.memory_gb * 1024) <= kind.memory_mb
    )


def _partition(settings: ClusterSettings | JobSettings) -> str | None:
    named = settings.sbatch.get("partition", settings.partition)
    return str(named) if named else None


def _time_s(settings: ClusterSettings | JobSettings) -> float:
    with suppress(ValueError):
        return parse_time(str(settings.sbatch.get("time", "")))
    return parse_time(settings.time)


def _first_number(text: str) -> int:
    match = re.match(r"\d+", text)
    return int(match.group()) if match else 0


def _limit(text: str) -> float:
    try:
        return parse_time(text)
    except ValueError:
        return math.inf


def _slurm_time(seconds: float) -> str:
    days, rest = divmod(int(seconds), 86400)
    clock = f"{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
    return f"{days}-{clock}" if days else clock
