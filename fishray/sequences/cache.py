"""Frames decoded once per node and shared by its trials as one read-only memory-mapped array.

They lie in the node's directory for temporary files, whose pages the kernel gives up when memory is short; where that
has too little room, in shared memory, if they take no more than a part of what this job may still use; and where they
fit nowhere, they stay in the store, and are read when they are asked for.
"""

import fcntl
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fishray.errors import RecordingError
from fishray.sequences.direct import StoredFrames
from fishray.sequences.sequence import Frames
from fishray.store import Recording
from hpc.memory import Memory, memory_here
from hpc.scratch import IN_MEMORY, Scratch

BLOCK_FRAMES = 960
MOST_OF_MEMORY = 0.5
"""Share of the free memory that frames may take: trials need the rest."""


class FrameCache(Scratch):
    """Frames of recordings; every process of one run on one node gives the same key.

    Parameters
    ----------
    key
        Of the run.
    within
        Directory for it; the system's for temporary files when left out.
    shared_memory, memory
        Where that is, and what is free of it.
    """

    def __init__(
        self,
        key: str,
        within: Path | None = None,
        *,
        shared_memory: Path = IN_MEMORY,
        memory: Callable[[], Memory] = memory_here,
    ):
        super().__init__(key, within)
        self._unread: dict[str, int] = {}
        """Bytes of the recordings that have no room."""
        self._key = key
        self._shared_memory = shared_memory
        self._memory = memory
        self._resources = ExitStack()

    def __exit__(self, *_: object) -> None:
        """Stop using it."""
        self._resources.close()
        super().__exit__()

    @property
    def notice(self) -> str:
        """Which frames are read from the store, and why; empty where none are."""
        if not self._unread:
            return ""
        return (
            f"the frames of {', '.join(self._unread)} are read from the store, which takes longer: a copy takes "
            f"{sum(self._unread.values()) / 1e6:,.0f} MB, {self.path.parent.parent} has "
            f"{shutil.disk_usage(self.path).free / 1e6:,.0f} MB free, memory "
            f"{self._memory().free_bytes / 1e6:,.0f} MB; set TMPDIR to a folder on this node with more room"
        )

    def frames(self, recording: Recording) -> Frames:
        """All frames of a recording, read-only, shape (T, H, W)."""
        if recording.frame_size is None:
            raise RecordingError(
                f"{recording.name} holds speed alone, no frames; leave out the families that read frames"
            )
        with _locked(self.path / "filling"):
            path = self._decoded(recording)
        if path is None:
            return StoredFrames(recording, 0, recording.frame_count)
        frames: NDArray[np.uint8] = np.load(path, mmap_mode="r")
        return frames

    def _decoded(self, recording: Recording) -> Path | None:
        """The file that holds a recording's frames, which this or another process has filled; None: no room."""
        size = recording.frame_count * math.prod(recording.frame_size or ())
        if (path := _fill(self.path, recording)) is not None:
            return path
        if size <= MOST_OF_MEMORY * self._memory().free_bytes and os.access(self._shared_memory, os.W_OK):
            shared = self._resources.enter_context(Scratch(self._key, self._shared_memory))
            if (path := _fill(shared.path, recording)) is not None:
                return path
        self._unread[recording.name] = size
        logging.getLogger(__name__).warning(self.notice)
        return None


def _fill(folder: Path, recording: Recording) -> Path | None:
    """A file with a recording's frames, filled if it is not there; None if there is no room for it."""
    path = folder / f"{recording.name}.npy"
    if path.exists():
        return path
    part = path.with_suffix(".part")
    shape = (recording.frame_count, *(recording.frame_size or ()))
    array = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
    if not _reserve(part):
        part.unlink()
        return None
    for start in range(0, recording.frame_count, BLOCK_FRAMES):
        stop = min(start + BLOCK_FRAMES, recording.frame_count)
        array[start:stop] = recording.read_frames(start, stop)
    array.flush()
    part.rename(path)
    return path


def _reserve(path: Path) -> bool:
    """Take a file's whole room now: a page that cannot be written later would kill the process."""
    with suppress(OSError), path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        return True
    return False


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
