"""Private directories on this node that do not outlive their users.

Every process that uses one holds a shared lock on a file in it, which the kernel drops however the process ends. So a
directory whose lock can be had exclusively belongs to nobody, and the next start removes it.
"""

import fcntl
import os
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

from hpc.errors import ScratchError

USE = "in-use"
"""The file whose lock says that a directory is used."""


SHORT = Path("/tmp")
"""Where a path is short, whatever TMPDIR says: a socket's may have 107 bytes."""


IN_MEMORY = Path("/dev/shm")
"""What is kept there takes of a job's memory."""


def scratch_root(within: Path | None = None) -> Path:
    """Directory for scratch on this node, readable to its user alone.

    Parameters
    ----------
    within
        The system's directory for temporary files when left out.

    Raises
    ------
    ScratchError
        If somebody else made it first.
    """
    root = (within or Path(tempfile.gettempdir())) / f"hpc-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    if root.is_symlink() or root.stat().st_uid != os.getuid():
        raise ScratchError(f"{root} belongs to somebody else; set TMPDIR to a folder of your own")
    return root


class Scratch:
    """A directory shared by processes that give the same key; the last to leave removes it."""

    def __init__(self, key: str, within: Path | None = None):
        self.path = scratch_root(within) / key
        self._use: IO[bytes] | None = None

    def __enter__(self) -> Self:
        """Say that this process uses the directory."""
        while self._use is None:
            self.path.mkdir(mode=0o700, exist_ok=True)
            with suppress(FileNotFoundError):  # removed by its last user just now
                file = (self.path / USE).open("ab")
                fcntl.flock(file, fcntl.LOCK_SH)
                if _is_still_at(file, self.path / USE):
                    self._use = file
                else:
                    file.close()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop using it."""
        if self._use:
            self._use.close()
            self._use = None
        _remove_if_unused(self.path)


def remove_stale_scratch(within: Path | None = None) -> None:
    """Remove what processes that were killed left behind.

    Parameters
    ----------
    within
        Looked at besides the system's directory for temporary files.
    """
    roots = {scratch_root(), scratch_root(SHORT), scratch_root(within)}
    if (IN_MEMORY / scratch_root().name).exists():
        roots.add(scratch_root(IN_MEMORY))
    for root in roots:
        for path in root.iterdir():
            _remove_if_unused(path)


def _remove_if_unused(path: Path) -> None:
    with suppress(FileNotFoundError, NotADirectoryError, BlockingIOError), (path / USE).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_still_at(file, path / USE):
            aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.removed")
            path.rename(aside)  # at once, so that whoever comes now finds a directory of its own
            shutil.rmtree(aside, ignore_errors=True)


def _is_still_at(file: IO[bytes], path: Path) -> bool:
    """Whether an open file is the one at a path: it may have been removed, and another put there."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
