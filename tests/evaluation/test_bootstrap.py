import numpy as np
import pytest
from scipy.signal import lfilter
from sklearn.metrics import roc_auc_score

from fishray.errors import LabelError
from fishray.evaluation import bootstrap
from fishray.evaluation.bootstrap import BootstrappedAuc, Estimate, block_counts, bootstrap_auc, weighted_auc


@pytest.fixture
def noisy():
    """600 frames in bursts of 20, one good, one tied and one useless predictor."""
    rng = np.random.default_rng(5)
    label = np.repeat(rng.random(30) < 0.3, 20).astype(np.int8)
    good = (label + rng.normal(0, 1, 600)).astype(np.float32)
    return label, {"good": good, "tied": np.round(good), "useless": rng.normal(0, 1, 600)}


def test_weighted_auc_is_that_of_scikit_learn_also_with_ties(noisy):
    label, probability = noisy
    weight_nb = np.random.default_rng(1).integers(0, 4, size=(600, 8)).astype(float)
    for score in probability.values():
        expected = [roc_auc_score(label, score, sample_weight=weight) for weight in weight_nb.T]
        assert weighted_auc(label, score, weight_nb) == pytest.approx(expected, abs=1e-12)


def test_auc_of_one_class_is_undefined():
    weight_nb = np.array([[1, 0], [0, 1], [0, 1]], float)
    area = weighted_auc([0, 1, 0], [0.1, 0.2, 0.3], weight_nb)
    assert np.isnan(area[0])  # only the first frame, a negative one
    assert area[1] == 0.0


def test_resamples_are_whole_blocks_on_a_circle():
    counts = np.concatenate(list(block_counts(frames=10, block_frames=4, resamples=50, seed=0)), axis=1)
    starts = np.random.default_rng(0).integers(10, size=(50, 3))
    expected = np.zeros((10, 50))
    for resample, (first, second, third) in enumerate(starts):
        for start, length in ((first, 4), (second, 4), (third, 2)):  # 4 + 4 + 2 frames: the last block is cut
            for frame in range(start, start + length):
                expected[frame % 10, resample] += 1
    assert np.array_equal(counts, expected)


def test_every_frame_is_drawn_equally_often():
    counts = np.concatenate(list(block_counts(frames=30, block_frames=7, resamples=20_000, seed=0)), axis=1)
    assert np.all(counts.sum(axis=0) == 30)
    assert counts.mean(axis=1) == pytest.approx(np.ones(30), abs=0.05)  # ends included


def test_a_smaller_memory_bound_changes_nothing(noisy, monkeypatch):
    whole = bootstrap_auc(*noisy, block_frames=60, resamples=100)
    monkeypatch.setattr(bootstrap, "BATCH_ELEMENTS", 7 * 600)
    batched = bootstrap_auc(*noisy, block_frames=60, resamples=100)
    assert np.array_equal(whole.resampled["tied"], batched.resampled["tied"])


def test_equal_seeds_give_equal_intervals(noisy):
    first, again, other = (bootstrap_auc(*noisy, block_frames=60, resamples=200, seed=seed) for seed in (1, 1, 2))
    assert first.interval("good") == again.interval("good")
    assert first.interval("good") != other.interval("good")


def test_a_difference_is_paired(noisy):
    label, probability = noisy
    shifted = {**probability, "twin": probability["good"] * 2 + 3}  # the same order, so the same AUC on any resample
    result = bootstrap_auc(label, shifted, block_frames=60, resamples=200)
    twin = result.difference("twin", "good")
    assert (twin.value, twin.low, twin.high) == (0, 0, 0)
    useful = result.difference("good", "useless")
    assert useful.value == pytest.approx(result.value["good"] - result.value["useless"])
    assert 0 < useful.low < useful.value < useful.high


def test_resamples_of_one_class_are_dropped():
    label = np.zeros(100, int)
    label[40:45] = 1  # one event in ten blocks: a third of the resamples miss it
    result = bootstrap_auc(label, {"frame number": np.arange(100.0)}, block_frames=10, resamples=300)
    assert 50 < result.dropped < 200
    assert len(result.resampled["frame number"]) == 300 - result.dropped
    assert np.isfinite(result.interval("frame number").low)


def test_labels_of_one_class_are_refused():
    with pytest.raises(LabelError, match="all 50 frames are negative"):
        bootstrap_auc(np.zeros(50), {"a": np.arange(50.0)})


def test_intervals_cover_the_truth_where_frames_depend_on_each_other_and_single_frames_would_not():
    def series(rng, frames):  # a slow AR(1) process that the label and the predictor both follow
        state = lfilter([np.sqrt(1 - 0.95**2)], [1, -0.95], rng.normal(size=frames))
        return state > 1, state + rng.normal(size=frames)

    truth = roc_auc_score(*series(np.random.default_rng(99), 200_000))

    def coverage(block_frames):
        hits = 0
        for seed in range(40):
            label, score = series(np.random.default_rng(seed), 2000)
            result = bootstrap_auc(label, {"a": score}, block_frames=block_frames, resamples=120, seed=seed)
            interval = result.interval("a")
            hits += interval.low <= truth <= interval.high
        return hits / 40

    assert coverage(200) > 0.85
    assert coverage(1) < 0.8


def bootstrapped(blocks):
    """100 resamples of an AUC of 0.7, evenly from 0.6 to 0.8."""
    return BootstrappedAuc({"a": 0.7, "b": 0.7}, {"a": np.linspace(0.6, 0.8, 100), "b": np.full(100, 0.7)}, 0, blocks)


def test_an_interval_of_few_blocks_is_expanded_as_that_of_students_t():
    plain = np.quantile(np.linspace(0.6, 0.8, 100), 0.975) - 0.7
    # t of 4 degrees of freedom is 2.776 where the normal is 1.960; sqrt(5 / 4) makes up for the mean.
    assert bootstrapped(5).interval("a").high - 0.7 == pytest.approx(plain * 2.776 / 1.960 * (5 / 4) ** 0.5, rel=1e-3)
    assert bootstrapped(5).difference("a", "b").low == pytest.approx(-plain * 1.5835, rel=1e-3)
    assert bootstrapped(10_000).interval("a").high - 0.7 == pytest.approx(plain, rel=1e-3)


def test_one_block_gives_no_interval():
    assert bootstrapped(1).interval("a") == Estimate(0.7)


def test_an_auc_stays_within_0_and_1():
    wide = BootstrappedAuc({"a": 0.98}, {"a": np.linspace(0.93, 1, 100)}, 0, 3)
    assert wide.interval("a").high == 1
    assert wide.interval("a").low < 0.93
