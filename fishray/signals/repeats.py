"""Frames that repeat the one before: a converted frame rate, or a camera that fell behind."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_SHARE = 0.01
LONGEST_CYCLE = 60
LEAST_AGREEMENT = 0.98


@dataclass(frozen=True)
class Repeats:
    """How many frames are copies of the one before."""

    share: float
    """Of all frames."""
    longest: int
    """Most copies in a row."""
    cycle: tuple[int, int] | None
    """(1, 6): one of every six frames, always the same one; None where they come irregularly."""


def find_repeats(speed: NDArray[np.float64]) -> Repeats | None:
    """Find frames that equal the one before, between which the speed ỹ is exactly 0.

    Parameters
    ----------
    speed : shape (S,)
        Speed ỹ.

    Returns
    -------
    Repeats or None
        None where fewer than 1 % of the speeds are 0.
    """
    still = speed == 0
    if not len(still) or still.mean() < LEAST_SHARE:
        return None
    ends = np.flatnonzero(np.diff(np.pad(still.astype(np.int8), 1)))
    return Repeats(float(still.mean()), int((ends[1::2] - ends[::2]).max()), _cycle(still))


def _cycle(still: NDArray[np.bool_]) -> tuple[int, int] | None:
    """The shortest cycle that says for nearly every frame whether it is a copy."""
    for length in range(2, min(LONGEST_CYCLE, len(still) // 5) + 1):
        rows = len(still) // length
        share = still[: rows * length].reshape(rows, length).mean(axis=0)
        copies = int((share > 0.5).sum())
        if 0 < copies < length and np.maximum(share, 1 - share).mean() >= LEAST_AGREEMENT:
            return copies, length
    return None
