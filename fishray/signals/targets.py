"""The labels: whether a burst of motion is about to begin."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

UNDEFINED = -1


def burst_labels(
    speed: NDArray[np.float64], horizon: int, low_fraction: float = 0.1, range_threshold: float = 0.001
) -> NDArray[np.int8]:
    """Label each frame 1 where the animals are slow now and their speed will vary, else 0.

    Over ỹ_i … ỹ_{i+h}: range ≥ c and ỹ_i ≤ min + b · range.

    Parameters
    ----------
    speed : shape (T - 1,)
        Speed ỹ of T frames.
    horizon
        Look-ahead h [frames].
    low_fraction
        b: how far up the coming range still counts as slow.
    range_threshold
        c: the least range of speed that counts as a burst; in the unit of `speed`.

    Returns
    -------
    shape (T,)
        0, 1, or UNDEFINED for the last h + 1 frames, whose ỹ_i … ỹ_{i+h} is not wholly there.
    """
    labels = np.full(len(speed) + 1, UNDEFINED, np.int8)
    lowest, highest = _horizon_extremes(speed, horizon)
    spread = highest - lowest
    now = speed[: len(spread)]
    labels[: len(spread)] = (spread >= range_threshold) & (now <= lowest + low_fraction * spread)
    return labels


def horizon_ranges(speed: NDArray[np.float64], horizon: int) -> NDArray[np.float64]:
    """Range (maximum - minimum) of ỹ_i … ỹ_{i+h} for each frame i where all of it is there.

    Parameters
    ----------
    speed : shape (S,)
        Speed ỹ.
    horizon
        Look-ahead h [frames].

    Returns
    -------
    shape (S - h,)
        Ranges, in the unit of `speed`; none where S <= h.
    """
    lowest, highest = _horizon_extremes(speed, horizon)
    return highest - lowest


class _Extreme(Protocol):
    def __call__(self, a: NDArray[np.float64], b: NDArray[np.float64], /) -> NDArray[np.float64]: ...


def _horizon_extremes(speed: NDArray[np.float64], horizon: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return _sliding(np.minimum, speed, horizon + 1), _sliding(np.maximum, speed, horizon + 1)


def _sliding(extreme: _Extreme, values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    # Extremes of windows of 1, 2, 4 … values, each from two of the windows before; the last two overlap.
    count = max(0, len(values) - width + 1)
    span = 1
    while 2 * span <= width:
        values = extreme(values[:-span], values[span:])
        span *= 2
    return extreme(values[:count], values[width - span : width - span + count])
