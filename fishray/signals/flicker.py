"""Light that flickers: every pixel grows brighter and darker from frame to frame, and all of them seem to move."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from fishray.signals.speed import WHITE

LEAST_ADDED = 0.15
"""Of the median speed. In real and simulated recordings under steady light the mean grey level changes by 1 to 8 % of
it, smoothly."""
LEAST_LINE = 20.0
"""Power of a period over the median of its neighbours; chance gives 7 among 256."""
LEAST_REVERSAL = -0.25
"""Correlation of one change with the next: -0.5 where the light of each frame is independent of the last."""
SEGMENT_FRAMES, SHORTEST_SEGMENT = 512, 64
LINE_SURROUNDINGS = 15


@dataclass(frozen=True)
class Flicker:
    """How the light of a recording varies."""

    period: float | None
    """[frames]; None where it jumps without one."""
    change: float
    """Median change of the mean grey level from one frame to the next, as a share of it."""
    added: float
    """The same change as a share of the median speed."""


def find_flicker(means: Sequence[NDArray[np.float64]], speed: NDArray[np.float64]) -> Flicker | None:
    """Find a mean grey level that oscillates or jumps, by enough to matter beside the speed.

    Parameters
    ----------
    means : each of shape (frames,)
        Mean grey level of the frames [0 to 255] of one or more pieces of a recording.
    speed : shape (S,)
        Speed ỹ of the recording.

    Returns
    -------
    Flicker or None
        None where the light is steady, changes smoothly, or changes little beside what the animals do. They change the
        mean as they move, too, but a little and smoothly.
    """
    changes = [np.diff(piece) for piece in means if len(piece) > SHORTEST_SEGMENT]
    usual_speed = float(np.median(speed)) if len(speed) else 0.0
    if not changes or not usual_speed:
        return None
    change = float(np.median(np.abs(np.concatenate(changes))))
    added = change / WHITE / usual_speed
    if added < LEAST_ADDED:
        return None
    period = _period(changes)
    if period is None and _reversal(changes) > LEAST_REVERSAL:
        return None
    return Flicker(period, change / float(np.mean(np.concatenate(means))), added)


def _reversal(changes: Sequence[NDArray[np.float64]]) -> float:
    """Correlation of the changes with those one frame later."""
    now, later = (np.concatenate([piece[part] for piece in changes]) for part in (slice(-1), slice(1, None)))
    return float(np.corrcoef(now, later)[0, 1])


def _period(changes: Sequence[NDArray[np.float64]]) -> float | None:
    """Period [frames] of the strongest line that stands out of the spectrum; None where there is none."""
    length = min(SEGMENT_FRAMES, max(map(len, changes)))
    segments = [
        piece[start : start + length] for piece in changes for start in range(0, len(piece) - length + 1, length // 2)
    ]
    window = np.hanning(length)
    power = np.mean([np.abs(np.fft.rfft((piece - piece.mean()) * window)) ** 2 for piece in segments], axis=0)
    around = sliding_window_view(np.pad(power, LINE_SURROUNDINGS, mode="reflect"), 2 * LINE_SURROUNDINGS + 1)
    lines = power > LEAST_LINE * np.median(around, axis=1)
    lines[:3] = False  # what the window leaks of slow changes
    if not lines.any():
        return None
    frequency = np.arange(len(power)) / length
    # The grey level itself, not its change: of a line and its multiples the first is the strongest.
    level = np.where(lines, power / np.sin(np.pi * np.maximum(frequency, 1 / length)) ** 2, 0)
    return length / _peak(power, int(level.argmax()))


def _peak(power: NDArray[np.float64], top: int) -> float:
    """Where the parabola through a maximum and its neighbours has its top."""
    if not 0 < top < len(power) - 1:
        return float(top)
    left, middle, right = np.log(power[top - 1 : top + 2])
    return top + 0.5 * float((left - right) / (left - 2 * middle + right))
