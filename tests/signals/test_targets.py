from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fishray.signals.targets import UNDEFINED, burst_labels, horizon_ranges

TETRA = Path(__file__).parents[2].parent / "shared" / "data" / "serpae-tetra"
HORIZON, LOOK_BACK = 45, 120


def test_a_low_before_a_burst_is_positive():  # horizon 2: ỹ_0 … ỹ_2 is 1, 1, 9, and so on
    speed = np.array([1.0, 1.0, 9.0, 9.0, 1.0])
    assert burst_labels(speed, 2, range_threshold=1).tolist() == [1, 1, 0, UNDEFINED, UNDEFINED, UNDEFINED]


def test_the_lowest_part_of_the_range_counts_as_slow():  # 0.1 of a range of 10 above 0
    assert burst_labels(np.array([1.0, 0.0, 10.0]), 2)[0] == 1
    assert burst_labels(np.array([1.01, 0.0, 10.0]), 2)[0] == 0


def test_a_range_of_just_the_threshold_is_a_burst():
    assert burst_labels(np.array([0.0, 0.5]), 1, range_threshold=0.5)[0] == 1
    assert burst_labels(np.array([0.0, 0.5]), 1, range_threshold=0.51)[0] == 0


def test_ranges_span_the_horizon_and_its_first_frame():
    assert horizon_ranges(np.array([5.0, 1.0, 2.0, 4.0]), 2).tolist() == [4, 3]


@pytest.mark.parametrize("speeds", [0, 1, 45])
def test_a_recording_shorter_than_the_horizon_has_no_defined_label(speeds):
    assert burst_labels(np.zeros(speeds), HORIZON).tolist() == [UNDEFINED] * (speeds + 1)
    assert len(horizon_ranges(np.zeros(speeds), HORIZON)) == 0


@given(arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1)), st.integers(1, 12))
def test_labels_agree_with_the_rule_word_for_word(speed, horizon):
    expected = []
    for i in range(len(speed) + 1):
        ahead = speed[i : i + horizon + 1]
        if len(ahead) < horizon + 1:
            expected.append(UNDEFINED)
            continue
        spread = ahead.max() - ahead.min()
        expected.append(int(spread >= 0.001 and speed[i] <= ahead.min() + 0.1 * spread))
    assert burst_labels(speed, horizon).tolist() == expected


@pytest.mark.shared
@pytest.mark.skipif(not TETRA.is_dir(), reason=f"no published recording at {TETRA}")
@pytest.mark.parametrize(("part", "valid"), [("train", 44_791), ("validation", 3_428)])
def test_labels_are_the_published_ones_on_every_valid_frame(part, valid):
    speed = np.load(TETRA / f"{part}_speed.npy")[:-1]  # the last value is a placeholder
    published = np.load(TETRA / f"{part}_label.npy")
    frames = slice(LOOK_BACK - 1, len(speed) - HORIZON)  # 119 … T - 47
    labels = burst_labels(speed, HORIZON)
    assert len(published[frames]) == valid
    assert np.array_equal(labels[frames], published[frames])
    assert np.flatnonzero(labels == UNDEFINED).tolist() == list(range(frames.stop, len(speed) + 1))
