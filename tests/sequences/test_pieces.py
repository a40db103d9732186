import numpy as np
import pytest

from fishray.config.data import DataSettings, Folds, Split
from fishray.errors import SettingError, StoreError
from fishray.sequences.pieces import cut
from fishray.sequences.recordings import find_recordings


@pytest.fixture
def recordings(store_of):
    """Five recordings of 100, 200 … 500 frames."""
    store = store_of(**{f"day{day}": np.zeros(100 * day - 1) for day in range(1, 6)})
    return find_recordings(DataSettings(store=store.path))


def places(pieces):
    return [(recording.name, start, stop) for recording, start, stop in pieces]


def names(pieces):
    return [piece.recording.name for piece in pieces]


def test_shares_are_cut_in_time_order_from_each_recording(recordings):
    (fold,), test = cut(recordings[:2], Split(train=0.5, validation=0.3, test=0.2))
    assert places(fold.train) == [("day1", 0, 50), ("day2", 0, 100)]
    assert places(fold.validation) == [("day1", 50, 80), ("day2", 100, 160)]
    assert places(test) == [("day1", 80, 100), ("day2", 160, 200)]


def test_whole_recordings_are_placed_by_name_and_pattern(recordings):
    (fold,), test = cut(recordings, Split(train=("day[1-3]",), validation=("day5",), test=("*4",)))
    assert places(fold.train) == [("day1", 0, 100), ("day2", 0, 200), ("day3", 0, 300)]
    assert (names(fold.validation), names(test)) == (["day5"], ["day4"])


@pytest.mark.parametrize(
    ("count", "held_out"),
    [
        (2, [["day1", "day2", "day3"], ["day4", "day5"]]),
        (3, [["day1", "day2"], ["day3", "day4"], ["day5"]]),
        (5, [["day1"], ["day2"], ["day3"], ["day4"], ["day5"]]),
    ],
)
def test_folds_are_groups_of_recordings_in_their_order(recordings, count, held_out):
    folds, test = cut(recordings, Folds(folds=count))
    assert [names(fold.validation) for fold in folds] == held_out
    assert [fold.title for fold in folds] == [", ".join(group) for group in held_out]
    assert test == ()


@pytest.mark.parametrize("count", [2, 3, 4])
def test_every_recording_is_held_out_once_trained_on_else_and_never_both(recordings, count):
    folds, test = cut(recordings, Folds(folds=count, test=("day3",)))
    assert names(test) == ["day3"]
    assert sorted(name for fold in folds for name in names(fold.validation)) == ["day1", "day2", "day4", "day5"]
    for fold in folds:
        assert sorted(names(fold.train) + names(fold.validation)) == ["day1", "day2", "day4", "day5"]
        assert all(start == 0 and stop == piece.frame_count for piece, start, stop in fold.train + fold.validation)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Folds(folds=6), r"data.split.folds: 6 folds need 6 recordings, and there are 5 \(day1, day2, day3, day4, day5\)"),
        (Folds(folds=3, test=("day[1-3]",)), r"3 folds need 3 recordings, and there are 2 beside test \(day4, day5\)"),
        (Folds(folds=2, test=("day*",)), r"2 folds need 2 recordings, and there are 0 beside test \(none\)"),
        (Split(train=("day*",), validation=("day2",)), "data.split: recording day2 stands in train and in validation"),
        (Split(train=("day1",), validation=("day2",), test=("*2",)), "recording day2 stands in validation and in test"),
    ],
)  # fmt: skip
def test_impossible_splits_are_refused(recordings, split, message):
    with pytest.raises(SettingError, match=message):
        cut(recordings, split)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Folds(test=("dey3",)), r"data.split.test: no recording dey3 among day1, .*; did you mean day3\?"),
        (
            Split(train=("night*",), validation=("day2",)),
            r"data.split.train: no recording matches night\* among day1, ",
        ),
    ],
)
def test_a_name_in_the_split_that_no_recording_has_is_refused_with_the_nearest(recordings, split, message):
    with pytest.raises(StoreError, match=message):
        cut(recordings, split)


def test_a_split_places_chosen_recordings_alone(recordings):
    with pytest.raises(StoreError, match="no recording day4 among day1, day2, day3"):
        cut(recordings[:3], Split(train=("day1",), validation=("day4",)))
