"""Grid search: combinations of the listed values, none of them twice."""

import math
import random
from collections.abc import Sequence
from typing import Any

from fishray.config.space import Distribution
from fishray.config.sweep import Sweep
from fishray.runs import TrialState
from fishray.tuning.searchers.base import Searcher


class GridSearch(Searcher):
    """Takes the points of each family's grid in an order of its own.

    Trial k is the k-th point of a random permutation, not of the product in the order of its keys: there, the first n
    points of a larger grid would differ in the last settings alone, and say nothing of the others.
    """

    def __init__(self, sweep: Sweep):
        super().__init__(sweep)
        self._orders: dict[str, ShuffledRange] = {}

    def values(self, family: str, number: int, history: Sequence[TrialState]) -> dict[str, Any]:
        """The trial's point of the grid."""
        chosen = self.sweep.families[family]
        levels = chosen.grid_levels()
        if family not in self._orders:
            self._orders[family] = ShuffledRange(math.prod(levels.values()), f"{self.sweep.seed} {family}")
        point = self._orders[family][number]
        values = {}
        for key, count in levels.items():  # the point's digits, one a setting
            point, level = divmod(point, count)
            values[key] = _value(chosen.space[key], level)
        return values


class ShuffledRange:
    """Whole numbers below a count in random order, made only as far as they are asked for.

    A shuffle from the front (Fisher and Yates 1938) never changes a place it has passed, and only the numbers it has
    moved are held: a grid may have more points than memory.
    """

    def __init__(self, count: int, seed: str):
        self._count = count
        self._random = random.Random(seed)
        self._moved: dict[int, int] = {}
        self._order: list[int] = []

    def __getitem__(self, place: int) -> int:
        """The number at a place."""
        while (here := len(self._order)) <= place:
            there = self._random.randrange(here, self._count)
            self._order.append(self._moved.get(there, there))
            self._moved[there] = self._moved.pop(here, here)
        return self._order[place]


def _value(space: Distribution, level: int) -> Any:
    if space.choice is not None:
        return space.choice[level]
    if space.randint is not None:
        return space.randint[0] + level
    raise ValueError("a distribution without a grid")
