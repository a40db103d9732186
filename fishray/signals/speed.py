"""The speed ỹ: how much the picture changes from one frame to the next."""

from array import array

import numpy as np
from numpy.typing import NDArray

from fishray.errors import RecordingError

WHITE = 255


def frame_speed(frames_thw: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean absolute change of grey level between consecutive frames.

    Parameters
    ----------
    frames_thw : shape (T, H, W)
        Grey levels, 0 to 255; T >= 2.

    Returns
    -------
    shape (T - 1,)
        Speed proxy ỹ [grey level / 255 per frame]; element t compares frames t and t + 1.

    Raises
    ------
    RecordingError
        With fewer than two frames.
    """
    if len(frames_thw) < 2:
        raise RecordingError(f"a speed compares two frames, and there are {len(frames_thw)}")
    meter = SpeedMeter()
    for frame_hw in frames_thw:
        meter.see(frame_hw)
    return meter.speed


class SpeedMeter:
    """Measures ỹ of frames that pass one at a time, in the memory of a few frames."""

    def __init__(self) -> None:
        self._speeds = array("d")
        self._last_hw: NDArray[np.uint8] | None = None
        self._higher_hw = self._lower_hw = np.empty((0, 0), np.uint8)

    @property
    def speed(self) -> NDArray[np.float64]:
        """Speed ỹ of the frames seen so far, shape (frames - 1,) [grey level / 255 per frame]."""
        return np.array(self._speeds, np.float64)

    def see(self, frame_hw: NDArray[np.uint8]) -> list[float]:
        """Compare the next frame, shape (H, W), with the one before; it must not change afterwards.

        Returns
        -------
        list
            The speed between the two; empty for the first frame.
        """
        if self._last_hw is None:
            self._higher_hw, self._lower_hw = np.empty_like(frame_hw), np.empty_like(frame_hw)
            between = []
        else:
            between = [self._change(self._last_hw, frame_hw) / (WHITE * frame_hw.size)]
        self._speeds.extend(between)
        self._last_hw = frame_hw
        return between

    def _change(self, earlier_hw: NDArray[np.uint8], later_hw: NDArray[np.uint8]) -> int:
        # Larger minus smaller stays in uint8 where a plain difference would wrap. Sums of integers are exact, so a
        # speed does not depend on the order of the pixels; uint32 holds a row of 16 million of them.
        np.maximum(earlier_hw, later_hw, out=self._higher_hw)
        np.minimum(earlier_hw, later_hw, out=self._lower_hw)
        np.subtract(self._higher_hw, self._lower_hw, out=self._higher_hw)
        return int(self._higher_hw.sum(axis=1, dtype=np.uint32).sum(dtype=np.uint64))
