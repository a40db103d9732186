import numpy as np
import pytest

from fishray.signals.targets import burst_labels, horizon_ranges
from fishray.signals.thresholds import ACTIVE_SHARE, suggest_threshold

HORIZON = 45


def noise(speeds, seed=0):
    return np.random.default_rng(seed).normal(1, 0.01, speeds)


def in_noise(speed, horizon=HORIZON):
    return suggest_threshold([(speed, horizon)]).in_noise


def test_the_published_share_of_horizons_reaches_the_suggestion(tanks):
    suggested = suggest_threshold([(tanks[0], HORIZON)])
    ranges = horizon_ranges(tanks[0], HORIZON)
    above, tied = (ranges > suggested.value).mean(), (ranges == suggested.value).mean()
    assert above - 0.001 <= ACTIVE_SHARE <= above + tied + 0.001


def test_of_several_pieces_all_horizons_count():
    # Ranges of 2 (9 horizons of 2 speeds) and 4 (9 of them): the quantile 0.31 is among the former, 0.05 as well.
    low, high = np.tile([0.0, 2.0], 5), np.tile([0.0, 4.0], 5)
    suggested = suggest_threshold([(low, 1), (high, 1)])
    assert (suggested.value, suggested.quiet_range) == (2, 2)


@pytest.mark.parametrize("horizon", [10, 45, 90])
def test_noise_gives_about_its_own_range(horizon):
    suggested = suggest_threshold([(noise(20000), horizon)])
    assert suggested.noise_range == pytest.approx(horizon_ranges(noise(20000), horizon).mean(), rel=0.03)


def test_noise_is_noise_and_a_clean_tank_is_not(tanks):
    assert all(in_noise(noise(3000, seed)) for seed in range(20))
    assert [in_noise(speed) for speed in tanks] == [False, False]
    assert not any(in_noise(speed[start : start + 900]) for speed in tanks for start in (0, 900, 1800, 2600))


def test_a_tank_at_rest_for_most_of_the_time_has_no_threshold_of_its_own(tanks):
    speed = noise(len(tanks[0]))
    speed[:600] += 100 * tanks[0][:600]
    assert in_noise(speed)


@pytest.mark.parametrize("speed", [np.zeros(500), np.ones(500)])
def test_nothing_that_moves_is_noise(speed):
    assert in_noise(speed)


def test_a_motion_without_any_noise_is_none():
    assert not in_noise(np.tile([*np.linspace(0, 1, 50), *np.linspace(1, 0, 150)], 5))


def test_what_the_criterion_stands_for(tanks):
    """The same motion under two noises: where a threshold is said to lie in the noise, few positives are the same."""
    rng = np.random.default_rng(0)
    sames = {True: [], False: []}
    for motion in (30.0, 3.0, 1.0, 0.3, 0.2, 0.1, 0.0):
        seen = [motion * tanks[0] / tanks[0].std() + rng.normal(0, 0.1, len(tanks[0])) for _ in range(2)]
        suggested = [suggest_threshold([(speed, HORIZON)]) for speed in seen]
        one, two = (
            burst_labels(speed, HORIZON, range_threshold=each.value) == 1
            for speed, each in zip(seen, suggested, strict=True)
        )
        sames[suggested[0].in_noise].append((one & two).sum() / (one | two).sum())
    assert len(sames[True]) >= 2
    assert max(sames[True]) < 0.35 < min(sames[False])


def test_a_piece_shorter_than_its_horizon_suggests_nothing():
    assert suggest_threshold([(np.ones(45), 45)]) is None
    assert suggest_threshold([]) is None


@pytest.mark.shared
def test_the_published_threshold_is_suggested_for_the_published_recording(shared):
    speed = np.load(shared / "data/serpae-tetra/train_speed.npy")[:-1]
    suggested = suggest_threshold([(speed, HORIZON)])
    assert suggested.value == pytest.approx(0.001, rel=0.01)
    assert not suggested.in_noise
