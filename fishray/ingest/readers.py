"""The kinds of source, behind one interface."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fishray.errors import RecordingError
from fishray.ingest import arrays, hdf5, images, series, tiff
from fishray.ingest.arrays import NumpyStack
from fishray.ingest.hdf5 import Hdf5Stack
from fishray.ingest.images import ImageFolder
from fishray.ingest.series import SpeedSeries
from fishray.ingest.tiff import TiffStack
from fishray.ingest.video import Video

INSIDE = re.compile(r"(?P<file>.+\.(?:h5|hdf5|hdf|npz)):(?P<inside>.+)", re.IGNORECASE)
"""How to name one of several arrays in a file: FILE.h5:/path/inside, FILE.npz:name."""


class FrameSource(Protocol):
    """A source of frames.

    Attributes
    ----------
    path
        Where it lies.
    fps
        Frame rate [frames per second]; the mean one where it varies, None where the source tells none.
    times_s
        When each frame was shown [s after the first], shape (T,); None where that follows from a constant rate, or
        where the source tells nothing.
    frame_count
        Number of frames, known before they are read; None where only reading tells.
    """

    @property
    def path(self) -> Path: ...  # noqa: D102

    @property
    def fps(self) -> float | None: ...  # noqa: D102

    @property
    def times_s(self) -> NDArray[np.float64] | None: ...  # noqa: D102

    @property
    def frame_count(self) -> int | None: ...  # noqa: D102

    def sha256(self) -> str:
        """SHA-256 of what it holds, as hexadecimal digits."""

    def frames(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Read the frames in order from `start` on, each of shape (H, W), grey levels 0 to 255.

        They are, bit for bit, those that reading from the first one gives. Memory does not grow with their number.
        """


Source = FrameSource | SpeedSeries


def open_source(path: Path) -> Source:
    """Choose the reader for a source of frames or a series of speeds.

    Parameters
    ----------
    path
        A video; a folder of images; a stack of frames (.tif with many pages, .npy or .npz of three or four axes, .h5);
        or a series of speeds (.npy of one axis, .csv). One of several arrays in a file is FILE.h5:/path/inside or
        FILE.npz:name.

    Raises
    ------
    RecordingError
        Where there is nothing, or nothing that can be read.
    """
    path, inside = _split_inside(path)
    if not path.exists():
        raise RecordingError(
            f"no file or folder at {path}; give a video, a folder of images, a stack of frames or a series of speeds"
        )
    if path.is_dir():
        return ImageFolder(path)
    suffix = path.suffix.lower()
    if suffix in hdf5.SUFFIXES:
        return Hdf5Stack(path, inside)
    if suffix == ".npz" or (suffix == ".npy" and arrays.axes(path) > 2):
        return NumpyStack(path, inside)
    if suffix in series.SUFFIXES:
        return SpeedSeries(path)
    if suffix in tiff.SUFFIXES:
        return TiffStack(path)
    if suffix in images.SUFFIXES:
        raise RecordingError(f"{path} is one image; give the folder that holds all frames: {path.parent}")
    return Video(path)


def _split_inside(path: Path) -> tuple[Path, str | None]:
    named = None if path.exists() else INSIDE.fullmatch(str(path))
    return (Path(named["file"]), named["inside"]) if named else (path, None)
