"""Which worker each running trial has, and where there is room for another."""

import time
from collections.abc import Callable, Mapping
from math import inf

from fishray.config.sweep import Resources
from fishray.tuning.node import gpu_share
from hpc.cluster import Joined
from hpc.demand import Size, Wanted

Workers = Callable[[], Mapping[str, Joined]]
"""Gives the workers that take work now, by Ray's name for being on one of them."""


class Seats:
    """Workers come and go; a trial that runs keeps its place until it leaves it.

    Parameters
    ----------
    workers
        Those that take work now.
    clock
        Seconds since 1970.
    """

    def __init__(self, workers: Workers, clock: Callable[[], float] = time.time):
        self._workers = workers
        self._clock = clock
        self._taken: dict[str, tuple[str, Wanted]] = {}
        """Worker and share of it, by trial."""

    def __contains__(self, trial: str) -> bool:
        return trial in self._taken

    def find(self, wanted: Resources, within_s: float = 0.0) -> str | None:
        """The worker with room for a trial that has the fewest; None if there is none.

        Parameters
        ----------
        within_s
            What the trial needs at least: no worker is given whose node ends sooner [s].
        """
        beside: dict[str, list[Wanted]] = {}
        for place, share in self._taken.values():
            beside.setdefault(place, []).append(share)
        free: list[tuple[int, str]] = []
        for name, worker in self._workers().items():
            there = beside.get(name, [])
            has_time = worker.end_s == inf or worker.end_s - self._clock() > within_s
            if has_time and Size(worker.cpus, worker.gpus).holds([*there, share_of(wanted, worker.gpus)]):
                free.append((len(there), name))
        return min(free)[1] if free else None

    def take(self, trial: str, worker: str, wanted: Resources) -> None:
        """A trial has a place on a worker."""
        joined = self._workers().get(worker)
        self._taken[trial] = (worker, share_of(wanted, joined.gpus if joined else 0))

    def leave(self, trial: str) -> None:
        """A trial needs its place no more."""
        self._taken.pop(trial, None)

    def worker_of(self, trial: str) -> str | None:
        """Where a trial runs, or is to start."""
        return self._taken[trial][0] if trial in self._taken else None


def share_of(resources: Resources, gpus: int) -> Wanted:
    """What a trial takes of a worker with so many GPUs."""
    return {"cpus": resources.cpus, "gpus": gpu_share(resources, gpus)}
