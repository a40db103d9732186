"""Files that are whole or absent, whatever dies while they are written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fishray.errors import StorageError


@contextmanager
def written_aside(path: Path, *, keep_previous: bool = False) -> Iterator[Path]:
    """Give a path beside `path` to write to; what was written there is on disk and in its place afterwards.

    Parameters
    ----------
    keep_previous
        Whether what was at `path` moves to `previous(path)`, rather than away.

    Raises
    ------
    StorageError
        If it cannot be written; what was at `path` is untouched.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with storage_errors(path):
            yield part
            sync(part)
            if keep_previous and path.exists():
                path.replace(previous(path))
            part.replace(path)
            sync(path.parent)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def previous(path: Path) -> Path:
    """Where `written_aside` keeps what was at a path before."""
    return path.with_name(f"{path.name}.previous")


def sync(path: Path) -> None:
    """Wait until a file's bytes, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Take these permissions from every file and folder that this process makes."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Say of an operating system's error that it is the storage's, and where."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be written ({error.strerror or error})") from error
