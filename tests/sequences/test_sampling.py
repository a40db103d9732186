import numpy as np
import pytest

from fishray.sequences.sampling import Crop, Sampling
from fishray.signals.targets import UNDEFINED

LOOK_BACK, HORIZON = 24, 10


@pytest.fixture
def sequences(make_sequence):
    """Two series of 200 and 120 frames."""
    rng = np.random.default_rng(0)
    return tuple(make_sequence(speed=rng.uniform(0, 0.05, frames - 1)) for frames in (200, 120))


def sampling(sequences, frames_per_step=1, judged_frames=48):
    return Sampling(sequences, LOOK_BACK, frames_per_step, judged_frames)


def same(batches, others):
    pairs = list(zip(batches, others, strict=True))
    return all(a.crops == b.crops and np.array_equal(a.label_bs, b.label_bs) for a, b in pairs)


def test_batches_depend_on_seed_and_epoch_alone(sequences):
    first = list(sampling(sequences).batches(4, 10, seed=3, epoch=2))
    np.random.default_rng().random(7)
    list(sampling(sequences).batches(4, 10, seed=3, epoch=1))  # no epoch before it matters
    assert same(first, sampling(sequences).batches(4, 10, seed=3, epoch=2))
    assert not same(first, sampling(sequences).batches(4, 10, seed=3, epoch=3))
    assert not same(first, sampling(sequences).batches(4, 10, seed=4, epoch=2))


def test_an_epoch_is_so_many_batches_of_so_many_crops(sequences):
    batches = list(sampling(sequences).batches(5, 7, seed=0, epoch=1))
    assert [len(batch.crops) for batch in batches] == [5] * 7


@pytest.mark.parametrize("frames_per_step", [1, 4, 5])
@pytest.mark.parametrize("judged_frames", [0, 48, 1000])
def test_crops_lie_inside_what_is_labelled(sequences, frames_per_step, judged_frames):
    batches = sampling(sequences, frames_per_step, judged_frames).batches(16, 20, seed=0, epoch=1)
    crops = [crop for batch in batches for crop in batch.crops]
    assert {crop.sequence for crop in crops} == ({0} if judged_frames == 1000 else {0, 1})  # 1 is the shorter
    for crop in crops:
        assert crop.start >= 0
        assert crop.start + crop.length <= sequences[crop.sequence].frame_count - HORIZON - 1
        assert crop.length % frames_per_step == 0


@pytest.mark.parametrize("frames_per_step", [1, 4, 5])
def test_labels_are_those_at_the_last_frame_of_each_step(sequences, frames_per_step):
    for batch in sampling(sequences, frames_per_step).batches(4, 5, seed=0, epoch=1):
        for crop, labels in zip(batch.crops, batch.label_bs, strict=True):
            ends = crop.start + frames_per_step * (np.arange(len(labels)) + 1) - 1
            judged = labels != UNDEFINED
            assert np.array_equal(labels[judged], sequences[crop.sequence].label[ends[judged]])
            assert judged.tolist() == [step + 1 >= LOOK_BACK // frames_per_step for step in range(len(labels))]


def test_the_steps_of_the_first_look_back_are_not_judged_by_hand(sequences):  # 24 frames of warm-up are 6 steps of 4
    batch = sampling(sequences, frames_per_step=4, judged_frames=8).batch((Crop(0, 3, 32),))
    label = sequences[0].label
    assert batch.label_bs.tolist() == [[UNDEFINED] * 5 + [label[3 + 23], label[3 + 27], label[3 + 31]]]


def test_a_clip_has_one_label(sequences):
    clip = sampling(sequences, frames_per_step=4, judged_frames=0)
    assert clip.length == LOOK_BACK
    for batch in clip.batches(4, 5, seed=0, epoch=1):
        assert batch.label_bs.shape == (4, 6)
        assert (batch.label_bs[:, :-1] == UNDEFINED).all()
        assert (batch.label_bs[:, -1] != UNDEFINED).all()


def test_every_start_is_drawn_alike(sequences):  # 189 - 72 + 1 = 118 starts in one, 109 - 72 + 1 = 38 in the other
    crops = [crop for batch in sampling(sequences).batches(100, 200, seed=0, epoch=1) for crop in batch.crops]
    counts = [np.bincount([crop.start for crop in crops if crop.sequence == index]) for index in (0, 1)]
    assert [len(count) for count in counts] == [118, 38]
    counts = np.concatenate(counts)
    expected = 20_000 / 156
    assert np.square(counts - expected).sum() / expected < 155 + 5 * np.sqrt(2 * 155)  # chi-squared, 155 degrees


def test_a_crop_is_as_long_as_the_longest_sequence_allows(sequences):  # 200 frames less the horizon and one
    assert sampling(sequences, judged_frames=1000).length == 189
    assert sampling(sequences, frames_per_step=4, judged_frames=1000).length == 188


def test_a_short_sequence_does_not_shorten_the_crops_of_others(sequences):  # it has 109 labelled frames of its own
    draws = sampling(sequences, judged_frames=100)
    assert draws.length == 124
    assert {crop.sequence for batch in draws.batches(16, 5, seed=0, epoch=1) for crop in batch.crops} == {0}


def test_clips_for_overfitting_are_half_positive_and_valid(sequences):
    clips = sampling(sequences).clips(16, seed=0)
    ends = [(clip.sequence, clip.start + clip.length - 1) for clip in clips]
    assert len(set(ends)) == 16
    assert all(sequences[index].valid[end] for index, end in ends)
    assert [int(sequences[index].label[end]) for index, end in ends] == [1] * 8 + [0] * 8
    assert {clip.length for clip in clips} == {LOOK_BACK}


def test_clips_for_overfitting_are_as_many_as_there_are(make_sequence):  # one burst: six frames of rest before it
    speed = np.full(99, 0.012)
    speed[60:66], speed[66] = 0, 0.04
    clips = sampling((make_sequence(speed=speed),)).clips(100, seed=0)
    ends = [clip.start + clip.length - 1 for clip in clips]
    assert sorted(ends[:6]) == [60, 61, 62, 63, 64, 65]
    assert len(ends) == 6 + 50


def test_a_batch_has_recordings_of_one_frame_size_and_an_epoch_has_all(make_sequence):
    rng = np.random.default_rng(0)
    sizes = [(8, 8), (8, 8), (6, 8)]
    sequences = tuple(
        make_sequence(rng.integers(0, 80, (100, *size), dtype=np.uint8), range_threshold=0.001) for size in sizes
    )
    mixed = sampling(sequences)
    batches = [{crop.sequence for crop in batch.crops} for batch in mixed.batches(8, 60, seed=0, epoch=1)]
    assert all(members <= {0, 1} or members == {2} for members in batches)
    assert {0, 1} in batches
    assert 8 <= batches.count({2}) <= 32  # a third of the starts, so about 20 of 60
    assert {clip.sequence for clip in mixed.clips(40, seed=0)} == {0, 1}
