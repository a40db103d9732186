"""Splits of recordings into sequences, their labels and their valid frames."""

from collections.abc import Callable, Collection, Iterable, Iterator
from collections.abc import Sequence as Ordered
from dataclasses import replace

from fishray.config.data import DataSettings
from fishray.config.sweep import LabelSettings
from fishray.errors import LabelError, RecordingError, SettingError
from fishray.sequences.pieces import Fold, Piece, cut
from fishray.sequences.sequence import Frames, Sequence, Sequences, valid_labels
from fishray.signals.targets import burst_labels
from fishray.signals.thresholds import suggest_threshold
from fishray.store import Recording

RATES_ALIKE = 1.01
"""Frame rates that differ by less are one: 29.97 and 30 fps."""

ReadFrames = Callable[[Recording], Frames]


def load_sequences(
    recordings: Collection[Recording],
    data: DataSettings,
    labels: LabelSettings,
    read_frames: ReadFrames | None = None,
) -> Sequences:
    """Cut recordings into splits or folds and label every frame.

    A threshold of the rule that is taken from the data is taken from train: each fold has its own, from its own train,
    by which its validation is labelled too; test is labelled by that of everything that any fold trains on.

    Parameters
    ----------
    recordings
        The chosen ones (`find_recordings`).
    data, labels
        How they are split, and the rule of the labels.
    read_frames
        Gives all frames (T, H, W) of a recording; without it sequences carry speed alone.

    Raises
    ------
    RecordingError
        For a piece too short for look-back and horizon.
    LabelError
        For a split with no positive or no negative valid frame.
    StoreError
        For a name in the split that no recording has.
    SettingError
        For splits that overlap, too many folds, or a horizon in frames for recordings of different frame rates.
    """
    folds, test = cut(recordings, data.split)
    placed = [*_placed(folds), *(("test", piece) for piece in test)]
    for split, piece in placed:
        _check_length(piece, split, data.look_back, labels)
    used = tuple(dict.fromkeys(piece.recording for _, piece in placed))
    _refuse_unlike_horizons(used, labels)
    frames = {recording.name: read_frames(recording) for recording in used} if read_frames else {}

    def label(pieces: Ordered[Piece], threshold: float, split: str) -> tuple[Sequence, ...]:
        sequences = tuple(
            _cut(piece, data.look_back, labels, threshold, frames.get(piece.recording.name)) for piece in pieces
        )
        _check_classes(split, sequences, threshold)
        return sequences

    def load(fold: Fold) -> Sequences:
        threshold = _range_threshold(fold.train, labels)
        whose = f"of the fold that holds out {fold.title}" if fold.title else "split"
        train = label(fold.train, threshold, f"train {whose}")
        validation = label(fold.validation, threshold, f"validation {whose}")
        return Sequences(train, validation, range_threshold=threshold, title=fold.title)

    loaded = tuple(load(fold) for fold in folds)
    trained_on = tuple(dict.fromkeys(piece for fold in folds for piece in fold.train))
    kept_apart = label(test, _range_threshold(trained_on, labels), "test split") if test else ()
    if len(loaded) > 1:
        return Sequences.of_folds(loaded, kept_apart)
    return replace(loaded[0], test=kept_apart)


def _placed(folds: Iterable[Fold]) -> Iterator[tuple[str, Piece]]:
    """Every piece of every fold, with its split."""
    for fold in folds:
        yield from (("train", piece) for piece in fold.train)
        yield from (("validation", piece) for piece in fold.validation)


def _check_length(piece: Piece, split: str, look_back: int, labels: LabelSettings) -> None:
    recording, frames = piece.recording, piece.stop - piece.start
    horizon = labels.horizon_frames(recording.fps)
    needed = look_back + horizon + 1
    if frames < needed:
        raise RecordingError(
            f"{recording.name}: its {split} piece has {frames} frames, fewer than look-back {look_back} + horizon "
            f"{horizon} + 1 = {needed}; use a longer recording, another split, or a smaller data.look_back"
        )


def _refuse_unlike_horizons(recordings: Collection[Recording], labels: LabelSettings) -> None:
    """Refuse a horizon in frames where it would be another time in each recording."""
    rates = [recording.fps for recording in recordings]
    slow, fast = min(rates), max(rates)
    if labels.horizon_s is None and fast > RATES_ALIKE * slow:
        frames = labels.horizon_frames(slow)
        raise SettingError(
            f"labels.horizon: {frames} frames are {frames / fast:.3g} s at {fast:g} fps and {frames / slow:.3g} s at "
            f"{slow:g} fps, and the sweep has recordings of both; state it in seconds, in place of horizon: "
            f"labels: {{horizon_s: {frames / fast:.3g}}}"
        )


def _range_threshold(train: Ordered[tuple[Recording, int, int]], labels: LabelSettings) -> float:
    """The threshold c of the rule; ``auto`` makes as many horizons of train active as in the published recording."""
    if labels.range_threshold != "auto":
        return float(labels.range_threshold)
    suggested = suggest_threshold(
        [(recording.speed[start : stop - 1], labels.horizon_frames(recording.fps)) for recording, start, stop in train]
    )
    if suggested is None or suggested.in_noise:
        names = ", ".join(dict.fromkeys(recording.name for recording, _, _ in train))
        found = "" if suggested is None else f" ({suggested.value:.1e}; noise alone gives {suggested.noise_range:.1e})"
        raise LabelError(
            f"labels.range_threshold: auto would label noise: {names}, the train split, hardly varies within a horizon"
            f"{found}; state a number, choose other recordings (data.recordings), or look: fishray inspect STORE"
        )
    return suggested.value


def _cut(piece: Piece, look_back: int, labels: LabelSettings, threshold: float, frames: Frames | None) -> Sequence:
    recording, start, stop = piece
    speed = recording.speed[start : stop - 1]
    label = burst_labels(speed, labels.horizon_frames(recording.fps), labels.low_fraction, threshold)
    shown = None if frames is None else frames[start:stop]
    return Sequence(recording.name, start, recording.fps, speed, label, shown, look_back)


def _check_classes(split: str, sequences: tuple[Sequence, ...], threshold: float) -> None:
    found = valid_labels(sequences)
    if not (found == 1).any() or not (found == 0).any():
        kind, fix = ("positive", "lower") if not (found == 1).any() else ("negative", "raise")
        raise LabelError(
            f"the {split} has no {kind} label among {len(found)} valid frames at range_threshold "
            f"{threshold:.2g}; {fix} labels.range_threshold or choose another split"
        )
