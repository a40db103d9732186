import numpy as np
import pytest
import zarr

from fishray.config.data import DataSettings, Folds, Split
from fishray.config.sweep import LabelSettings
from fishray.errors import LabelError, RecordingError, SettingError, StoreError
from fishray.sequences import valid_labels
from fishray.sequences.recordings import find_recordings
from fishray.sequences.splits import load_sequences
from fishray.signals.targets import UNDEFINED, burst_labels, horizon_ranges
from fishray.store import open_store

HORIZON = 45
SHARES = Split(train=0.5, validation=0.25, test=0.25)


def random_speed(frames, seed=0):
    """Small steps between 0 and 0.01: every horizon has both kinds of label around it."""
    return np.random.default_rng(seed).uniform(0, 0.01, frames - 1)


def lively_speed(frames, seed=0):
    """Between 0 and 0.01 as well, but going on for some twenty frames: more than noise, which auto refuses."""
    return np.convolve(random_speed(frames + 19, seed), np.ones(20) / 20, "valid")


def load(store, labels=None, **data):
    settings = DataSettings(store=store.path, **data)
    return load_sequences(find_recordings(settings), settings, labels or LabelSettings())


def test_the_published_valid_frames(store_of):  # look-back 120, horizon 45: 119 … T - 47
    train = load(store_of(a=random_speed(2000)), split=SHARES).train[0]
    assert train.frame_count == 1000
    assert np.flatnonzero(train.valid).tolist() == list(range(119, 1000 - 47 + 1))


def test_labels_are_undefined_where_the_horizon_is_not_wholly_inside(store_of):
    train = load(store_of(a=random_speed(2000)), split=SHARES).train[0]
    assert np.flatnonzero(train.label == UNDEFINED).tolist() == list(range(1000 - 46, 1000))


def test_pieces_lie_end_to_end_and_lose_the_speed_across_their_border(store_of):
    speed = random_speed(2000)
    data = load(store_of(a=speed), split=SHARES)
    pieces = [data.train[0], data.validation[0], data.test[0]]
    assert [(piece.start, piece.frame_count) for piece in pieces] == [(0, 1000), (1000, 500), (1500, 500)]
    for (
        piece
    ) in pieces:  # T frames, T - 1 speeds: the one that compares the last with the next piece's first is in none
        assert np.array_equal(piece.speed, speed[piece.start : piece.start + piece.frame_count - 1])


def test_what_lies_beyond_a_border_moves_no_label(store_of):
    speed = random_speed(2000)
    changed = speed.copy()
    changed[999:] = random_speed(1001, seed=1)  # ỹ_999 compares frame 999 of train with frame 1000 of validation
    store = store_of(a=speed, b=changed)
    before, after = (load(store, split=SHARES, recordings=(name,)) for name in ("a", "b"))
    assert np.array_equal(before.train[0].label, after.train[0].label)
    assert not np.array_equal(before.validation[0].label, after.validation[0].label)


def test_frames_are_cut_as_the_speeds_are(tank, tanks):
    for split, start, stop in (("train", 0, 240), ("validation", 240, 320), ("test", 320, 400)):
        for sequence in tank.split(split):
            assert np.array_equal(sequence.frames, tanks[sequence.recording].frames_thw[start:stop])


def test_the_known_bursts_are_the_labels(tank, tanks):  # positive where the square rests, before it bursts
    for sequence in tank.train:
        rests = tanks[sequence.recording].pixels_per_frame[:240] == 0
        assert np.array_equal(sequence.label[sequence.valid] == 1, rests[sequence.valid])


def test_known_speed_is_the_last_one_that_can_be_known(make_sequence):
    sequence = make_sequence(speed=[0.1, 0.2, 0.3])
    assert sequence.frame_count == 4
    assert np.array_equal(sequence.known_speed, [np.nan, 0.1, 0.2, 0.3], equal_nan=True)


def test_recordings_of_a_split_are_whole_sequences(store_of):
    store = store_of(a=random_speed(300, 1), b=random_speed(400, 2), c=random_speed(500, 3))
    data = load(store, split=Split(train=("c", "a"), validation=("b",)))
    assert [(s.recording, s.start, s.frame_count) for s in data.train] == [("c", 0, 500), ("a", 0, 300)]
    assert [s.recording for s in data.validation] == ["b"]
    assert data.test == ()


def test_chosen_recordings_alone_are_loaded(store_of):
    store = store_of(a=random_speed(2000, 1), b=random_speed(2000, 2))
    assert [s.recording for s in load(store, recordings=("b",)).train] == ["b"]
    with pytest.raises(StoreError, match=r"no recording bb in .* did you mean b"):
        load(store, recordings=("bb",))


@pytest.mark.parametrize(("look_back", "horizon"), [(120, 45), (8, 1), (60, 10)])
def test_a_piece_needs_look_back_horizon_and_one_frame(store_of, look_back, horizon):
    needed = look_back + horizon + 1
    store = store_of(
        a=random_speed(900, 1), b=random_speed(900, 2), enough=random_speed(needed), short=random_speed(needed - 1)
    )

    def load_train(name):
        split = Split(train=("a", name), validation=("b",))
        return load(store, LabelSettings(horizon=horizon), look_back=look_back, split=split).train[1]

    assert np.flatnonzero(load_train("enough").valid).tolist() == [look_back - 1]
    reason = (
        rf"short: its train piece has {needed - 1} frames, fewer than look-back {look_back} \+ horizon {horizon} "
        rf"\+ 1 = {needed}; use a longer recording"
    )
    with pytest.raises(RecordingError, match=reason):
        load_train("short")


def test_a_split_without_a_positive_is_refused(store_of):
    store = store_of(a=random_speed(500), still=np.zeros(499))
    reason = (
        r"the validation split has no positive label among 335 valid frames at range_threshold 0\.001; "
        r"lower labels\.range_threshold or choose another split"
    )
    with pytest.raises(LabelError, match=reason):
        load(store, split=Split(train=("a",), validation=("still",)))


def test_a_split_without_a_negative_is_refused(store_of):
    store = store_of(a=random_speed(500), b=np.linspace(0, 1, 499))  # always the lowest of what comes
    with pytest.raises(LabelError, match=r"the train split has no negative label .*; raise labels.range_threshold"):
        load(store, split=Split(train=("b",), validation=("a",)))


def test_an_automatic_threshold_is_that_of_train_alone(store_of):
    train = lively_speed(500, 1)
    quiet, loud = lively_speed(500, 2), 100 * lively_speed(500, 2)
    store = store_of(a=train, b=quiet, c=loud, d=lively_speed(500, 3), e=1.02 * train)
    automatic = LabelSettings(range_threshold="auto")
    beside_quiet = load(store, automatic, split=Split(train=("a",), validation=("b",), test=("d",)))
    beside_loud = load(store, automatic, split=Split(train=("a",), validation=("c",), test=("d",)))
    assert np.array_equal(beside_quiet.train[0].label, beside_loud.train[0].label)
    assert np.array_equal(beside_quiet.test[0].label, beside_loud.test[0].label)
    other = load(store, automatic, split=Split(train=("e",), validation=("b",), test=("d",)))
    assert not np.array_equal(beside_quiet.test[0].label, other.test[0].label)


def test_an_automatic_threshold_makes_the_published_share_of_horizons_active(store_of):
    speed = lively_speed(2000, 1) * np.linspace(0.1, 1, 1999)
    split = Split(train=("a",), validation=("b",))
    train = load(store_of(a=speed, b=speed), LabelSettings(range_threshold="auto"), split=split).train[0]
    threshold = np.quantile(horizon_ranges(speed, HORIZON), 0.31)
    assert np.array_equal(train.label, burst_labels(speed, HORIZON, range_threshold=threshold))
    assert np.mean(horizon_ranges(speed, HORIZON) >= threshold) == pytest.approx(0.69, abs=0.01)  # neighbours tie


@pytest.mark.parametrize("noise", [0, 0.001], ids=["without noise", "under noise"])
def test_an_automatic_threshold_of_a_still_recording_is_refused(store_of, noise):
    still = 0.01 + noise * np.random.default_rng(0).normal(size=1999)
    split = Split(train=("still",), validation=("b",))
    reason = (
        r"labels\.range_threshold: auto would label noise: still, the train split, hardly varies within a horizon "
        r"\(.*; noise alone gives .*\); state a number, .* fishray inspect STORE"
    )
    with pytest.raises(LabelError, match=reason):
        load(store_of(still=still, b=lively_speed(500)), LabelSettings(range_threshold="auto"), split=split)


def test_a_horizon_in_seconds_follows_each_frame_rate(store_of):
    store = store_of(fast=random_speed(500, 1))
    store = store_of(slow=random_speed(500, 2), fps=10.0)
    data = load(store, LabelSettings(horizon_s=1.5), split=Split(train=("fast",), validation=("slow",)))
    undefined = [(sequence.label == UNDEFINED).sum() for sequence in (data.train[0], data.validation[0])]
    assert undefined == [45 + 1, 15 + 1]


def test_valid_labels_are_those_of_sequence_after_sequence(tank):
    first, second, third = (sequence.label[sequence.valid] for sequence in tank.validation)
    assert valid_labels(tank.validation).tolist() == [*first, *second, *third]
    assert set(valid_labels(tank.validation)) == {0, 1}


def test_a_store_without_a_whole_recording_is_refused(tmp_path):
    zarr.create_group(tmp_path / "empty.zarr", attributes={"format": "fishray/1"})  # as a killed ingest leaves it
    store = open_store(tmp_path / "empty.zarr")
    with pytest.raises(StoreError, match="holds no whole recording; ingest one: fishray ingest VIDEO --store"):
        load(store)


# Folds


@pytest.fixture
def day_store(store_of):
    """Four recordings of 500 frames; each is a little faster than the one before."""
    return store_of(**{f"day{day}": (1 + day / 50) * lively_speed(500, day) for day in (1, 2, 3, 4)})


def test_each_fold_holds_out_recordings_that_it_does_not_train_on(day_store):
    data = load(day_store, split=Folds(folds=3, test=("day2",)))
    held_out = [[s.recording for s in fold.validation] for fold in data.folds]
    assert held_out == [["day1"], ["day3"], ["day4"]]
    assert [[s.recording for s in fold.train] for fold in data.folds] == [
        ["day3", "day4"], ["day1", "day4"], ["day1", "day3"]
    ]  # fmt: skip
    assert [s.recording for s in data.test] == ["day2"]
    assert all(s.frame_count == 500 for fold in data.folds for s in (*fold.train, *fold.validation))


def test_validation_of_folds_is_every_recording_but_test_once(day_store):
    data = load(day_store, split=Folds(folds=2, test=("day2",)))
    assert [s.recording for s in data.validation] == ["day1", "day3", "day4"]
    pooled = [sequence for fold in data.folds for sequence in fold.validation]
    assert all(one is other for one, other in zip(data.validation, pooled, strict=True))
    assert {name: len(found) for name, found in data.splits.items()} == {"validation": 3, "test": 1}
    assert data.recordings == ("day1", "day3", "day4", "day2")


def test_a_plain_split_is_one_fold(day_store):
    data = load(day_store, split=Split(train=("day1", "day2"), validation=("day3",)))
    assert data.folds == (data,)
    assert list(data.splits) == ["train", "validation"]


def test_an_automatic_threshold_of_a_fold_is_that_of_its_own_train(day_store):
    speeds = {name: day_store.recording(name).speed for name in day_store.names}

    def threshold(*names):
        ranges = np.concatenate([horizon_ranges(speeds[name], HORIZON) for name in names])
        return np.quantile(ranges, 0.31)

    def labelled(name, threshold):
        return burst_labels(speeds[name], HORIZON, range_threshold=threshold)

    data = load(day_store, LabelSettings(range_threshold="auto"), split=Folds(folds=3, test=("day4",)))
    trained_on = [("day2", "day3"), ("day1", "day3"), ("day1", "day2")]
    assert [fold.range_threshold for fold in data.folds] == pytest.approx([threshold(*names) for names in trained_on])
    for fold, names in zip(data.folds, trained_on, strict=True):
        for sequence in (*fold.train, *fold.validation):  # what is held out, too, by a rule that has not seen it
            assert np.array_equal(sequence.label, labelled(sequence.recording, threshold(*names)))
    assert np.array_equal(data.test[0].label, labelled("day4", threshold("day1", "day2", "day3")))


def test_a_fold_without_a_positive_is_named(store_of):
    store = store_of(a=random_speed(500, 1), b=random_speed(500, 2), still=np.zeros(499))
    reason = r"the validation of the fold that holds out still has no positive label among 335 valid frames"
    with pytest.raises(LabelError, match=reason):
        load(store, split=Folds(folds=3))


def test_frames_are_read_once_for_all_folds(tank_store):
    read = []

    def read_frames(recording):
        read.append(recording.name)
        return recording.read_frames(0, recording.frame_count)

    settings = DataSettings(store=tank_store, split=Folds(folds=3), look_back=24)
    rule = LabelSettings(horizon=10, range_threshold=0.02)
    data = load_sequences(find_recordings(settings), settings, rule, read_frames)
    assert sorted(read) == ["tank-1", "tank-2", "tank-3"]
    assert np.shares_memory(data.folds[0].train[1].frames, data.folds[1].train[1].frames)  # tank-3


# Frame rates


@pytest.fixture
def two_rates(store_of):
    store_of(fast=random_speed(900, 1), fast2=random_speed(900, 3))
    return store_of(fps=25.0, slow=random_speed(900, 2))


def test_a_horizon_in_frames_is_refused_for_recordings_of_different_rates(two_rates):
    reason = (
        r"labels.horizon: 45 frames are 1.5 s at 30 fps and 1.8 s at 25 fps, .*; state it in seconds, in place of "
        r"horizon: labels: \{horizon_s: 1.5\}"
    )
    with pytest.raises(SettingError, match=reason):
        load(two_rates)
    assert load(two_rates, recordings=("fast*",)).recordings == ("fast", "fast2")


def test_rates_of_30_and_30000_1001_fps_are_alike(store_of):
    store_of(a=random_speed(900, 1))
    store = store_of(fps=30000 / 1001, b=random_speed(900, 2))
    assert load(store).recordings == ("a", "b")


@pytest.mark.parametrize("split", [SHARES, Folds(folds=3)], ids=["shares", "folds"])
def test_recordings_of_25_and_30_fps_have_horizons_of_the_same_time(two_rates, split):
    data = load(two_rates, LabelSettings(horizon_s=1.5), split=split)
    for sequence in (*data.train, *data.validation, *data.test):
        horizon = {30.0: 45, 25.0: 38}[sequence.fps]  # 1.5 s are 37.5 frames at 25 fps
        valid = np.flatnonzero(sequence.valid)
        assert valid.tolist() == list(range(119, sequence.frame_count - horizon - 1))
        expected = burst_labels(sequence.speed, horizon)
        assert np.array_equal(sequence.label, expected)
