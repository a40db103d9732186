"""Splits of recordings into sequences, their labels and their valid frames."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fishray.config.sweep import SPLITS, DataSettings, LabelSettings, Split
from fishray.errors import LabelError, RecordingError, StoreError
from fishray.sequences.sequence import Sequence, Sequences, valid_labels
from fishray.signals.targets import burst_labels, horizon_ranges
from fishray.store import Recording, Store

ACTIVE_SHARE = 0.69
"""Share of horizons whose range reaches the published threshold in the published train split."""

ReadFrames = Callable[[Recording], NDArray[np.uint8]]


def load_sequences(
    store: Store, data: DataSettings, labels: LabelSettings, read_frames: ReadFrames | None = None
) -> Sequences:
    """Cut the chosen recordings into splits and label every frame.

    Parameters
    ----------
    store
        An open store.
    data, labels
        Which recordings, how they are split, and the rule of the labels.
    read_frames
        Gives all frames (T, H, W) of a recording; without it sequences carry speed alone.

    Raises
    ------
    RecordingError
        For a piece too short for look-back and horizon.
    LabelError
        For a split with no positive or no negative valid frame.
    StoreError
        For a recording that is not in the store, or a store without any whole one.
    """
    recordings = {name: store.recording(name) for name in _chosen(store, data)}
    if not recordings:
        raise StoreError(
            f"{store.path} holds no whole recording; ingest one: fishray ingest VIDEO --store {store.path}"
        )
    pieces = {
        split: [(recordings[name], *_bounds(recordings[name], data.split, split)) for name in names]
        for split, names in _members(data.split, tuple(recordings)).items()
    }
    for split, members in pieces.items():
        for recording, start, stop in members:
            _check_length(recording, split, stop - start, data.look_back, labels)
    threshold = _range_threshold(pieces["train"], labels)
    loaded: dict[str, tuple[Sequence, ...]] = {}
    all_frames = {name: read_frames(recording) for name, recording in recordings.items()} if read_frames else {}
    for split, members in pieces.items():
        loaded[split] = tuple(
            _cut(recording, start, stop, data.look_back, labels, threshold, all_frames.get(recording.name))
            for recording, start, stop in members
        )
        _check_classes(split, loaded[split], threshold)
    return Sequences(**loaded)


def _chosen(store: Store, data: DataSettings) -> tuple[str, ...]:
    if data.split.by_recording:
        return tuple(name for names in data.split.parts.values() for name in names)
    return data.recordings or store.names


def _members(split: Split, names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Recordings of each split."""
    return {part: value if split.by_recording else names for part, value in split.parts.items()}


def _bounds(recording: Recording, split: Split, part: str) -> tuple[int, int]:
    """First frame and end of a split's piece of a recording."""
    if split.by_recording:
        return 0, recording.frame_count
    shares = split.parts
    before = sum(shares[name] for name in SPLITS[: SPLITS.index(part)] if name in shares)
    start, stop = round(before * recording.frame_count), round((before + shares[part]) * recording.frame_count)
    return start, stop


def _check_length(recording: Recording, split: str, frames: int, look_back: int, labels: LabelSettings) -> None:
    horizon = labels.horizon_frames(recording.fps)
    needed = look_back + horizon + 1
    if frames < needed:
        raise RecordingError(
            f"{recording.name}: its {split} piece has {frames} frames, fewer than look-back {look_back} + horizon "
            f"{horizon} + 1 = {needed}; use a longer recording, another split, or a smaller data.look_back"
        )


def _range_threshold(train: list[tuple[Recording, int, int]], labels: LabelSettings) -> float:
    """The threshold c of the rule; ``auto`` makes as many horizons of train active as in the published recording."""
    if labels.range_threshold != "auto":
        return float(labels.range_threshold)
    ranges = [
        horizon_ranges(recording.speed[start : stop - 1], labels.horizon_frames(recording.fps))
        for recording, start, stop in train
    ]
    return float(np.quantile(np.concatenate(ranges), 1 - ACTIVE_SHARE))


def _cut(
    recording: Recording,
    start: int,
    stop: int,
    look_back: int,
    labels: LabelSettings,
    threshold: float,
    frames: NDArray[np.uint8] | None,
) -> Sequence:
    speed = recording.speed[start : stop - 1]
    label = burst_labels(speed, labels.horizon_frames(recording.fps), labels.low_fraction, threshold)
    piece = None if frames is None else frames[start:stop]
    return Sequence(recording.name, start, recording.fps, speed, label, piece, look_back)


def _check_classes(split: str, sequences: tuple[Sequence, ...], threshold: float) -> None:
    found = valid_labels(sequences)
    if not (found == 1).any() or not (found == 0).any():
        kind, fix = ("positive", "lower") if not (found == 1).any() else ("negative", "raise")
        raise LabelError(
            f"the {split} split has no {kind} label among {len(found)} valid frames at range_threshold "
            f"{threshold:.2g}; {fix} labels.range_threshold or choose another split"
        )
