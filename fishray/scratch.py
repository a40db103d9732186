"""Private directories on this node that do not outlive their users.

Every process that uses one holds a shared lock on a file in it, which the kernel drops however the process ends. So a
directory whose lock can be had exclusively belongs to nobody, and the next start removes it.
"""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

from fishray.errors import ResourceError


def scratch_root() -> Path:
    """Directory for scratch on this node, readable to its user alone.

    Raises
    ------
    ResourceError
        If somebody else made it first.
    """
    root = Path(tempfile.gettempdir()) / f"fishray-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    if root.is_symlink() or root.stat().st_uid != os.getuid():
        raise ResourceError(f"{root} belongs to somebody else; set TMPDIR to a folder of your own")
    return root


class Scratch:
    """A directory shared by processes that give the same key; the last to leave removes it."""

    def __init__(self, key: str):
        self.path = scratch_root() / key
        self._use: IO[bytes] | None = None

    def __enter__(self) -> Self:
        """Say that this process uses the directory."""
        while True:
            self.path.mkdir(mode=0o700, exist_ok=True)
            with suppress(FileNotFoundError):  # removed by its last user just now
                self._use = (self.path / "in-use").open("ab")
                fcntl.flock(self._use, fcntl.LOCK_SH)
                if self.path.exists():
                    return self
                self._use.close()

    def __exit__(self, *_: object) -> None:
        """Stop using it."""
        if self._use:
            self._use.close()
            self._use = None
        _remove_if_unused(self.path)


def remove_stale_scratch() -> None:
    """Remove what processes that were killed left behind."""
    for path in scratch_root().iterdir():
        _remove_if_unused(path)


def _remove_if_unused(path: Path) -> None:
    with suppress(FileNotFoundError, BlockingIOError), (path / "in-use").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
