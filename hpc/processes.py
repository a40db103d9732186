"""Processes that others have started, so that no more than these are ended."""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def children_of(pid: int) -> list[int]:
    """Whatever any of a process's threads has started."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # it has ended
            found += [int(child) for child in path.read_text().split()]
    return found


def descendants_of(pid: int) -> list[int]:
    """Its children and theirs."""
    return [each for child in children_of(pid) for each in (child, *descendants_of(child))]


def command_of(pid: int) -> str:
    """Its words, with a zero behind each; empty if it has ended."""
    with suppress(OSError):
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes())
    return ""


def name_of(pid: int) -> str:
    """The name of its program; empty if it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def kill(pids: Iterable[int]) -> None:
    """End processes at once, those that have not ended."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
