"""Frames that stay in their store, and are read when they are asked for: where a node has no room for a copy."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fishray.sequences.sequence import UnreadFrames
from fishray.store import Recording


@dataclass(frozen=True)
class StoredFrames(UnreadFrames):
    """Consecutive frames of a recording. A slice of them is of this kind too; as an array, they are read."""

    recording: Recording
    start: int
    stop: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(T, H, W)."""
        height, width = self.recording.frame_size or (0, 0)
        return self.stop - self.start, height, width

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, part: slice) -> Self:
        start, stop, step = part.indices(len(self))
        if step != 1:
            raise ValueError(f"frames are read one after another, not in steps of {step}")
        return replace(self, start=self.start + start, stop=self.start + max(start, stop))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("frames that are read from a store are always a copy")
        return np.asarray(self.recording.read_frames(self.start, self.stop), dtype)
