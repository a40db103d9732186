"""What a recording is worth: its size, its speeds, the labels a rule would give it, and what is wrong with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fishray.config.sweep import LabelSettings
from fishray.signals.findings import TRAIN_SHARE, Evidence, Finding, findings
from fishray.signals.targets import UNDEFINED, burst_labels
from fishray.signals.thresholds import SuggestedThreshold, suggest_threshold
from fishray.store import CHUNK_FRAMES, Recording, Store

QUANTILES = (0.05, 0.5, 0.95, 1.0)
CURVE_POINTS = 20
PIECES, PIECE_CHUNKS = 12, 10
"""Frames whose brightness is looked at: pieces of 1,200 frames, evenly spread, so that hours take seconds."""


@dataclass(frozen=True)
class RecordingFacts:
    """One recording in numbers."""

    name: str
    frame_count: int
    fps: float
    duration_s: float
    frame_size: tuple[int, int] | None
    disk_bytes: int
    speed_quantiles: tuple[float, ...]
    """Of ỹ at `QUANTILES` [grey level / 255 per frame]."""
    speed_curve: tuple[float, ...]
    """Mean speed over `CURVE_POINTS` equal pieces."""
    horizon: int
    """[frames]"""
    positives: float | None
    """Share of positive labels; None where no label is defined."""
    events: int
    """Runs of positive labels."""
    suggested: SuggestedThreshold | None
    """From the first part of this recording alone; None where it is shorter than a horizon."""
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Inspection:
    """The recordings of a store under a rule of labels."""

    labels: LabelSettings
    range_threshold: float
    """That of the rule, or the suggested one where the rule has ``auto``."""
    suggested: SuggestedThreshold | None
    """From the first part of all recordings together, as a sweep with ``auto`` takes it from its train split."""
    recordings: tuple[RecordingFacts, ...]


def inspect_store(store: Store, labels: LabelSettings, names: Sequence[str] | None = None) -> Inspection:
    """Look at recordings of a store, all when none is named, under a rule of labels.

    Raises
    ------
    StoreError
        For a name that is not there.
    """
    recordings = [store.recording(name) for name in (store.names if names is None else names)]
    train = [_train_piece(recording, labels) for recording in recordings]
    suggested = suggest_threshold(train) if train else None
    if labels.range_threshold != "auto":
        threshold = float(labels.range_threshold)
    else:
        threshold = suggested.value if suggested else 0.0
    facts = tuple(_facts(store.path, recording, labels, threshold) for recording in recordings)
    return Inspection(labels, threshold, suggested, facts)


def _train_piece(recording: Recording, labels: LabelSettings) -> tuple[NDArray[np.float64], int]:
    """The speeds of the first part, as the default split takes it for training, and the horizon."""
    stop = round(TRAIN_SHARE * recording.frame_count)
    return recording.speed[: max(0, stop - 1)], labels.horizon_frames(recording.fps)


def _facts(path: Path, recording: Recording, labels: LabelSettings, threshold: float) -> RecordingFacts:
    speed, horizon = recording.speed, labels.horizon_frames(recording.fps)
    label = burst_labels(speed, horizon, labels.low_fraction, threshold)
    defined = label[label != UNDEFINED]
    starts = np.diff((label == 1).astype(np.int8), prepend=0) == 1
    suggested = suggest_threshold([_train_piece(recording, labels)])
    evidence = Evidence(
        speed=speed,
        fps=recording.fps,
        horizon=horizon,
        low_fraction=labels.low_fraction,
        range_threshold=threshold,
        suggested=suggested,
        means=_frame_means(recording),
        times_s=recording.times_s,
        normalised=bool(recording.attributes["settings"].get("normalise_flicker")),
    )
    return RecordingFacts(
        name=recording.name,
        frame_count=recording.frame_count,
        fps=recording.fps,
        duration_s=recording.frame_count / recording.fps,
        frame_size=recording.frame_size,
        disk_bytes=sum(file.stat().st_size for file in (path / recording.name).rglob("*") if file.is_file()),
        speed_quantiles=tuple(float(value) for value in np.quantile(speed, QUANTILES)),
        speed_curve=tuple(float(piece.mean()) for piece in np.array_split(speed, min(CURVE_POINTS, len(speed)))),
        horizon=horizon,
        positives=float(defined.mean()) if len(defined) else None,
        events=int(starts.sum()),
        suggested=suggested,
        findings=findings(evidence),
    )


def _frame_means(recording: Recording) -> list[NDArray[np.float64]]:
    """Mean grey level of the frames of pieces, evenly spread, or of all where they are few; none without frames."""
    if recording.frame_size is None:
        return []
    chunks = range(0, recording.frame_count, CHUNK_FRAMES)
    if len(chunks) <= PIECES * PIECE_CHUNKS:
        pieces = [chunks]
    else:
        firsts = np.linspace(0, len(chunks) - PIECE_CHUNKS, PIECES).astype(int)
        pieces = [chunks[first : first + PIECE_CHUNKS] for first in firsts]
    return [np.concatenate([_chunk_means(recording, start) for start in piece]) for piece in pieces]


def _chunk_means(recording: Recording, start: int) -> NDArray[np.float64]:
    frames_thw = recording.read_frames(start, min(start + CHUNK_FRAMES, recording.frame_count))
    means: NDArray[np.float64] = frames_thw.mean(axis=(1, 2))
    return means
