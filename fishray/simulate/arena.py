"""Where the fish of a simulated tank can go: the whole picture, or the largest circle in it.

Lengths are body lengths.
"""

import numpy as np
from numpy.typing import NDArray

from fishray.config.tank import TankSettings

Floats = NDArray[np.float64]

WALL = 1.6  # distance from a wall at which a fish turns away
FIRMNESS = 3.0  # of its wish to turn away at the wall, where 1 is the wish to go on ahead
MARGIN = 0.55  # distance from a wall that the middle of a fish keeps: all of it stays in the picture


class Arena:
    """The walls of a tank.

    Attributes
    ----------
    size_2 : shape (2,)
        Width and height of the picture [body lengths].
    """

    def __init__(self, settings: TankSettings) -> None:
        self.size_2: Floats = np.array([settings.width, settings.height]) / settings.height * settings.body_lengths
        self._middle_2 = self.size_2 / 2
        self._radius = float(self._middle_2.min()) if settings.arena == "round" else None

    def scatter(self, fish: int, rng: np.random.Generator) -> Floats:
        """Places to begin, shape (N, 2), in the middle of the tank."""
        return self.keep_inside(self.size_2 * rng.uniform(0.2, 0.8, (fish, 2)))

    def push(self, position_n2: Floats) -> Floats:
        """Push away from the walls, shape (N, 2): from 0 at the distance `WALL` to `FIRMNESS` at the wall."""
        if self._radius is None:
            high_n2 = self.size_2 - position_n2
            return FIRMNESS * (np.clip(1 - position_n2 / WALL, 0, 1) - np.clip(1 - high_n2 / WALL, 0, 1))
        out_n2, distance_n1 = self._from_middle(position_n2)
        return -FIRMNESS * np.clip(1 - (self._radius - distance_n1) / WALL, 0, 1) * out_n2

    def keep_inside(self, position_n2: Floats) -> Floats:
        """Positions, shape (N, 2), moved to the nearest place that fish can be at."""
        if self._radius is None:
            return np.clip(position_n2, MARGIN, self.size_2 - MARGIN)
        out_n2, distance_n1 = self._from_middle(position_n2)
        inside_n2: Floats = self._middle_2 + out_n2 * np.minimum(distance_n1, self._radius - MARGIN)
        return inside_n2

    def _from_middle(self, position_n2: Floats) -> tuple[Floats, Floats]:
        """Direction from the middle of the tank, shape (N, 2), and distance, shape (N, 1)."""
        gap_n2 = position_n2 - self._middle_2
        distance_n1 = np.linalg.norm(gap_n2, axis=1, keepdims=True)
        return gap_n2 / np.maximum(distance_n1, 1e-9), distance_n1
