"""The one writer of a run's journal."""

from collections.abc import Callable
from typing import Any

from fishray.runs import Journal, Lease
from fishray.runs.journal import Event

OnEvent = Callable[[dict[str, Any]], None]


class Recorder:
    """Writes events to the journal, under the run's lease, then tells whoever watches.

    Parameters
    ----------
    journal
        The run's; a torn last line is cut off first.
    lease
        Held by this process.
    """

    def __init__(self, journal: Journal, lease: Lease):
        self._journal = journal
        self._lease = lease
        self.watchers: list[OnEvent] = []
        journal.mend()

    @property
    def generation(self) -> int:
        """The lease's."""
        return self._lease.generation

    def check(self) -> None:
        """Raise a RunError if another process has taken over; before anything is changed that is not in the journal."""
        self._lease.check()

    def __call__(self, event: str, **fields: Any) -> None:
        """Record one event; it is on disk before anything follows from it."""
        self.all([(event, fields)])

    def all(self, events: list[Event]) -> None:
        """Record several events in one go.

        Raises
        ------
        RunError
            If another process has taken over the run.
        StorageError
            If the journal cannot be written.
        """
        if not events:
            return
        self.check()
        for record in self._journal.append_all(events, self._lease.generation):
            for watcher in self.watchers:
                watcher(record)
