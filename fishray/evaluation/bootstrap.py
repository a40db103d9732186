"""How sure an AUC is, and a difference of two: circular block bootstrap (Politis & Romano 1992).

Neighbouring frames tell nearly the same, so a bootstrap of single frames gives intervals that are far too narrow.
Drawing whole blocks, longer than the labels stay correlated, keeps that dependence. The series is closed to a circle,
so that every frame is drawn equally often; several recordings stand end to end in it. Every predictor is scored on the
same resamples: what is hard for all of them cancels in the difference of two. With few blocks a bootstrap is too sure
of itself; its intervals are expanded as those of Student's t are (Hesterberg 2015, The American Statistician 69).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm as normal
from scipy.stats import t as student_t

from fishray.errors import LabelError
from fishray.evaluation.metrics import roc_auc

BATCH_ELEMENTS = 2**19
"""Frames x resamples held at a time: 4 MiB for each of a handful of arrays."""


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; without bounds where there is too little to tell."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class BootstrappedAuc:
    """AUC of several predictors, on the frames as they are and on common resamples of them."""

    value: dict[str, float]
    resampled: dict[str, NDArray[np.float64]]
    """Shape (B,) for each predictor; element b of all of them is the same resample."""
    dropped: int
    """Resamples left out because they held one class alone."""
    blocks: int
    """Whole blocks that the series holds."""

    def interval(self, predictor: str) -> Estimate:
        """AUC of one predictor with its 95 % interval, within 0 and 1."""
        found = _estimate(self.value[predictor], self.resampled[predictor], self.blocks)
        if found.low is None or found.high is None:
            return found
        return Estimate(found.value, max(found.low, 0.0), min(found.high, 1.0))

    def difference(self, predictor: str, reference: str) -> Estimate:
        """AUC of a predictor minus that of another, paired: both on the same resamples."""
        return _estimate(
            self.value[predictor] - self.value[reference],
            self.resampled[predictor] - self.resampled[reference],
            self.blocks,
        )


def bootstrap_auc(
    label: ArrayLike,
    probability: Mapping[str, ArrayLike],
    *,
    block_frames: int = 300,
    resamples: int = 2000,
    seed: int = 0,
) -> BootstrappedAuc:
    """Score several predictors on the same circular block resamples.

    Parameters
    ----------
    label : shape (N,)
        0 or 1, in time order.
    probability : shape (N,) for each predictor
        Any score that rises with the probability of a burst.
    block_frames
        Length of a block [frames]; several times as long as the labels stay correlated (20 frames in the original
        recording).
    resamples
        Number of resamples.
    seed
        Equal seeds give equal resamples.

    Raises
    ------
    LabelError
        If the labels, or those of every resample, are all alike.
    """
    label = np.asarray(label)
    value = {name: roc_auc(label, score) for name, score in probability.items()}
    areas = {name: _Auc(label, np.asarray(score)) for name, score in probability.items()}
    resampled: dict[str, list[NDArray[np.float64]]] = {name: [] for name in areas}
    for weight_nb in block_counts(label.size, block_frames, resamples, seed):
        for name, area in areas.items():
            resampled[name].append(area.weighted(weight_nb))
    columns = {name: np.concatenate(parts) for name, parts in resampled.items()}
    whole = np.isfinite(next(iter(columns.values()), np.empty(0)))
    if columns and not whole.any():
        raise LabelError(f"none of {resamples:,} resamples has positive and negative frames; use shorter blocks")
    return BootstrappedAuc(
        value=value,
        resampled={name: column[whole] for name, column in columns.items()},
        dropped=int((~whole).sum()),
        blocks=max(1, label.size // block_frames),
    )


def block_counts(frames: int, block_frames: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Draw resamples as counts: how often each frame stands in each of them.

    Blocks start anywhere and run past the end into the beginning; the last one is cut so that a resample is as long as
    the series.

    Yields
    ------
    shape (N, b)
        Counts of the next b resamples, as many as the memory bound allows; every column sums to N.
    """
    block_frames = min(block_frames, frames)
    blocks = -(-frames // block_frames)
    start_rb = np.random.default_rng(seed).integers(frames, size=(resamples, blocks))
    length_b = np.full(blocks, block_frames)
    length_b[-1] = frames - (blocks - 1) * block_frames
    batch = max(1, BATCH_ELEMENTS // frames)
    for first in range(0, resamples, batch):
        start = start_rb[first : first + batch]
        column = np.broadcast_to(np.arange(len(start))[:, None], start.shape)
        steps = np.zeros((2 * frames + 1, len(start)))  # +1 where a block begins, -1 behind its end, on two laps
        np.add.at(steps, (start, column), 1)
        np.add.at(steps, (start + length_b, column), -1)
        count = np.cumsum(steps[:-1], axis=0)
        yield count[:frames] + count[frames:]


def weighted_auc(label: ArrayLike, score: ArrayLike, weight_nb: NDArray[np.float64]) -> NDArray[np.float64]:
    """AUC under several weightings of the same frames, ties counted half exactly.

    Parameters
    ----------
    label : shape (N,)
        0 or 1.
    score : shape (N,)
        Higher where a burst is more likely.
    weight_nb : shape (N, B)
        Weight of each frame in each of B weightings.

    Returns
    -------
    shape (B,)
        NaN where one class has no weight.
    """
    return _Auc(np.asarray(label), np.asarray(score)).weighted(weight_nb)


class _Auc:
    """Scores sorted once: the AUC is the share of negative weight below each positive frame, on average."""

    def __init__(self, label: NDArray[np.generic], score: NDArray[np.generic]):
        self.positive = np.flatnonzero(label == 1)
        negative = np.flatnonzero(label != 1)
        self.negative = negative[np.argsort(score[negative], kind="stable")]
        ordered = score[self.negative]
        self.below = np.searchsorted(ordered, score[self.positive], side="left")
        self.up_to = np.searchsorted(ordered, score[self.positive], side="right")

    def weighted(self, weight_nb: NDArray[np.float64]) -> NDArray[np.float64]:
        """AUC in each column of weights (N, B); NaN where one class has no weight."""
        negative = np.zeros((len(self.negative) + 1, weight_nb.shape[1]))
        np.cumsum(weight_nb[self.negative], axis=0, out=negative[1:])
        positive = weight_nb[self.positive]
        won = np.einsum("pb,pb->b", positive, negative[self.below])
        won += np.einsum("pb,pb->b", positive, negative[self.up_to])
        pairs = positive.sum(axis=0) * negative[-1]
        area = np.full(len(pairs), np.nan)
        np.divide(won / 2, pairs, out=area, where=pairs > 0)
        return area


def _estimate(value: float, resampled: NDArray[np.float64], blocks: int) -> Estimate:
    """Percentile interval, expanded for few blocks as a t interval is for few observations (Hesterberg 2015)."""
    if blocks < 2:
        return Estimate(value)
    low, high = np.quantile(resampled, (0.025, 0.975))
    wider = float(student_t.ppf(0.975, blocks - 1) / normal.ppf(0.975) * (blocks / (blocks - 1)) ** 0.5)
    return Estimate(value, value + wider * float(low - value), value + wider * float(high - value))
