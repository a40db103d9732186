"""Median stopping (Golovin et al. 2017, "Google Vizier", section 3.2)."""

from collections.abc import Collection

import numpy as np

from fishray.config.sweep import SearchSettings
from fishray.config.trial import TrialConfig
from fishray.tuning.schedulers.base import Action, Decision, Scheduler

LEAST_OTHERS = 3
"""Vizier's paper names no number; this is Ray's. The median of one or two would be one trial's word, or its mean with
another's."""


class MedianStopping(Scheduler):
    """Stops a trial whose best value so far is below the median of the others' mean values up to the same epoch.

    The others are all that have come as far, stopped ones too, but for those that have failed. The `value` of a
    decision is the best one so far.

    Vizier compares with completed trials alone, of which there are too few early in a sweep. Ray's `MedianStoppingRule`
    takes the means from `grace_period` on, where these are from the first epoch on, as Vizier's are; it makes a trial
    yield its place where there are too few others; and it counts the last result of a completed trial twice.
    """

    rule = "median"

    def __init__(self, family: str, search: SearchSettings):
        super().__init__(family, search)
        self._curves: dict[str, list[float]] = {}

    def add(self, config: TrialConfig) -> None:
        """Begin its curve."""
        self._curves[config.id] = []

    def observe(self, trial: str, epoch: int, value: float) -> list[Decision]:
        """Decide at every epoch from `grace_epochs` on."""
        curve = self._curves[trial]
        curve.append(value)
        if epoch == self._search.max_epochs:
            return [self._finish(trial, max(curve))]
        if epoch < self._search.grace_epochs:
            return []
        others = [other for other, values in self._curves.items() if other != trial and len(values) >= epoch]
        return [self._judge(trial, epoch, others)]

    def drop(self, trial: str) -> list[Decision]:
        """Forget its curve."""
        del self._curves[trial]
        return super().drop(trial)

    def _go_on(self, epoch: int, finished: dict[str, float]) -> list[Decision]:
        """As if the search had been this long from the start: each against those that were there before it."""
        order = list(finished)
        return [self._judge(trial, epoch, order[:place]) for place, trial in enumerate(order)]

    def _judge(self, trial: str, epoch: int, others: Collection[str]) -> Decision:
        best = max(self._curves[trial])
        means = [float(np.mean(self._curves[other][:epoch])) for other in others]
        needed = float(np.median(means)) if len(means) >= LEAST_OTHERS else None
        action: Action = "stop" if needed is not None and best < needed else "continue"
        return self._decision(trial, epoch, action, best, needed)
