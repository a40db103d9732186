"""The workers of a sweep, as its driver sees them: what they are told, and what is written down of them."""

import time
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from fishray.errors import ResourceError
from fishray.tuning.driver import Driver
from fishray.tuning.recorder import Recorder
from fishray.tuning.seats import share_of
from hpc.cluster import Cluster, Joined, Worker
from hpc.demand import Wanted

LOOK_EVERY_S = 0.5
MOST_DISMISSED = 3
FORESIGHT = 2_000
"""Trials that are counted when workers are asked for; those behind them change nothing."""


class Crew:
    """A cluster, and the journal that hears of it.

    Parameters
    ----------
    cluster
        Where trials run.
    record
        Writes how its workers stand.
    gpus
        Of each worker.
    """

    def __init__(self, cluster: Cluster, record: Recorder, gpus: int):
        self._cluster = cluster
        self._record = record
        self._gpus = gpus
        self._looked_s = -LOOK_EVERY_S
        self._dismissed: set[str] = set()
        """Workers that were unfit, since the last result of any."""

    def workers(self) -> Mapping[str, Joined]:
        """Those that take work, by Ray's name for being on one of them."""
        return self._cluster.joined()

    def release(self, worker: str) -> None:
        """Hand a worker back when what runs there has ended."""
        self._cluster.release(worker)

    def dismiss(self, worker: str, reason: str) -> None:
        """Hand back a worker on which trials cannot run, whatever they are.

        Raises
        ------
        ResourceError
            If it is the only one, or if several were like it, one after another.
        """
        self._cluster.release(worker)
        self._dismissed.add(worker)
        if worker in self._cluster.joined() or len(self._dismissed) >= MOST_DISMISSED:
            raise ResourceError(reason)

    def is_fit(self) -> None:
        """Somewhere a trial has run."""
        self._dismissed.clear()

    def look_after(self, driver: Driver) -> None:
        """Tell the cluster what is wanted, and write down what has changed in it.

        Raises
        ------
        HpcError
            If workers cannot be had.
        """
        if time.monotonic() - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = time.monotonic()
        self.ask_for(share_of(each, self._gpus) for each in islice(driver.demand(), FORESIGHT))

    def ask_for(self, demand: Iterable[Wanted]) -> None:
        """Tell the cluster what runs and waits, and write down what has changed in it.

        Raises
        ------
        HpcError
            If workers cannot be had.
        """
        news = self._cluster.news()
        self._record.all([("worker", _told(worker)) for worker in news])
        self._cluster.offer(list(demand))


def _told(worker: Worker) -> dict[str, Any]:
    return {"worker": worker.job_id, "state": worker.state, "reason": worker.reason, "node": worker.node}
