"""Memory of this process: how much its machine and its job (control groups) let it have, and what it keeps unused."""

import ctypes
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CGROUPS = Path("sys/fs/cgroup")
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Of glibc's malloc.h."""


@dataclass(frozen=True)
class Memory:
    """What there is for this process and those that share its job."""

    limit_bytes: int
    """In all."""
    free_bytes: int
    """Of that, what nobody holds now; what the kernel keeps of files gives way, and counts as free."""


def memory_here(root: Path = Path("/")) -> Memory:
    """Memory of this machine, or of the narrowest control group that this process is in.

    Parameters
    ----------
    root
        Where ``/proc`` and ``/sys`` are.
    """
    machine = _numbers(root / "proc/meminfo", 1024)
    limit, free = machine["MemTotal:"], machine["MemAvailable:"]
    for group in _groups(root):
        with suppress(OSError, ValueError, KeyError):  # a level without a limit says "max", or has no such file
            limited, used = _group(group)
            limit, free = min(limit, limited), min(free, max(0, limited - used))
    return Memory(limit, free)


def _groups(root: Path) -> Iterator[Path]:
    """Folders of the control groups that limit this process, from the inner one outwards."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        is_unified = number == "0" and not controllers
        if is_unified or "memory" in controllers.split(","):
            top = root / CGROUPS / ("" if is_unified else "memory")
            inner = top / path.strip("/")
            yield from (each for each in (inner, *inner.parents) if each.is_relative_to(top))


def _group(folder: Path) -> tuple[int, int]:
    """Limit and use of one control group [bytes], of either version."""
    is_unified = (folder / "memory.max").exists()
    limit, used = ("memory.max", "memory.current") if is_unified else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    gives_way = _numbers(folder / "memory.stat")["inactive_file" if is_unified else "total_inactive_file"]
    return int((folder / limit).read_text()), int((folder / used).read_text()) - gives_way


def _numbers(path: Path, unit: int = 1) -> dict[str, int]:
    """Lines of a name and a number."""
    words = (line.split() for line in path.read_text().splitlines())
    return {name: int(number) * unit for name, number, *_ in words}


def keep_freed_memory() -> bool:
    """Have this process keep what it frees for what it asks for next; whether that can be had.

    glibc hands large blocks back to the system when they are freed, and the system clears every page of the next one:
    where each step frees and asks for hundreds of megabytes, that takes longer than to fill them. Other C libraries are
    left as they are.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    return bool(library.mallopt(M_MMAP_MAX, 0) and library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def give_back_freed_memory() -> None:
    """Hand to the system what this process has freed and kept, where `keep_freed_memory` could be had."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
