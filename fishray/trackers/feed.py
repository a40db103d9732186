"""Tell trackers the events of a sweep, each in a thread of its own: none can hold up the sweep, or one another."""

import importlib.util
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fishray.config.sweep import Sweep
from fishray.errors import ResourceError
from fishray.trackers.base import Tracker
from fishray.trackers.teller import Teller

QUEUE_LENGTH = 10_000
"""Events that may wait for a tracker; a sweep of a thousand trials writes some ten thousand in all."""
PATIENCE_S = 10.0
"""How long the end of a sweep waits for its trackers, all together."""
LIBRARIES = {
    "tensorboard": ("tensorboardX",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
    "wandb": ("wandb",),
}
"""Modules that must be there; fishray's extra has the name of the tracker."""

Say = Callable[[str], None]
Make = Callable[[str, Path, Sweep], Tracker]


def check_trackers(sweep: Sweep, find: Callable[[str], Any] = importlib.util.find_spec) -> None:
    """Refuse a sweep with a tracker whose library is not installed.

    Raises
    ------
    ResourceError
        With the command that installs it.
    """
    for name in sweep.trackers.chosen:
        specs = {module: find(module) for module in LIBRARIES[name]}
        missing = [module for module, spec in specs.items() if spec is None or spec.origin is None]  # None: mere folder
        if missing:
            raise ResourceError(
                f'trackers.{name}: {" and ".join(missing)} not installed; type: pip install "fishray[{name}]"'
            )


def make_tracker(name: str, run_path: Path, sweep: Sweep) -> Tracker:
    """Make one tracker, which imports its library."""
    match name:
        case "tensorboard":
            from fishray.trackers.tensorboard import TensorboardTracker

            return TensorboardTracker(run_path, sweep)
        case "mlflow":
            from fishray.trackers.mlflow import MlflowTracker

            return MlflowTracker(run_path, sweep)
        case "wandb":
            from fishray.trackers.wandb import WandbTracker

            return WandbTracker(run_path, sweep)
    raise ValueError(name)


def open_trackers(
    run_path: Path,
    sweep: Sweep,
    past: Iterable[Mapping[str, Any]],
    say: Say,
    make: Make = make_tracker,
    patience_s: float = PATIENCE_S,
) -> "Trackers":
    """Make the sweep's trackers.

    Libraries are imported here and not in the trackers' threads, where they would meet what the sweep itself imports.

    Parameters
    ----------
    run_path
        The run's directory, which need not exist before the first event.
    past
        The journal so far; empty for a new run.
    say
        Told once, in a line, if a tracker fails, falls behind or does not come to its end; by any thread.

    Examples
    --------
    >>> with open_trackers(path, sweep, run.journal, console.print) as trackers:  # doctest: +SKIP
    ...     trackers.on_event(journal.append("sweep", **facts))
    """
    records = list(past) if sweep.trackers.chosen else []
    feeds = []
    for name in sweep.trackers.chosen:
        try:
            tracker = make(name, run_path, sweep)
        except Exception as error:  # noqa: BLE001  (a tracker never harms the sweep)
            say(_off(name, error))
        else:
            feeds.append(_Feed(name, tracker, records, say))
    return Trackers(feeds, say, patience_s)


class Trackers:
    """The trackers of a sweep that runs; leaving waits for them, but not beyond a time [s]."""

    def __init__(self, feeds: "list[_Feed]", say: Say, patience_s: float):
        self._feeds = feeds
        self._say = say
        self._patience_s = patience_s

    def __enter__(self) -> Self:
        for feed in list(self._feeds):
            try:
                feed.start()
            except RuntimeError as error:  # no more threads to be had
                self._feeds.remove(feed)
                self._say(_off(feed.name, error))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        deadline_s = time.monotonic() + self._patience_s
        for feed in self._feeds:
            feed.close()
        for feed in self._feeds:
            feed.join(max(0.0, deadline_s - time.monotonic()))
            if feed.left():
                self._say(
                    f"tracker {feed.name} did not come to its end within {self._patience_s:g} s and is left behind"
                )

    def on_event(self, record: Mapping[str, Any]) -> None:
        """Take one event of the journal; returns at once."""
        for feed in self._feeds:
            feed.put(record)


class _Feed(threading.Thread):
    """One tracker and the events that wait for it."""

    def __init__(self, name: str, tracker: Tracker, past: Iterable[Mapping[str, Any]], say: Say):
        super().__init__(name=name, daemon=True)  # one that hangs does not keep the process
        self._tracker = tracker
        self._past = past
        self._say = say
        self._waiting: deque[Mapping[str, Any]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._off = False
        self._behind = False

    def put(self, record: Mapping[str, Any]) -> None:
        """Let an event wait, or drop it where too many do."""
        with self._changed:
            has_room = self._off or len(self._waiting) < QUEUE_LENGTH
            if has_room and not self._off:
                self._waiting.append(record)
                self._changed.notify()
            newly_behind = not has_room and not self._behind
            self._behind = self._behind or newly_behind
        if newly_behind:
            self._say(f"tracker {self.name} is too slow: it misses events from now on")

    def close(self) -> None:
        """End behind the last event that waits."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def left(self) -> bool:
        """Leave it behind, if it has not come to its end; says whether that is so."""
        with self._changed:
            hangs = self.is_alive() and not self._off
            failed = self._off
            self._off = True
        if hangs or failed:
            with suppress(Exception):
                self._tracker.abandon()
        return hangs

    def run(self) -> None:
        """Tell the tracker all there is, until it fails or the feed is closed."""
        try:
            teller = Teller(self._tracker, self._past)
            for record in self._records():
                teller.tell(record)
            teller.finish()
        except BaseException as error:  # noqa: BLE001  (above is only the thread's end)
            with self._changed:
                known = self._off
                self._off = True
                self._waiting.clear()
            if not known:
                self._say(_off(self.name, error))

    def _records(self) -> Iterator[Mapping[str, Any]]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                record = self._waiting.popleft()
            yield record


def _off(name: str, error: BaseException) -> str:
    words = " ".join(str(error).split())[:200]
    return f"tracker {name} is off: {type(error).__name__}{': ' if words else ''}{words}"
