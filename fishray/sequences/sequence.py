"""A split's piece of a recording, as plain arrays: all that predictors and training know of data."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fishray.signals.targets import UNDEFINED


class UnreadFrames(ABC):
    """Frames that are read when they are made an array (`numpy.asarray`); a slice of them is still unread."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """(T, H, W)."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, part: slice) -> Self: ...

    @abstractmethod
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]: ...


Frames = NDArray[np.uint8] | UnreadFrames


@dataclass(frozen=True)
class Sequence:
    """A contiguous piece of one recording that belongs to one split; nothing reaches across its borders."""

    recording: str
    start: int
    """First frame, counted in the recording."""
    fps: float
    speed: NDArray[np.float64]
    """Shape (T - 1,): ỹ; element t compares frames t and t + 1."""
    label: NDArray[np.int8]
    """Shape (T,): 0, 1, or undefined (-1) where the horizon is not wholly inside."""
    frames: Frames | None
    """Shape (T, H, W); None where no predictor reads frames."""
    look_back: int

    @property
    def frame_count(self) -> int:
        """T, the number of frames."""
        return len(self.speed) + 1

    @cached_property
    def known_speed(self) -> NDArray[np.float64]:
        """Shape (T,): the last speed anyone knows at each frame, ỹ_{t-1}; not a number at the first."""
        return np.concatenate([[np.nan], self.speed])

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """Shape (T,): frames with the whole look-back behind and the whole horizon ahead."""
        valid: NDArray[np.bool_] = self.label != UNDEFINED
        valid[: self.look_back - 1] = False
        return valid


@dataclass(frozen=True)
class Sequences:
    """The data of a sweep, or of one fold of it.

    Of a sweep with folds, validation is that of all folds, one after the other: every frame that is not in test once,
    labelled by the rule of the fold that it is held out from. Train is what the folds are made of.
    """

    train: tuple[Sequence, ...]
    validation: tuple[Sequence, ...]
    test: tuple[Sequence, ...] = ()
    range_threshold: float | None = None
    """Of the rule that labelled them, where it is one."""
    title: str = ""
    """What tells a fold from the others."""
    parts: tuple["Sequences", ...] = ()
    """The folds; empty where there are none."""

    @classmethod
    def of_folds(cls, folds: tuple["Sequences", ...], test: tuple[Sequence, ...]) -> Self:
        """Put the folds of a sweep together, and its test split beside them."""
        held_out = tuple(sequence for fold in folds for sequence in fold.validation)
        return cls(held_out, held_out, test, parts=folds)

    @property
    def folds(self) -> tuple["Sequences", ...]:
        """Train and validation of each network of a trial: without folds, these."""
        return self.parts or (self,)

    @property
    def splits(self) -> dict[str, tuple[Sequence, ...]]:
        """The splits that are there; those of folds are both train and validation, and stand once."""
        names = ("validation", "test") if self.parts else ("train", "validation", "test")
        return {name: sequences for name in names if (sequences := self.split(name))}

    @property
    def recordings(self) -> tuple[str, ...]:
        """Every recording that they are taken from."""
        return tuple(dict.fromkeys(sequence.recording for sequence in (*self.train, *self.validation, *self.test)))

    def split(self, name: str) -> tuple[Sequence, ...]:
        """The sequences of one split."""
        sequences: tuple[Sequence, ...] = getattr(self, name)
        return sequences


def valid_labels(sequences: Iterable[Sequence]) -> NDArray[np.int8]:
    """Labels of all valid frames, sequence after sequence; shape (N,)."""
    return np.concatenate([sequence.label[sequence.valid] for sequence in sequences])
