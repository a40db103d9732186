"""A recording under way: written by one process at a time, and gone on with after that was stopped."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fishray.errors import RecordingError, RunError, SettingError, StorageError, StoreError
from fishray.runs.lease import Lease, last_holder
from fishray.store import RecordingWriter, existing_recording
from fishray.store.writing import claim, clear, unfinished_path


@contextmanager
def under_way(store: Path, name: str, attributes: Mapping[str, Any]) -> Iterator[tuple[RecordingWriter, Lease]]:
    """Write a recording, or go on with one of the same attributes that was stopped.

    Where the source or a setting is to blame, nothing of the recording stays, nor of a store that was made for it.
    After anything else (Ctrl-C, a full disk) the frames that are on disk stay for the next call.

    Raises
    ------
    StoreError
        Where the name is unfit or taken, another process writes this recording, or the store cannot be written.
    """
    made = claim(store, name)
    lease = _lease(store, name)
    writer = None
    try:
        if existing_recording(store, name) is not None:  # by a process that has just ended
            raise SettingError(f"recording {name} is already there in {store}; choose another with --name")
        writer = RecordingWriter(store, name, attributes)
        yield writer, lease
    except BaseException as error:
        begun = writer.frame_count if writer else 0
        if begun and isinstance(error, StoreError):
            raise StoreError(
                f"{error}; its first {begun:,} frames stay, the same command goes on after them"
            ) from error
        if not begun or isinstance(error, RecordingError | SettingError):
            _clear_ours(lease, store, name, made)
        raise
    else:
        _clear_ours(lease, store, name, made=False)
    finally:
        lease.release()


def tidy(store: Path, name: str) -> None:
    """Remove what is left beside a finished recording by a process that died as it ended."""
    if unfinished_path(store, name).exists():
        with suppress(RunError, StorageError):  # it is ending now, or may not be written
            Lease(unfinished_path(store, name))
            clear(store, name, made=False)


def _lease(store: Path, name: str) -> Lease:
    folder = unfinished_path(store, name)
    try:
        return Lease(folder)
    except RunError as error:
        raise StoreError(
            f"recording {name} of {store} is being written by another process ({last_holder(folder)}); wait for it, or "
            "choose another name with --name"
        ) from error


def _clear_ours(lease: Lease, store: Path, name: str, made: bool) -> None:
    with suppress(RunError, StorageError):  # another process has taken over
        lease.check()
        clear(store, name, made)
