"""What a speed series looks like, and what the real one of six Serpae tetra does (its train split, 25 minutes)."""

from dataclasses import dataclass

import numpy as np

from fishray.evaluation.metrics import roc_auc
from fishray.signals.targets import UNDEFINED, burst_labels

HORIZON, LOW_FRACTION, RANGE_THRESHOLD = 45, 0.1, 0.001
"""The published rule; its threshold was set on speeds at 320x240."""
LOOK_BACK = 120
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
LAGS = (1, 10, 45)


@dataclass(frozen=True)
class Calibration:
    """A speed series in numbers."""

    quantiles: tuple[float, ...]
    """Of ỹ at `QUANTILES` [1e-3 grey level / 255 per frame]."""
    correlations: tuple[float, ...]
    """Autocorrelation of ỹ at `LAGS` [frames]."""
    least_correlation: float
    """Least autocorrelation at any lag up to 45 frames."""
    positives: float
    """Share of positive labels under the published rule."""
    persistence: float
    """AUC of the last known speed."""

    def __str__(self):
        quantiles = " ".join(f"{value:5.2f}" for value in self.quantiles)
        correlations = " ".join(f"{value:5.2f}" for value in self.correlations)
        return f"{quantiles}   {correlations}   {100 * self.positives:5.1f} %   {self.persistence:.3f}"


HEADER = f"{'speed at 10 25 50 75 90 99 %':<36}  {'ACF at 1 10 45':<17}  positive persistence"

REAL = Calibration((0.70, 0.89, 1.16, 1.49, 1.82, 2.53), (0.91, 0.52, 0.19), 0.19, 0.134, 0.811)


def calibration(speed):
    """Measure a speed series, shape (T - 1,)."""
    label = burst_labels(speed, HORIZON, LOW_FRACTION, RANGE_THRESHOLD)
    judged = np.flatnonzero(label != UNDEFINED)
    judged = judged[judged >= LOOK_BACK - 1]
    correlation = autocorrelation(speed, max(LAGS))
    return Calibration(
        quantiles=tuple((1e3 * np.quantile(speed, QUANTILES)).tolist()),
        correlations=tuple(float(correlation[lag]) for lag in LAGS),
        least_correlation=float(correlation.min()),
        positives=float(label[judged].mean()),
        persistence=roc_auc(label[judged], -speed[judged - 1]),
    )


def autocorrelation(speed, lags):
    """Autocorrelation at lags 0 to `lags`."""
    centred = speed - speed.mean()
    squares = (centred**2).mean()
    return np.array([(centred[: len(centred) - lag] * centred[lag:]).mean() / squares for lag in range(lags + 1)])
