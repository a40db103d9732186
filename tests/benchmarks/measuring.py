"""How things are measured side by side: interleaved rounds, medians with their spread, per CPU-second.

A benchmark is a function that takes a `Plan` and gives `Row`s; bench.py lists them.
"""

import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Literal

Work = Callable[[], float]
"""Does something once, and gives how much it did: clips, frames, labels, calls."""

LEAST_S = 0.25
"""A work is repeated for at least so long [CPU-seconds] in each round."""


@dataclass(frozen=True)
class Plan:
    """How much is measured, and where there is room for files."""

    rounds: int
    quick: bool
    """Small data: to see that a benchmark runs, not what it measures."""
    folder: Path
    keras: Path | None = None
    """A Python that can import keras and tensorflow, where there is one."""


@dataclass(frozen=True)
class Figure:
    """What was measured, round by round."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def spread(self) -> float:
        """Half the way from the lowest to the highest, as a share of the median."""
        return (max(self.values) - min(self.values)) / 2 / abs(self.median) if self.median else 0.0

    @property
    def inverse(self) -> "Figure":
        """Seconds for each one, where this is how many in a second."""
        return Figure(tuple(1 / value for value in self.values))

    def over(self, other: "Figure") -> "Figure":
        """Ratio to another, round by round: what slows both in a round cancels."""
        return Figure(tuple(one / two for one, two in zip(self.values, other.values, strict=True)))


@dataclass(frozen=True)
class Goal:
    """What a ratio, or a figure without a peer, must reach."""

    sense: Literal[">=", "<=", "<"]
    bound: float

    def holds(self, value: float) -> bool:
        return {">=": value >= self.bound, "<=": value <= self.bound, "<": value < self.bound}[self.sense]


@dataclass(frozen=True)
class Row:
    """A line of the table: ours against one peer, or against the limit of what can be reached."""

    what: str
    unit: str
    ours: Figure
    goal: Goal | None
    """None for what is only to be known."""
    peer: Figure | None = None
    against: str = ""
    """What the peer is."""
    is_limit: bool = False
    """Whether the peer is no other way, but what cannot be surpassed."""
    agreement: str = ""
    """How ours and the peer were found to agree in this run."""

    @property
    def ratio(self) -> Figure | None:
        """Ours over the peer's, round by round."""
        return None if self.peer is None else self.ours.over(self.peer)

    @property
    def holds(self) -> bool | None:
        """Whether the goal is held; None where there is none."""
        return None if self.goal is None else self.goal.holds((self.ratio or self.ours).median)


def cpu_s() -> float:
    """Seconds of CPU that this process and its children have used, those that run and those it has waited for."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime + _running_children_s()


def _running_children_s() -> float:
    listed = [path.read_text().split() for path in Path("/proc/self/task").glob("*/children")]
    ticks = 0
    for child in chain(*listed):
        fields = Path("/proc", child, "stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))  # user and system, of itself and of the children that it has waited for
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def on_one_core() -> Iterator[None]:
    """Keep this process, and those that it starts, to one core: FFmpeg then decodes in one thread."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def measure(works: Mapping[str, Work], rounds: int, least_s: float = LEAST_S) -> dict[str, Figure]:
    """How much each work does in a CPU-second; each runs once beforehand, and in every round, in changing order."""
    for work in works.values():
        work()
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds):
        for name in works if number % 2 == 0 else reversed([*works]):
            found[name].append(rate(works[name], least_s))
    return {name: Figure(tuple(values)) for name, values in found.items()}


def rate(work: Work, least_s: float = LEAST_S) -> float:
    """How much a work does in a CPU-second."""
    began_s, done = cpu_s(), 0.0
    while True:
        done += work()
        passed_s = cpu_s() - began_s
        if passed_s >= least_s:
            return done / passed_s
