"""The kinds of source, behind one interface."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fishray.errors import RecordingError
from fishray.ingest import images, series
from fishray.ingest.images import ImageFolder
from fishray.ingest.series import SpeedSeries
from fishray.ingest.video import Video


class FrameSource(Protocol):
    """A source of frames.

    Attributes
    ----------
    path
        Where it lies.
    fps
        Frame rate that it states [frames per second]; None where it states none.
    frame_count
        Number of frames that it states; None where it states none.
    """

    @property
    def path(self) -> Path: ...  # noqa: D102

    @property
    def fps(self) -> float | None: ...  # noqa: D102

    @property
    def frame_count(self) -> int | None: ...  # noqa: D102

    def sha256(self) -> str:
        """SHA-256 of what it holds, as hexadecimal digits."""

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """Read the frames in order, each of shape (H, W), grey levels 0 to 255."""


Source = FrameSource | SpeedSeries


def open_source(path: Path) -> Source:
    """Choose the reader for a video file, a folder of images, or a .npy or .csv series of speeds.

    Raises
    ------
    RecordingError
        Where there is nothing, or nothing that can be read.
    """
    if not path.exists():
        raise RecordingError(f"no file or folder at {path}; give a video, a folder of images or a series of speeds")
    if path.is_dir():
        return ImageFolder(path)
    if path.suffix.lower() in series.SUFFIXES:
        return SpeedSeries(path)
    if path.suffix.lower() in images.SUFFIXES:
        raise RecordingError(f"{path} is one image; give the folder that holds all frames: {path.parent}")
    return Video(path)
