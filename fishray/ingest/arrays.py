"""Stacks of frames that NumPy saved."""

import io
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fishray.errors import RecordingError
from fishray.ingest.digests import sha256_of
from fishray.ingest.grey import grey_frame, refuse_few_levels, refuse_other_numbers
from fishray.ingest.stacks import chosen_stack, refuse_other_shapes

SUFFIXES = (".npy", ".npz")
ARRAY_ERRORS = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, TokenError, NotImplementedError)
"""What NumPy and zipfile raise over a damaged file, or one of another kind."""


class Header(NamedTuple):
    """What stands before the numbers of an array."""

    shape: tuple[int, ...]
    columns_first: bool
    dtype: np.dtype[Any]


class NumpyStack:
    """A .npy or .npz file with an array of frames, of shape (T, H, W) or (T, H, W, 3), read frame by frame.

    Attributes
    ----------
    path
        The file.
    fps, times_s
        None: an array states no frame rate.
    frame_count
        T.
    """

    fps = None
    times_s = None

    def __init__(self, path: Path, inside: str | None = None) -> None:
        self.path = path
        self._inside = inside
        try:
            self._member = _member(path, inside) if path.suffix.lower() == ".npz" else None
            with self._open() as file:
                self._header = _read_header(file)
                begin = file.tell()
        except ARRAY_ERRORS as error:
            raise RecordingError(
                f"{path} cannot be read as an array ({error}); save it with numpy.save or numpy.savez"
            ) from error
        refuse_other_shapes(self._header.shape, path)
        refuse_other_numbers(self._header.dtype, path)
        if self._header.columns_first:
            raise RecordingError(
                f"{path} is stored column by column, so its frames cannot be read one by one; save it with "
                "numpy.save(name, numpy.ascontiguousarray(frames))"
            )
        self.frame_count = self._header.shape[0]
        whole = (path.stat().st_size - begin) // max(1, self._frame_bytes)
        if self._member is None and whole < self.frame_count:  # an archive is read from its end: it is whole
            raise RecordingError(
                f"{path} is cut off after frame {whole} of {self.frame_count}; copy it again, or save it anew"
            )

    def sha256(self) -> str:
        """SHA-256 of the file, and of the name of the array where one was chosen, as hexadecimal digits."""
        return sha256_of(self.path, self._inside)

    def frames(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Read the frames in order from `start` on, each of shape (H, W), grey levels 0 to 255.

        Raises
        ------
        RecordingError
            Where the file is damaged.
        """
        position = start
        try:
            with self._open() as file:
                _read_header(file)
                file.seek(start * self._frame_bytes, io.SEEK_CUR)
                for position in range(start, self.frame_count):
                    content = np.frombuffer(file.read(self._frame_bytes), self._header.dtype)
                    frame = content.reshape(self._header.shape[1:])
                    if position == 0:
                        refuse_few_levels(frame, self.path)
                    yield grey_frame(frame)
        except ARRAY_ERRORS as error:
            raise RecordingError(
                f"{self.path} is damaged after frame {position} ({error}); copy it again, or save it anew"
            ) from error

    @property
    def _frame_bytes(self) -> int:
        return math.prod(self._header.shape[1:]) * self._header.dtype.itemsize

    @contextmanager
    def _open(self) -> Iterator[IO[bytes]]:
        if self._member is None:
            with self.path.open("rb") as file:
                yield file
        else:
            with zipfile.ZipFile(self.path) as archive, archive.open(self._member) as file:
                yield file


def axes(path: Path) -> int:
    """Number of axes of the array in a .npy file; 0 where it cannot be read."""
    try:
        with path.open("rb") as file:
            return len(_read_header(file).shape)
    except ARRAY_ERRORS:
        return 0


def _member(path: Path, inside: str | None) -> str:
    with zipfile.ZipFile(path) as archive:
        shapes = {}
        for member in archive.namelist():
            with archive.open(member) as file:
                shapes[member.removesuffix(".npy")] = _read_header(file).shape
    return chosen_stack(shapes, path, inside) + ".npy"


def _read_header(file: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return Header(*read(file))
