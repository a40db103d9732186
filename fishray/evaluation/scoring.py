"""Score any predictor on a split."""

import csv
from collections.abc import Sequence as Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fishray.errors import RecordingError, SettingError
from fishray.predictors.base import Predictor
from fishray.runs import Predictions
from fishray.sequences import Sequence, Sequences, valid_labels
from fishray.signals.targets import UNDEFINED
from fishray.store import Recording, Store


def predict_split(predictor: Predictor, sequences: Collection[Sequence]) -> NDArray[np.float64]:
    """Probability of every valid frame, sequence after sequence; shape (N,)."""
    return np.concatenate([predictor.predict(sequence)[sequence.valid] for sequence in sequences])


def predict_held_out(predictors: Collection[Predictor], data: Sequences) -> list[NDArray[np.float64]]:
    """What the predictor of each fold gives for the valid validation frames that it has not seen; shape (N,) each."""
    return [predict_split(each, fold.validation) for each, fold in zip(predictors, data.folds, strict=True)]


def predict_apart(predictors: Collection[Predictor], test: Collection[Sequence]) -> NDArray[np.float64]:
    """Mean over the predictors of all folds for frames that none has seen, shape (N,); of one, its own."""
    mean: NDArray[np.float64] = np.mean([predict_split(each, test) for each in predictors], axis=0)
    return mean


def gather(sequences: Collection[Sequence], probability: dict[str, NDArray[np.float64]]) -> Predictions:
    """Predictions of several predictors on a split, with the labels and the place of each frame.

    Parameters
    ----------
    probability
        Shape (N,) for each predictor, as `predict_split` gives it.
    """
    names = tuple(dict.fromkeys(sequence.recording for sequence in sequences))
    frames = [np.flatnonzero(sequence.valid) for sequence in sequences]
    return Predictions(
        label=valid_labels(sequences),
        recording=names,
        recording_index=np.concatenate(
            [np.full(len(f), names.index(s.recording), np.int32) for s, f in zip(sequences, frames, strict=True)]
        ),
        frame=np.concatenate([s.start + f for s, f in zip(sequences, frames, strict=True)]),
        probability={name: values.astype(np.float32) for name, values in probability.items()},
    )


def write_predictions_csv(predictor: Predictor, store: Store, out: Path) -> int:
    """Judge every frame of a store's recordings and write a table: recording, frame, time_s, probability.

    Parameters
    ----------
    out
        Written whole or not at all.

    Returns
    -------
    Number of frames judged. Those without a whole look-back behind them are left out.

    Raises
    ------
    RecordingError
        If a recording has no frames, or frames of another size than the predictor was made for.
    """
    recordings = [store.recording(name) for name in store.names]
    for recording in recordings:
        _check_frames(recording, predictor.reads.frame_sizes, store)
    if not out.parent.is_dir():
        raise SettingError(f"no folder {out.parent} for {out.name}; make it first")
    part = out.with_name(out.name + ".part")
    rows = 0
    with part.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["recording", "frame", "time_s", "probability"])
        for recording in recordings:
            probability = predictor.predict(_whole(recording, predictor))
            for frame in np.flatnonzero(np.isfinite(probability)):
                time_s = f"{frame / recording.fps:.3f}"
                writer.writerow([recording.name, int(frame), time_s, f"{probability[frame]:.6g}"])
                rows += 1
    part.replace(out)
    return rows


def _check_frames(recording: Recording, sizes: Collection[tuple[int, int]], store: Store) -> None:
    if not sizes:
        return
    wanted = [f"{height}x{width}" for height, width in sizes]
    if recording.frame_size is None:
        raise RecordingError(
            f"{recording.name} of {store.path} holds speed alone; this trial reads frames of {wanted[0]}"
        )
    if recording.frame_size not in sizes:
        raise RecordingError(
            f"{recording.name} of {store.path} has frames of {recording.frame_size[0]}x{recording.frame_size[1]}, this "
            f"trial reads {' or '.join(wanted)}; ingest it with --size {wanted[0]}"
        )


def _whole(recording: Recording, predictor: Predictor) -> Sequence:
    """A whole recording without labels."""
    frames = recording.read_frames(0, recording.frame_count) if predictor.reads.frame_sizes else None
    label = np.full(recording.frame_count, UNDEFINED, np.int8)
    return Sequence(recording.name, 0, recording.fps, recording.speed, label, frames, predictor.reads.look_back)
