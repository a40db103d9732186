"""How well a probability per frame foretells the label: areas, operating points, collapse, events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from fishray.errors import LabelError

COLLAPSED_SPREAD = 1e-3
"""Least spread (1 to 99 % quantile) of outputs that vary.

The published network answered 0.1319 to 0.1320 for every frame of train: a spread of 1e-4, and still an AUC, for an AUC
asks only for order, be it that of rounding errors. A predictor that follows its input spreads over tenths, so anything
between is safe. Quantiles rather than extremes, because a few odd frames at the start of a recording must not hide it.
"""


@dataclass(frozen=True)
class OperatingPoint:
    """A decision threshold, and what it gives; frames with score >= threshold are called positive."""

    value: float
    """The criterion that the threshold maximises: accuracy, or Youden's J."""
    threshold: float
    tpr: float
    """True positive rate: share of the positive frames that are called positive."""
    fpr: float
    """False positive rate: share of the negative frames that are called positive."""


def roc_auc(label: ArrayLike, score: ArrayLike) -> float:
    """Area under the receiver operating characteristic, ties counted half.

    Parameters
    ----------
    label : shape (N,)
        0 or 1.
    score : shape (N,)
        Higher where a burst is more likely; any unit.

    Raises
    ------
    LabelError
        If the labels are all alike.
    """
    return float(roc_auc_score(*_two_classes(label, score)))


def average_precision(label: ArrayLike, score: ArrayLike) -> float:
    """Mean precision over the positive frames, each at the threshold of its own score.

    Parameters
    ----------
    label : shape (N,)
        0 or 1.
    score : shape (N,)
        Higher where a burst is more likely; any unit.

    Raises
    ------
    LabelError
        If the labels are all alike.
    """
    return float(average_precision_score(*_two_classes(label, score)))


def max_accuracy(label: ArrayLike, score: ArrayLike) -> OperatingPoint:
    """Find the threshold that gets most frames right; the highest of several.

    Where calling no frame positive is best, the threshold lies just above the highest score.

    Parameters
    ----------
    label : shape (N,)
        0 or 1.
    score : shape (N,)
        Higher where a burst is more likely; any unit.

    Raises
    ------
    LabelError
        If the labels are all alike.
    """
    label, score = _two_classes(label, score)
    fpr, tpr, threshold = _roc_curve(label, score)
    positive = float(label.mean())
    return _best(positive * tpr + (1 - positive) * (1 - fpr), threshold, tpr, fpr)


def max_youden_j(label: ArrayLike, score: ArrayLike) -> OperatingPoint:
    """Find the threshold with the largest J = TPR - FPR (Youden 1950); the highest of several.

    Parameters
    ----------
    label : shape (N,)
        0 or 1.
    score : shape (N,)
        Higher where a burst is more likely; any unit.

    Raises
    ------
    LabelError
        If the labels are all alike.
    """
    label, score = _two_classes(label, score)
    fpr, tpr, threshold = _roc_curve(label, score)
    return _best(tpr - fpr, threshold, tpr, fpr)


def scores(label: ArrayLike, probability: ArrayLike) -> dict[str, float]:
    """Every score by which a sweep may choose: ``auc``, ``average_precision``, ``youden_j``.

    Parameters
    ----------
    label : shape (N,)
        0 or 1.
    probability : shape (N,)
        Of a burst.

    Raises
    ------
    LabelError
        If the labels are all alike.
    """
    return {
        "auc": roc_auc(label, probability),
        "average_precision": average_precision(label, probability),
        "youden_j": max_youden_j(label, probability).value,
    }


def mean_scores(folds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each score over folds; of one fold, its own to the last bit."""
    return {name: fmean(fold[name] for fold in folds) for name in folds[0]}


def has_collapsed(probability: ArrayLike) -> bool:
    """Whether outputs hardly vary, so that their order, and any AUC of it, means nothing (see COLLAPSED_SPREAD).

    Parameters
    ----------
    probability : shape (N,)
        Of a burst.
    """
    low, high = np.quantile(np.asarray(probability, np.float64), (0.01, 0.99))
    return bool(high - low < COLLAPSED_SPREAD)


def count_events(label: ArrayLike, recording_index: ArrayLike, frame: ArrayLike) -> int:
    """Count positive episodes: runs of consecutive positive frames within a recording.

    Parameters
    ----------
    label : shape (N,)
        0 or 1, in any order of frames.
    recording_index : shape (N,)
        Which recording each frame belongs to.
    frame : shape (N,)
        Frame number within its recording.
    """
    positive = np.asarray(label) == 1
    recording_p, frame_p = np.asarray(recording_index)[positive], np.asarray(frame)[positive]
    order = np.lexsort((frame_p, recording_p))
    continues = (np.diff(frame_p[order]) == 1) & (np.diff(recording_p[order]) == 0)
    return int(positive.sum() - continues.sum())


def _two_classes(label: ArrayLike, score: ArrayLike) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    label, score = np.asarray(label).astype(np.int8), np.asarray(score, np.float64)
    if not 0 < label.sum() < label.size:
        kind = "positive" if label.size and label[0] else "negative"
        raise LabelError(f"all {label.size:,} frames are {kind}; a score needs positive and negative frames")
    return label, score


def _roc_curve(label: NDArray[np.int8], score: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    fpr, tpr, threshold = roc_curve(label, score, drop_intermediate=False)
    threshold[0] = np.nextafter(threshold[1], np.inf)  # scikit-learn puts infinity, which JSON cannot say
    return fpr, tpr, threshold


def _best(
    value: NDArray[np.float64], threshold: NDArray[np.float64], tpr: NDArray[np.float64], fpr: NDArray[np.float64]
) -> OperatingPoint:
    best = int(np.argmax(value))
    return OperatingPoint(float(value[best]), float(threshold[best]), float(tpr[best]), float(fpr[best]))
