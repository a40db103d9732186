"""What was found, in words for a person: each finding with what to do about it."""

import math
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "failure"]
GB, GIB = 1e9, 2**30


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

    def count(self, level: Level) -> int:
        """How many findings are of a level."""
        return sum(finding.level == level for finding in self.findings)


def plural(count: int, noun: str) -> str:
    """Write a count with its noun: 1 GPU, 4 CPUs."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def size(bytes_: float) -> str:
    """Write a number of bytes: 40 GB, 512 MB."""
    return f"{bytes_ / GB:,.0f} GB" if bytes_ >= GB else f"{bytes_ / 1e6:,.0f} MB"


def duration(seconds: float) -> str:
    """Write a time: 24 h, 7 days, 30 min, 8 s."""
    if math.isinf(seconds):
        return "no limit"
    if seconds >= 48 * 3600 and seconds % 86400 == 0:
        return f"{seconds / 86400:.0f} days"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 3600:.3g} h" if seconds >= 3600 else f"{seconds / 60:.3g} min"
