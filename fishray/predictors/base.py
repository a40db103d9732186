"""The interface of every predictor, and the register of all of them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from fishray.sequences import Sequence

Mode = Literal["clip", "dense", "stateful"]


@dataclass(frozen=True)
class Reads:
    """What a predictor looks at."""

    speed: bool
    frame_sizes: tuple[tuple[int, int], ...]
    """Height and width of the frames that it was made for, one or several; empty where it reads none."""
    look_back: int
    """Frames it needs behind it, itself included."""


class Predictor(ABC):
    """Gives the probability that a burst follows each frame, from that frame and what lies behind it.

    A predictor is always ready to predict. How it came to be is its own affair: a baseline from the train split in one
    call, a network epoch by epoch in `fishray.training`.
    """

    modes: ClassVar[tuple[Mode, ...]] = ("stateful",)
    """Ways in which it can predict a sequence; those without memory have one."""

    @property
    @abstractmethod
    def reads(self) -> Reads:
        """What it looks at."""

    @abstractmethod
    def predict(self, sequence: Sequence, mode: Mode | None = None) -> NDArray[np.float64]:
        """Probability per frame.

        Parameters
        ----------
        sequence
            T frames and T - 1 speeds.
        mode
            One of `modes`; None takes the predictor's own.

        Returns
        -------
        shape (T,)
            Not a number where less than the look-back lies behind. Element i depends on frames up to i and speeds up to
            ỹ_{i-1}, on nothing later.
        """

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write everything needed to predict again into one file."""

    @classmethod
    @abstractmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; nothing is unpickled."""
