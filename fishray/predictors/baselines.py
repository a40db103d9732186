"""Predictors without training, or with five numbers of it. A network that does not beat them has learnt nothing."""

import json
from collections.abc import Callable
from collections.abc import Sequence as Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, minimum_filter1d
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata

from fishray.predictors.base import Mode, Predictor, Reads
from fishray.sequences import Sequence

REFITTED = ("low_fraction", "range_slope", "range_centre", "speed_slope")
PUBLISHED_MEAN_SPEED = 0.001222
"""Mean ỹ of the published train split, for which the published numbers were chosen."""
REFIT_FRAMES = 50_000
REFIT_EVALUATIONS = 300


class Baseline(Predictor):
    """A function of the speed series with a few numbers, saved as JSON."""

    def save(self, path: Path) -> None:
        """Write the numbers."""
        path.write_text(json.dumps(asdict(self)))  # type: ignore[call-overload]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the numbers."""
        return cls(**json.loads(path.read_text()))


@dataclass(frozen=True)
class Persistence(Baseline):
    """Minus the last known speed: who is slow now will burst.

    The probability is m / (m + ỹ_{i-1}), which ranks frames as -ỹ_{i-1} does.
    """

    median: float
    """m: median speed of train [grey level / 255 per frame]."""

    @classmethod
    def fit(cls, train: Collection[Sequence]) -> Self:
        """Take the scale of speed from train; ranks do not depend on it."""
        median = float(np.median(np.concatenate([sequence.speed for sequence in train])))
        return cls(max(median, np.finfo(float).tiny))

    @property
    def reads(self) -> Reads:
        """The last speed."""
        return Reads(speed=True, frame_sizes=(), look_back=2)

    def predict(self, sequence: Sequence, mode: Mode | None = None) -> NDArray[np.float64]:
        """Probability per frame, shape (T,)."""
        return self.median / (self.median + sequence.known_speed)


@dataclass(frozen=True)
class Algorithm(Baseline):
    """The published algorithm on the speed series, with its five numbers.

    Over the `window` speeds before frame i, with range R and low point m = min + `low_fraction` R, the probability is
    ½ [σ(`range_slope` (R - `range_centre`)) + σ(-`speed_slope` (ỹ_{i-1} - m))].
    """

    low_fraction: float = 0.2
    range_slope: float = 5300.0
    range_centre: float = 0.0006
    speed_slope: float = 11000.0
    window: int = 89

    @classmethod
    def fit(cls, train: Collection[Sequence]) -> "Algorithm":
        """Refit the five numbers to the greatest AUC on train, by Nelder-Mead from the published ones.

        The window is the published one or the whole look-back, whichever does better. The start is the published
        numbers in the units of this recording: far from its speeds both σ are flat, and no step would change the AUC.
        """
        label = _evenly(np.concatenate([sequence.label[sequence.valid] for sequence in train]))
        published = cls()
        mean = float(np.mean(np.concatenate([sequence.speed for sequence in train])))
        unit = mean / PUBLISHED_MEAN_SPEED if mean > 0 else 1.0
        scale = np.array([getattr(published, name) for name in REFITTED]) * (1, 1 / unit, unit, 1 / unit)
        look_back = min(sequence.look_back for sequence in train)

        def fitted(window: int) -> tuple[float, Algorithm]:
            seen = [_window_features(sequence.speed, window) for sequence in train]
            valid = [features[:, s.valid[window:]] for features, s in zip(seen, train, strict=True)]
            features = _evenly(np.concatenate(valid, axis=1))

            def algorithm(scaled: NDArray[np.float64]) -> Algorithm:
                return cls(**dict(zip(REFITTED, (scaled * scale).tolist(), strict=True)), window=window)

            result = minimize(
                lambda scaled: -_auc(label, algorithm(scaled)._probability(features)),
                np.ones(len(scale)),
                method="Nelder-Mead",
                options={"maxfev": REFIT_EVALUATIONS},
            )
            return -result.fun, algorithm(result.x)

        windows = {min(published.window, look_back - 1), look_back - 1}
        return max((fitted(window) for window in sorted(windows)), key=lambda found: found[0])[1]

    @property
    def reads(self) -> Reads:
        """The window's speeds."""
        return Reads(speed=True, frame_sizes=(), look_back=self.window + 1)

    def predict(self, sequence: Sequence, mode: Mode | None = None) -> NDArray[np.float64]:
        """Probability per frame, shape (T,)."""
        probability = np.full(sequence.frame_count, np.nan)
        if len(sequence.speed) >= self.window:
            probability[self.window :] = self._probability(_window_features(sequence.speed, self.window))
        return probability

    def _probability(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        low, spread, last = features
        rising = expit(self.range_slope * (spread - self.range_centre))
        slow = expit(-self.speed_slope * (last - (low + self.low_fraction * spread)))
        mean: NDArray[np.float64] = 0.5 * (rising + slow)
        return mean


def _window_features(speed: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Minimum, range and last of the `window` speeds before each frame i = window ... T - 1; shape (3, T - window)."""
    centre = slice(window // 2, len(speed) - window + 1 + window // 2)
    low = minimum_filter1d(speed, window)[centre]
    spread = maximum_filter1d(speed, window)[centre] - low
    return np.stack([low, spread, speed[window - 1 :]])


def _evenly(values: NDArray[Any]) -> NDArray[Any]:
    """At most `REFIT_FRAMES` along the last axis, evenly spaced."""
    return values[..., :: -(-values.shape[-1] // REFIT_FRAMES)]


def _auc(label: NDArray[np.int8], score: NDArray[np.float64]) -> float:
    """Share of (positive, negative) pairs in the right order (Mann-Whitney U)."""
    positive = label == 1
    count = positive.sum()
    below = rankdata(score)[positive].sum() - count * (count + 1) / 2
    return float(below / (count * (len(label) - count)))


BASELINES: dict[str, Callable[[Collection[Sequence]], Baseline]] = {
    "persistence": Persistence.fit,
    "refitted algorithm": Algorithm.fit,
    "published algorithm": lambda train: Algorithm(),
}
"""Every baseline, made from the train split; reports score every trial against all of them."""
