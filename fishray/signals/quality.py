"""What a recording is worth: its size, its speeds, and the labels a rule would give it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fishray.signals.targets import UNDEFINED, burst_labels
from fishray.store import Recording, Store

QUANTILES = (0.05, 0.5, 0.95, 1.0)
CURVE_POINTS = 24


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
    positives: float | None
    """Share of positive labels; None where no label is defined."""
    events: int
    """Runs of positive labels."""


def inspect_store(
    store: Store, horizon: int, low_fraction: float, range_threshold: float
) -> tuple[RecordingFacts, ...]:
    """Look at every recording of a store under a label rule (horizon in frames)."""
    return tuple(
        _facts(store.path, store.recording(name), horizon, low_fraction, range_threshold) for name in store.names
    )


def _facts(
    path: Path, recording: Recording, horizon: int, low_fraction: float, range_threshold: float
) -> RecordingFacts:
    speed = recording.speed
    label = burst_labels(speed, horizon, low_fraction, range_threshold)
    defined = label[label != UNDEFINED]
    starts = np.diff((label == 1).astype(np.int8), prepend=0) == 1
    return RecordingFacts(
        name=recording.name,
        frame_count=recording.frame_count,
        fps=recording.fps,
        duration_s=recording.frame_count / recording.fps,
        frame_size=recording.frame_size,
        disk_bytes=sum(file.stat().st_size for file in (path / recording.name).rglob("*") if file.is_file()),
        speed_quantiles=tuple(float(value) for value in np.quantile(speed, QUANTILES)),
        speed_curve=tuple(float(piece.mean()) for piece in np.array_split(speed, min(CURVE_POINTS, len(speed)))),
        positives=float(defined.mean()) if len(defined) else None,
        events=int(starts.sum()),
    )
