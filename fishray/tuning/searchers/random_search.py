"""Random search (Bergstra and Bengio 2012): every trial on its own."""

from collections.abc import Sequence
from typing import Any

from fishray.runs import TrialState
from fishray.tuning.searchers.base import Searcher
from fishray.tuning.space import draw_values


class RandomSearch(Searcher):
    """Draws every setting of every trial on its own."""

    def values(self, family: str, number: int, history: Sequence[TrialState]) -> dict[str, Any]:
        """What the trial draws at random."""
        return draw_values(self.sweep.seed, family, self.sweep.families[family], number)
