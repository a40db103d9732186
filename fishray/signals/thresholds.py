"""The range threshold of the label rule, taken from the data; and whether it would only measure noise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from fishray.signals.targets import horizon_ranges

ACTIVE_SHARE = 0.69
"""Share of horizons whose range reaches the published threshold in the published train split."""
QUIET_SHARE = 0.05
NOISE_FACTOR, QUIET_FACTOR = 1.7, 1.5
"""A threshold below both 1.7 times the range of noise and 1.5 times that of the quietest horizons lies in the noise.
White noise has 0.9 and 1.2; half a minute of a clean simulated tank, 2.0 and 1.3 at least, of the published recording
2.4 and 1.3; the quietest horizons acquit a recording of fine, steady motion (0.9 and 1.7). Speeds of four recordings,
seen twice under different noise: at 1.9 to 2.2 times the noise, 38 to 53 % of the frames that either called positive
were positive in both; at 1.4 to 1.7, 27 to 36 %; at 1.1, 7 to 10 %; for noise alone 1 to 3 %."""
MAD = 0.6745
"""Median absolute deviation of a normal variable of standard deviation 1."""


@dataclass(frozen=True)
class SuggestedThreshold:
    """A threshold c for the range of ỹ over the horizon [grey level / 255 per frame]."""

    value: float
    noise_range: float
    """What jumps from one frame to the next, without any motion that lasts, would give."""
    quiet_range: float
    """What the quietest 5 % of horizons have."""

    @property
    def in_noise(self) -> bool:
        """Whether labels by this threshold would tell noise from noise."""
        return self.value <= NOISE_FACTOR * self.noise_range and self.value <= QUIET_FACTOR * self.quiet_range

    @property
    def floor(self) -> float:
        """What a threshold must be well above to say anything."""
        return max(self.noise_range, self.quiet_range)


def suggest_threshold(pieces: Sequence[tuple[NDArray[np.float64], int]]) -> SuggestedThreshold | None:
    """Suggest the threshold that as many horizons reach as in the published recording.

    Parameters
    ----------
    pieces
        Speed ỹ of each piece of the train split, shape (S,), and its horizon [frames].

    Returns
    -------
    SuggestedThreshold or None
        None where no piece is as long as its horizon.
    """
    ranges = np.concatenate([np.empty(0), *(horizon_ranges(speed, horizon) for speed, horizon in pieces)])
    if not len(ranges):
        return None
    quiet, value = np.quantile(ranges, [QUIET_SHARE, 1 - ACTIVE_SHARE])
    longest = max(horizon for _, horizon in pieces)
    return SuggestedThreshold(float(value), _noise_range([speed for speed, _ in pieces], longest), float(quiet))


def _noise_range(speeds: Sequence[NDArray[np.float64]], horizon: int) -> float:
    """Expected range of normal noise over a horizon; a smooth motion leaves its second differences alone."""
    seconds = np.concatenate([np.abs(np.diff(speed, 2)) for speed in speeds])
    if not len(seconds):
        return 0.0
    deviation = float(np.median(seconds)) / (MAD * math.sqrt(6))
    return deviation * _normal_range(horizon + 1)


def _normal_range(count: int) -> float:
    """Expected range of so many standard normal numbers (Blom 1958)."""
    return 2 * NormalDist().inv_cdf((count - 0.375) / (count + 0.25))
