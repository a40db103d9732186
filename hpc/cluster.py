"""What a Ray of our own looks like to whoever uses it, be it on this machine alone or on workers that come and go."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from hpc.demand import Wanted
from hpc.ray_cluster import ray_head


@dataclass(frozen=True)
class Worker:
    """How one worker stands."""

    job_id: str
    state: str
    """pending, joining, running, draining, ended, lost."""
    reason: str = ""
    """Why it waits, drains or ended; the queue's word, a signal's name or the worker's own."""
    node: str = ""
    end_s: float = float("inf")
    """When its node will end [s since 1970]."""


@dataclass(frozen=True)
class Joined:
    """A worker that takes work."""

    node: str
    cpus: int
    gpus: int
    end_s: float = float("inf")
    """When its node will end [s since 1970]."""


class Cluster(Protocol):
    """A Ray whose driver this process is, while it is entered."""

    leaves_workers: bool
    """Whether workers are to wait for another driver when this one ends."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def offer(self, demand: Sequence[Wanted]) -> None:
        """Say what waits and runs: the ``cpus`` and ``gpus`` of each task; an HpcError if workers cannot be had."""

    def joined(self) -> Mapping[str, Joined]:
        """Workers that take work, by the resource that in Ray stands for being on one of them."""

    def release(self, worker: str) -> None:
        """Hand a worker back when what runs there has ended."""

    def news(self) -> Sequence[Worker]:
        """Workers whose standing has changed since this was asked last."""


HERE = "worker-here"


class OneMachine:
    """A Ray on this machine alone: on loopback, with a token, its files private and gone afterwards.

    Parameters
    ----------
    cpus, gpus
        What it offers.
    """

    leaves_workers = False

    def __init__(self, cpus: int, gpus: int):
        self._here = Joined("", cpus, gpus)
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        here = self._here
        self._resources.enter_context(ray_head(cpus=here.cpus, gpus=here.gpus, resources={HERE: 1}))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._resources.__exit__(kind, error, traceback)

    def offer(self, demand: Sequence[Wanted]) -> None:
        """It has what it has."""

    def joined(self) -> Mapping[str, Joined]:
        """Itself."""
        return {HERE: self._here}

    def release(self, worker: str) -> None:
        """It stays."""

    def news(self) -> Sequence[Worker]:
        """None, ever."""
        return ()
