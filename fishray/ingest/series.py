"""Series of speeds that were measured elsewhere."""

from pathlib import Path
from tokenize import TokenError

import numpy as np
from numpy.typing import NDArray

from fishray.errors import RecordingError
from fishray.ingest.digests import sha256_of

SUFFIXES = (".npy", ".csv")


class SpeedSeries:
    """A .npy or .csv file of S speeds, which stand for S + 1 frames.

    A .csv file holds one number on each line; its first line may be a heading.

    Attributes
    ----------
    path
        The file.
    fps
        None: a series states no frame rate.
    """

    fps = None

    def __init__(self, path: Path) -> None:
        self.path = path

    def sha256(self) -> str:
        """SHA-256 of the file, as hexadecimal digits."""
        return sha256_of(self.path)

    def speed(self, drop_placeholder: bool = False) -> NDArray[np.float64]:
        """Read the speed ỹ, shape (S,).

        Parameters
        ----------
        drop_placeholder
            Whether the last value is the 0 that published series carry for want of a next frame, to be dropped.

        Raises
        ------
        RecordingError
            Where the values are no speeds; tells the first bad one.
        """
        speed = self._read_csv() if self.path.suffix.lower() == ".csv" else self._read_npy()
        if drop_placeholder and len(speed):
            if speed[-1] != 0:
                raise RecordingError(
                    f"{self.path} ends with {speed[-1]:g}, not with the placeholder 0; leave out drop_placeholder"
                )
            speed = speed[:-1]
        if not len(speed):
            raise RecordingError(f"{self.path} holds no speeds; give a series of at least one")
        bad = np.flatnonzero(~(np.isfinite(speed) & (speed >= 0)))
        if len(bad):
            raise RecordingError(
                f"{self.path} has {speed[bad[0]]:g} at position {bad[0]} (counted from 0; {len(bad)} such in all); "
                "speeds are finite and not negative: cut the series there, or fill the gap"
            )
        return speed

    def _read_npy(self) -> NDArray[np.float64]:
        try:
            with self.path.open("rb") as file:
                values = np.lib.format.read_array(file, allow_pickle=False)
        except (OSError, ValueError, TokenError) as error:
            raise RecordingError(
                f"{self.path} cannot be read as an array ({error}); save it with numpy.save"
            ) from error
        if values.ndim != 1 or values.dtype.kind not in "fiu":
            raise RecordingError(
                f"{self.path} has shape {values.shape} of {values.dtype}; a series of speeds has one axis of numbers, "
                "a stack of frames three, or four in colour"
            )
        return values.astype(np.float64)

    def _read_csv(self) -> NDArray[np.float64]:
        try:
            lines = self.path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise RecordingError(f"{self.path} cannot be read as text ({error}); save it as plain CSV") from error
        speeds = []
        for number, line in enumerate(lines, start=1):
            try:
                speeds.append(float(line.strip().rstrip(",;").strip('"')))
            except ValueError as error:
                heading = number == 1 and not set(",;\t") & set(line)
                if line.strip() and not heading:
                    raise RecordingError(
                        f"{self.path}, line {number}: {line.strip()!r} is not one number; give one speed on each line"
                    ) from error
        return np.array(speeds, np.float64)
