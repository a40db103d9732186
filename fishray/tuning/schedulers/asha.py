"""Asynchronous successive halving (Li et al. 2020)."""

from collections.abc import Collection

import numpy as np

from fishray.config.sweep import SearchSettings
from fishray.config.trial import TrialConfig
from fishray.tuning.schedulers.base import Action, Decision, Scheduler


class Asha(Scheduler):
    """Lets a trial past a rung if it reaches the best 1 / reduction_factor of those that were there before it.

    A trial that has failed keeps its place at the rungs it passed: its values were good ones.
    """

    rule = "asha"

    def __init__(self, family: str, search: SearchSettings):
        super().__init__(family, search)
        self.rungs: dict[int, dict[str, float]] = {rung: {} for rung in search.rungs}
        """Value of each trial at each rung, in the order in which they came."""

    def add(self, config: TrialConfig) -> None:
        """Nothing to note: a trial counts from its first rung on."""

    def observe(self, trial: str, epoch: int, value: float) -> list[Decision]:
        """Decide at the rungs."""
        if epoch not in self.rungs:
            return []
        before = list(self.rungs[epoch].values())
        self.rungs[epoch][trial] = value
        if epoch == self._search.max_epochs:
            return [self._finish(trial, value, self._needed(before))]
        return [self._judge(trial, epoch, value, before)]

    def _go_on(self, epoch: int, finished: dict[str, float]) -> list[Decision]:
        """As if the search had been this long from the start; what was the last epoch may be no rung any more."""
        self.rungs = {rung: self.rungs.get(rung, {}) for rung in self._search.rungs}
        if epoch not in self.rungs:
            return [self._decision(trial, epoch, "continue", value) for trial, value in finished.items()]
        values = list(self.rungs[epoch].values())
        return [
            self._judge(trial, epoch, value, values[:place])
            for place, (trial, value) in enumerate(self.rungs[epoch].items())
            if trial in finished
        ]

    def _judge(self, trial: str, epoch: int, value: float, before: Collection[float]) -> Decision:
        needed = self._needed(before)
        action: Action = "stop" if needed is not None and value < needed else "continue"
        return self._decision(trial, epoch, action, value, needed)

    def _needed(self, before: Collection[float]) -> float | None:
        quantile = 1 - 1 / self._search.reduction_factor
        return float(np.quantile(list(before), quantile)) if before else None
