import numpy as np
import pytest

from fishray.evaluation.scoring import predict_apart, predict_held_out
from fishray.predictors.baselines import Persistence
from fishray.sequences import Sequences

FAST, SLOW = Persistence(median=0.03), Persistence(median=0.01)


def test_each_fold_is_judged_by_its_own_predictor(make_sequence):
    """At a speed of 0.01 the probability is m / (m + 0.01): three quarters and a half."""
    first, second = (make_sequence(speed=np.full(frames, 0.01)) for frames in (60, 80))
    folds = (Sequences((second,), (first,)), Sequences((first,), (second,)))
    found = predict_held_out([FAST, SLOW], Sequences.of_folds(folds, ()))
    assert [len(each) for each in found] == [first.valid.sum(), second.valid.sum()]
    assert [np.unique(each).tolist() for each in found] == [[0.75], [0.5]]


def test_what_no_fold_has_seen_gets_the_mean(make_sequence):
    test = (make_sequence(speed=np.full(60, 0.01)),)
    assert predict_apart([FAST, SLOW], test) == pytest.approx(np.full(test[0].valid.sum(), 0.625))
    assert np.array_equal(predict_apart([FAST], test), FAST.predict(test[0])[test[0].valid])
