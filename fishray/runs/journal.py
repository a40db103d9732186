"""The journal of a run: append-only events, the truth of every view."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from fishray.errors import RunError
from fishray.files import storage_errors, sync

Event = tuple[str, Mapping[str, Any]]
"""The name of an event, and its fields."""


TAIL_BYTES = 65_536
"""How much of a journal's end is looked through at a time."""


class Journal:
    """Events, one JSON object a line, each on disk before the next thing happens.

    Read, a last line without its end (a crash in mid-write) is passed over, and so is what a writer of an earlier
    generation still wrote after a later one had begun; a damaged line elsewhere is an error.
    """

    def __init__(self, path: Path):
        self.path = path

    def append(self, event: str, **fields: Any) -> dict[str, Any]:
        """Write one event durably and return it as readers will see it."""
        return self.append_all([(event, fields)])[0]

    def append_all(self, events: Sequence[Event], generation: int = 0) -> list[dict[str, Any]]:
        """Write events durably, in one go, and return them as readers will see them.

        Parameters
        ----------
        events
            At least one.
        generation
            The writer's (see `Lease`).

        Raises
        ------
        StorageError
            If they cannot be written; the journal is then as it was.
        """
        now_s = round(time.time(), 3)
        records = [{"time": now_s, "event": name, "generation": generation, **fields} for name, fields in events]
        lines = [json.dumps(each, separators=(",", ":"), allow_nan=False, default=_plain_number) for each in records]
        with storage_errors(self.path):
            is_new = not self.path.exists()
            _append(self.path, "".join(f"{line}\n" for line in lines).encode())
            if is_new:
                sync(self.path.parent)
        return [json.loads(line) for line in lines]

    def mend(self) -> None:
        """Cut off a last line without its end, so that the next one stands for itself. For the holder of the lease."""
        if not self.path.exists():
            return
        with storage_errors(self.path):
            descriptor = os.open(self.path, os.O_RDWR)
            try:
                _cut_torn_line(descriptor)
            finally:
                os.close(descriptor)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Every whole event, oldest first; a RunError names a damaged line."""
        return JournalReader(self.path).read()


class JournalReader:
    """Reads a journal bit by bit, as it grows."""

    def __init__(self, path: Path):
        self.line = 0
        """Number of the line that was read last."""
        self._path = path
        self._bytes = self._generation = 0

    def read(self) -> Iterator[dict[str, Any]]:
        """Every whole event since the last call, oldest first; none while there is no journal.

        Raises
        ------
        RunError
            If a line is damaged.
        """
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        except OSError as error:
            raise RunError(f"{self._path} cannot be read ({error.strerror or error})") from error
        with file:
            file.seek(self._bytes)
            for text in file:
                if not text.endswith(b"\n"):
                    return
                self._bytes += len(text)
                self.line += 1
                try:
                    record = json.loads(text)
                    generation = record.get("generation", 0)
                except (ValueError, AttributeError) as error:
                    raise RunError(f"{self._path} is damaged at line {self.line}: {text[:60]!r}") from error
                if generation >= self._generation:
                    yield record
                self._generation = max(self._generation, generation)


def _append(path: Path, content: bytes) -> None:
    """Write behind the last whole line of a file, all of it or nothing."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        _cut_torn_line(descriptor)
        before, written = os.fstat(descriptor).st_size, 0
        try:
            while written < len(content):
                written += os.write(descriptor, content[written:])
            os.fsync(descriptor)
        except BaseException:
            with suppress(OSError):
                if os.fstat(descriptor).st_size == before + written:  # else somebody has taken over
                    os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)


def _cut_torn_line(descriptor: int) -> None:
    """Cut off a last line without its end: of a writer that died, or could not undo what it had begun."""
    size = whole = os.fstat(descriptor).st_size
    tail = b""
    while whole and b"\n" not in tail:
        step = min(whole, TAIL_BYTES)
        whole -= step
        tail = os.pread(descriptor, step, whole)
    whole += tail.rfind(b"\n") + 1
    if whole < size:
        os.ftruncate(descriptor, whole)
        os.fsync(descriptor)


def _plain_number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written to a journal")
