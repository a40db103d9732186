"""Frames decoded once per node and shared by its trials as one read-only memory-mapped array."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fishray.errors import RecordingError, ResourceError
from fishray.store import Recording
from hpc.scratch import Scratch

BLOCK_FRAMES = 960


class FrameCache(Scratch):
    """Frames of recordings; every process of one run on one node gives the same key."""

    def frames(self, recording: Recording) -> NDArray[np.uint8]:
        """All frames of a recording, read-only, shape (T, H, W)."""
        path = self.path / f"{recording.name}.npy"
        with _locked(self.path / "filling"):
            if not path.exists():
                _decode(recording, path)
        frames: NDArray[np.uint8] = np.load(path, mmap_mode="r")
        return frames


def _decode(recording: Recording, path: Path) -> None:
    if recording.frame_size is None:
        raise RecordingError(f"{recording.name} holds speed alone, no frames; leave out the families that read frames")
    part = path.with_suffix(".part")
    shape = (recording.frame_count, *recording.frame_size)
    array = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
    _reserve(part)
    for start in range(0, recording.frame_count, BLOCK_FRAMES):
        stop = min(start + BLOCK_FRAMES, recording.frame_count)
        array[start:stop] = recording.read_frames(start, stop)
    array.flush()
    part.rename(path)


def _reserve(path: Path) -> None:
    """Take a file's whole room on disk now: a page that cannot be written later would kill the process."""
    size = path.stat().st_size
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        free = shutil.disk_usage(path.parent).free
        raise ResourceError(
            f"the frame cache needs {size / 1e6:,.0f} MB in {path.parent.parent}, {free / 1e6:,.0f} MB are free; set "
            f"TMPDIR to a folder on this node with more room"
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
