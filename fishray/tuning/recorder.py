"""The one writer of a run's journal."""

from collections.abc import Callable
from typing import Any

from fishray.runs import Journal

OnEvent = Callable[[dict[str, Any]], None]


class Recorder:
    """Writes an event to the journal, then tells whoever watches.

    Tune writes copies of its scheduler and callbacks to disk, which nothing reads; a copy has no watcher.
    """

    def __init__(self, journal: Journal, on_event: OnEvent):
        self._journal = journal
        self._on_event: OnEvent | None = on_event

    def __call__(self, event: str, **fields: Any) -> None:
        """Record one event; it is on disk before anything follows from it."""
        record = self._journal.append(event, **fields)
        if self._on_event:
            self._on_event(record)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_on_event": None}
