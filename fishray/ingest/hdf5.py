"""Stacks of frames in HDF5 files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fishray.errors import RecordingError
from fishray.ingest.digests import sha256_of
from fishray.ingest.grey import grey_frame, refuse_few_levels, refuse_other_numbers
from fishray.ingest.stacks import chosen_stack, refuse_other_shapes

SUFFIXES = (".h5", ".hdf5", ".hdf")
BLOCK_BYTES = 2**25
"""Frames of a compressed chunk are read together, as far as they fit; one by one, each would unpack all of it again."""
HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError)
"""What h5py raises over a damaged file, or a filter that is not installed."""


class Hdf5Stack:
    """A dataset of frames in an HDF5 file, of shape (T, H, W) or (T, H, W, 3), read chunk by chunk.

    Attributes
    ----------
    path
        The file.
    fps, times_s
        None: a dataset states no frame rate.
    frame_count
        T.
    """

    fps = None
    times_s = None

    def __init__(self, path: Path, inside: str | None = None) -> None:
        self.path = path
        self._inside = inside
        with self._file() as file:
            self._dataset = self._choose(file)
            dataset = file[self._dataset]
            refuse_other_shapes(dataset.shape, f"{path}:{self._dataset}")
            refuse_other_numbers(dataset.dtype, f"{path}:{self._dataset}")
            self.frame_count: int = dataset.shape[0]

    def sha256(self) -> str:
        """SHA-256 of the file, and of the name of the dataset where one was chosen, as hexadecimal digits."""
        return sha256_of(self.path, self._inside)

    def frames(self, start: int = 0) -> Iterator[NDArray[np.uint8]]:
        """Read the frames in order from `start` on, each of shape (H, W), grey levels 0 to 255.

        Raises
        ------
        RecordingError
            Where the file is damaged.
        """
        with self._file() as file:
            dataset = file[self._dataset]
            frame_bytes = dataset.nbytes // max(1, self.frame_count)
            at_once = min(dataset.chunks[0], max(1, BLOCK_BYTES // frame_bytes)) if dataset.chunks else 1
            for begin in range(start, self.frame_count, at_once):
                for position, frame in enumerate(dataset[begin : begin + at_once], begin):
                    if position == 0:
                        refuse_few_levels(frame, self.path)
                    yield grey_frame(frame)

    @contextmanager
    def _file(self) -> Iterator[Any]:
        try:
            import h5py
        except ImportError as error:
            raise RecordingError(
                f'{self.path} is an HDF5 file, which needs h5py; install it: pip install "fishray[hdf5]"'
            ) from error
        try:
            with h5py.File(self.path, "r") as file:
                yield file
        except HDF5_ERRORS as error:
            raise RecordingError(
                f"{self.path} cannot be read as HDF5 ({error}); copy it again, or save it anew"
            ) from error

    def _choose(self, file: Any) -> str:
        shapes: dict[str, tuple[int, ...]] = {}

        def see(name: str, item: Any) -> None:
            if getattr(item, "shape", None) is not None:  # a group has none, and neither has an empty dataset
                shapes[f"/{name}"] = item.shape

        file.visititems(see)
        return chosen_stack(shapes, self.path, None if self._inside is None else "/" + self._inside.strip("/"))
