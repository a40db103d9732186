"""How recordings are cut: which piece of which recording each network is trained on, judged by, and never sees."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fishray.config.data import SPLITS, Folds, Split
from fishray.errors import SettingError
from fishray.sequences.recordings import choose
from fishray.store import Recording


class Piece(NamedTuple):
    """Consecutive frames of one recording."""

    recording: Recording
    start: int
    """First frame."""
    stop: int
    """One behind the last."""


@dataclass(frozen=True)
class Fold:
    """What one network of a trial is trained on and judged by; a sweep without folds has one."""

    train: tuple[Piece, ...]
    validation: tuple[Piece, ...]
    title: str = ""
    """What tells it from the other folds; empty where there are none."""


def cut(recordings: Collection[Recording], split: Split | Folds) -> tuple[tuple[Fold, ...], tuple[Piece, ...]]:
    """Cut recordings into folds and the test split.

    Parameters
    ----------
    recordings
        The chosen ones, in their order.
    split
        Shares of each recording in time order, lists of whole recordings, or folds of them.

    Returns
    -------
    The folds, one where there is a plain split, and the pieces of test. Within a fold, and between it and test, no
    frame stands in two places.

    Raises
    ------
    StoreError
        For a name or a pattern that no recording has.
    SettingError
        For a recording in two places, or fewer recordings than folds.
    """
    if isinstance(split, Folds):
        return _folds(recordings, split)
    if split.by_recording:
        parts = {name: _chosen(recordings, words, name) for name, words in split.parts.items()}
        _refuse_overlap(parts)
    else:
        parts = {name: tuple(_share(each, split, name) for each in recordings) for name in split.parts}
    return (Fold(parts["train"], parts["validation"]),), parts.get("test", ())


def _folds(recordings: Collection[Recording], split: Folds) -> tuple[tuple[Fold, ...], tuple[Piece, ...]]:
    """Groups of equal count, or as nearly as can be: the first ones have one more."""
    test = _chosen(recordings, split.test, "test") if split.test else ()
    pieces = [piece for piece in map(_whole, recordings) if piece not in test]
    if len(pieces) < split.folds:
        names = ", ".join(piece.recording.name for piece in pieces) or "none"
        raise SettingError(
            f"data.split.folds: {split.folds} folds need {split.folds} recordings{' beside test' if test else ''}, and "
            f"the sweep has {len(pieces)} ({names}); lower it, ingest more, or split by time: "
            f"--set 'data.split={{train: 0.6, validation: 0.2, test: 0.2}}'"
        )
    folds = []
    for group in np.array_split(np.arange(len(pieces)), split.folds):
        held_out = tuple(pieces[index] for index in group)
        train = tuple(piece for piece in pieces if piece not in held_out)
        folds.append(Fold(train, held_out, ", ".join(piece.recording.name for piece in held_out)))
    return tuple(folds), test


def _chosen(recordings: Collection[Recording], words: tuple[str, ...], part: str) -> tuple[Piece, ...]:
    by_name = {recording.name: recording for recording in recordings}
    names = choose(words, by_name, f"data.split.{part}", "among")
    return tuple(_whole(by_name[name]) for name in names)


def _whole(recording: Recording) -> Piece:
    return Piece(recording, 0, recording.frame_count)


def _share(recording: Recording, split: Split, part: str) -> Piece:
    """A part's share, behind those of the parts before it."""
    shares = split.parts
    before = sum(shares[name] for name in SPLITS[: SPLITS.index(part)] if name in shares)
    start, stop = round(before * recording.frame_count), round((before + shares[part]) * recording.frame_count)
    return Piece(recording, start, stop)


def _refuse_overlap(parts: dict[str, tuple[Piece, ...]]) -> None:
    """Refuse a recording that patterns put into two parts."""
    for recording in dict.fromkeys(piece.recording for pieces in parts.values() for piece in pieces):
        places = [part for part, pieces in parts.items() if any(piece.recording is recording for piece in pieces)]
        if len(places) > 1:
            raise SettingError(
                f"data.split: recording {recording.name} stands in {' and in '.join(places)}; splits must not overlap"
            )
