"""What every searcher has in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from fishray.config.sweep import Sweep
from fishray.config.trial import TrialConfig
from fishray.runs import TrialState
from fishray.tuning.searchers.warm_start import earlier_values
from fishray.tuning.space import make_trial


class Searcher(ABC):
    """Draws the trials of a sweep; the same question has the same answer in every process."""

    adaptive: ClassVar[bool] = False
    """Whether settings depend on results; then trials are drawn one by one, else all before the start."""

    def __init__(self, sweep: Sweep):
        self.sweep = sweep

    def draw(self, family: str, number: int, history: Sequence[TrialState]) -> TrialConfig:
        """One trial's configuration.

        Parameters
        ----------
        history
            The family's earlier trials, in the order of their numbers; only an adaptive searcher looks at them.

        Raises
        ------
        RunError
            For the first trial of a family where the run of `search.warm_start` is gone.
        """
        chosen = self.sweep.families[family]
        values = self.values(family, number, history)
        if number == 0:
            values = {**values, **earlier_values(self.sweep, family)}
        return make_trial(self.sweep.seed, family, chosen, number, values)

    def foreseen(self, family: str) -> list[TrialConfig]:
        """Trials of a family whose settings are known before any result."""
        return [self.draw(family, number, ()) for number in range(self.sweep.families[family].trials)]

    @abstractmethod
    def values(self, family: str, number: int, history: Sequence[TrialState]) -> dict[str, Any]:
        """What one trial takes for the settings in its family's space, a warm start aside."""
