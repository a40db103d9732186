import math

import numpy as np
import pytest

from fishray.evaluation.metrics import roc_auc
from fishray.predictors.baselines import BASELINES, Algorithm, Persistence
from fishray.sequences import Sequence
from fishray.signals.targets import burst_labels


def logistic(x):
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def plain_algorithm(speed, low_fraction, range_slope, range_centre, speed_slope, window):
    """The published algorithm, frame by frame; not a number where less than the window lies behind."""
    probability = []
    for i in range(len(speed) + 1):
        if i < window:
            probability.append(math.nan)
            continue
        past = speed[i - window : i]
        spread = max(past) - min(past)
        low = min(past) + low_fraction * spread
        probability.append(
            0.5 * (logistic(range_slope * (spread - range_centre)) + logistic(-speed_slope * (speed[i - 1] - low)))
        )
    return probability


@pytest.fixture
def random_speed():
    return np.random.default_rng(0).gamma(1.0, 3e-4, 300)


@pytest.fixture
def tetra(shared):
    """Train and validation of the published recording; the last value of each series is a placeholder."""

    def sequence(part):
        speed = np.load(shared / "data" / "serpae-tetra" / f"{part}_speed.npy")[:-1]
        return Sequence("tetra", 0, 30.0, speed, burst_labels(speed, 45), None, look_back=120)

    return sequence("train"), sequence("validation")


def test_the_published_algorithm_agrees_with_its_formula(make_sequence, random_speed):
    probability = Algorithm().predict(make_sequence(speed=random_speed))
    expected = plain_algorithm(random_speed, 0.2, 5300, 0.0006, 11000, 89)
    np.testing.assert_allclose(probability, expected, rtol=1e-12)
    assert np.nanstd(probability) > 0.01


@pytest.mark.parametrize("window", [1, 2, 5, 8, 300])
def test_other_numbers_and_windows_agree_with_the_formula(make_sequence, random_speed, window):
    numbers = {
        "low_fraction": 0.4,
        "range_slope": 900.0,
        "range_centre": 0.001,
        "speed_slope": 2000.0,
        "window": window,
    }
    probability = Algorithm(**numbers).predict(make_sequence(speed=random_speed))
    np.testing.assert_allclose(probability, plain_algorithm(random_speed, **numbers), rtol=1e-12)


def test_a_series_shorter_than_the_window_has_no_probability(make_sequence):
    probability = Algorithm().predict(make_sequence(speed=np.zeros(88)))
    assert probability.shape == (89,)
    assert np.isnan(probability).all()


def test_the_algorithm_by_hand(make_sequence):  # range 0.0006: σ(0); ỹ_2 on the low point, 0.2 of the range: σ(0)
    speed = [0.0, 0.0006, 0.00012]
    assert Algorithm(window=3).predict(make_sequence(speed=speed))[3] == pytest.approx(0.5)


def test_persistence_by_hand(make_sequence):  # median 2: 2 / (2 + ỹ_{i-1})
    probability = Persistence(2.0).predict(make_sequence(speed=[0.0, 2.0, 6.0]))
    assert np.isnan(probability[0])
    assert probability[1:].tolist() == [1.0, 0.5, 0.25]


def test_persistence_ranks_as_minus_the_last_speed(make_sequence, random_speed):
    sequence = make_sequence(speed=random_speed)
    probability = Persistence.fit([sequence]).predict(sequence)[1:]
    assert np.array_equal(np.argsort(-random_speed), np.argsort(probability))


def test_persistence_is_scaled_by_the_median_of_train(make_sequence):
    parts = [make_sequence(speed=[1.0, 2.0]), make_sequence(speed=[3.0, 4.0, 100.0])]
    assert Persistence.fit(parts).median == 3.0


def test_a_still_train_gives_finite_probabilities(make_sequence):
    still = make_sequence(speed=np.zeros(50))
    assert np.isfinite(Persistence.fit([still]).predict(still)[1:]).all()


def test_a_refit_is_better_on_train_and_the_same_each_time(tank):
    label = np.concatenate([s.label[s.valid] for s in tank.train])

    def auc(algorithm):
        return roc_auc(label, np.concatenate([algorithm.predict(s)[s.valid] for s in tank.train]))

    refitted = Algorithm.fit(tank.train)  # ten times as fast as the published fish: σ would be flat at its numbers
    assert refitted == Algorithm.fit(tank.train)
    assert refitted.window == 23  # the look-back holds 23 speeds, and the published window does not fit
    assert auc(refitted) > auc(Algorithm(window=23)) + 0.01


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_is_saved_whole(name, tank, tmp_path):
    baseline = BASELINES[name](tank.train)
    baseline.save(tmp_path / "baseline")
    assert type(baseline).load(tmp_path / "baseline") == baseline


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "auc"), [("persistence", 0.854), ("published algorithm", 0.786), ("refitted algorithm", 0.833)]
)
def test_baselines_score_on_the_published_recording_as_measured(tetra, name, auc):
    train, validation = tetra
    probability = BASELINES[name]([train]).predict(validation)[validation.valid]
    found = roc_auc(validation.label[validation.valid], probability)
    assert found == pytest.approx(auc, abs=0.003 if name == "refitted algorithm" else 0.0005)
