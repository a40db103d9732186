"""Asynchronous successive halving (Li et al. 2020)."""

import math
from bisect import insort

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
        self._sorted: dict[int, list[float]] = {rung: [] for rung in search.rungs}
        """The same values from low to high."""

    def add(self, config: TrialConfig) -> None:
        """Nothing to note: a trial counts from its first rung on."""

    def observe(self, trial: str, epoch: int, value: float) -> list[Decision]:
        """Decide at the rungs."""
        if epoch not in self.rungs:
            return []
        needed = self._needed(self._sorted[epoch])
        self.rungs[epoch][trial] = value
        insort(self._sorted[epoch], value)
        if epoch == self._search.max_epochs:
            return [self._finish(trial, value, needed)]
        return [self._judge(trial, epoch, value, needed)]

    def _go_on(self, epoch: int, finished: dict[str, float]) -> list[Decision]:
        """As if the search had been this long from the start; what was the last epoch may be no rung any more."""
        self.rungs = {rung: self.rungs.get(rung, {}) for rung in self._search.rungs}
        self._sorted = {rung: sorted(values.values()) for rung, values in self.rungs.items()}
        if epoch not in self.rungs:
            return [self._decision(trial, epoch, "continue", value) for trial, value in finished.items()]
        decisions: list[Decision] = []
        before: list[float] = []
        for trial, value in self.rungs[epoch].items():
            if trial in finished:
                decisions.append(self._judge(trial, epoch, value, self._needed(before)))
            insort(before, value)
        return decisions

    def _judge(self, trial: str, epoch: int, value: float, needed: float | None) -> Decision:
        action: Action = "stop" if needed is not None and value < needed else "continue"
        return self._decision(trial, epoch, action, value, needed)

    def _needed(self, before: list[float]) -> float | None:
        """The quantile of sorted values, between two of them as NumPy's default has it, to the last bit."""
        if not before:
            return None
        place = (1 - 1 / self._search.reduction_factor) * (len(before) - 1)
        low, share = math.floor(place), place % 1
        one, other = before[low], before[min(low + 1, len(before) - 1)]
        step = other - one
        return one + step * share if share < 0.5 else other - step * (1 - share)
