"""Which crops of the train split make up each batch: a function of (seed, epoch) alone."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fishray.sequences.sequence import Sequence
from fishray.signals.targets import UNDEFINED


@dataclass(frozen=True)
class Crop:
    """Consecutive frames of one sequence."""

    sequence: int
    start: int
    length: int


@dataclass(frozen=True)
class Batch:
    """Crops of one length and the labels of their steps."""

    crops: tuple[Crop, ...]
    label_bs: NDArray[np.int8]
    """Shape (batch, steps): label at the last frame of each step; undefined (-1) where it is not judged."""


@dataclass(frozen=True)
class Sampling:
    """How crops are drawn.

    Clip mode judges the last step of a crop of one look-back. Dense mode judges every step behind the first look-back
    of a crop of look-back + `judged_frames`. A sequence too short for that gives no crops, unless all of them are: then
    crops are as long as the longest allows.
    """

    sequences: tuple[Sequence, ...]
    look_back: int
    frames_per_step: int
    judged_frames: int
    """0 in clip mode."""

    @property
    def length(self) -> int:
        """Frames of a crop: whole steps."""
        frames = min(self.look_back + self.judged_frames, max(self._labelled))
        return frames // self.frames_per_step * self.frames_per_step

    def batches(self, batch_size: int, count: int, seed: int, epoch: int) -> Iterator[Batch]:
        """Batches of one epoch."""
        rng = np.random.default_rng([seed, epoch])
        for _ in range(count):
            yield self.batch(self._draw(batch_size, rng))

    def batch(self, crops: tuple[Crop, ...]) -> Batch:
        """Crops with their labels."""
        return Batch(crops, np.stack([self._labels(crop) for crop in crops]))

    def clips(self, count: int, seed: int) -> tuple[Crop, ...]:
        """Clips of valid frames of one size, half of them positive where there are enough; to over-fit on purpose."""
        rng = np.random.default_rng(seed)
        length = self.look_back // self.frames_per_step * self.frames_per_step
        crops: list[Crop] = []
        for wanted, share in ((1, count // 2), (0, count - count // 2)):
            ends = [
                (index, end)
                for index, sequence in enumerate(self.sequences)
                if self._frame_sizes[index] == self._frame_sizes[0]
                for end in np.flatnonzero(sequence.valid & (sequence.label == wanted))
            ]
            chosen = rng.choice(len(ends), size=min(share, len(ends)), replace=False)
            crops += [Crop(ends[k][0], int(ends[k][1]) - length + 1, length) for k in chosen]
        return tuple(crops)

    def _draw(self, batch_size: int, rng: np.random.Generator) -> tuple[Crop, ...]:
        """Crops of equal chance, all from recordings of one frame size, so that they stack."""
        length = self.length
        starts = np.maximum(np.array(self._labelled) - length + 1, 0)
        if len(set(self._frame_sizes)) > 1:
            first = rng.choice(len(starts), p=starts / starts.sum())
            starts[[size != self._frame_sizes[first] for size in self._frame_sizes]] = 0
        chosen = rng.integers(starts.sum(), size=batch_size)
        index = np.searchsorted(np.cumsum(starts), chosen, side="right")
        offset = chosen - (np.cumsum(starts) - starts)[index]
        return tuple(Crop(int(i), int(s), length) for i, s in zip(index, offset, strict=True))

    @property
    def _labelled(self) -> list[int]:
        """Frames of each sequence with a label; they are its first."""
        return [int((sequence.label != UNDEFINED).sum()) for sequence in self.sequences]

    @property
    def _frame_sizes(self) -> list[tuple[int, ...] | None]:
        return [None if each.frames is None else each.frames.shape[1:] for each in self.sequences]

    def _labels(self, crop: Crop) -> NDArray[np.int8]:
        step = self.frames_per_step
        label = self.sequences[crop.sequence].label[crop.start + step - 1 : crop.start + crop.length : step].copy()
        warm_up_steps = self.look_back // step
        label[: warm_up_steps - 1] = UNDEFINED
        return label
