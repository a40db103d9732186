import numpy as np
import pytest

from fishray.errors import LabelError
from fishray.evaluation.metrics import (
    average_precision,
    count_events,
    has_collapsed,
    max_accuracy,
    max_youden_j,
    roc_auc,
    scores,
)

LABEL = [0, 0, 1, 0, 1]
SCORE = [0.1, 0.2, 0.3, 0.4, 0.5]


def test_auc_is_the_share_of_pairs_in_the_right_order():
    assert roc_auc(LABEL, SCORE) == pytest.approx(5 / 6)  # only (0.3, 0.4) is the wrong way round


def test_a_tied_pair_counts_half():
    assert roc_auc([0, 1], [0.5, 0.5]) == 0.5


def test_average_precision_by_hand():
    assert average_precision(LABEL, SCORE) == pytest.approx((1 / 1 + 2 / 3) / 2)


def test_max_accuracy_by_hand():
    point = max_accuracy(LABEL, SCORE)  # 0.5 and 0.3 both get 4 of 5 right: the higher one counts
    assert (point.value, point.threshold, point.tpr, point.fpr) == (pytest.approx(0.8), 0.5, 0.5, 0.0)


def test_max_youden_j_by_hand():
    point = max_youden_j(LABEL, SCORE)
    assert (point.value, point.threshold, point.tpr, point.fpr) == (
        pytest.approx(2 / 3),
        0.3,
        1.0,
        pytest.approx(1 / 3),
    )


@pytest.mark.parametrize("find", [max_accuracy, max_youden_j])
def test_an_operating_point_is_what_its_threshold_gives(find):
    rng = np.random.default_rng(3)
    label = rng.random(500) < 0.2
    score = np.round(rng.random(500) + 0.4 * label, 2).astype(np.float32)  # with ties
    point = find(label, score)
    called = score >= point.threshold
    assert called[label].mean() == pytest.approx(point.tpr)
    assert called[~label].mean() == pytest.approx(point.fpr)
    value = np.mean(called == label) if find is max_accuracy else called[label].mean() - called[~label].mean()
    assert value == pytest.approx(point.value)


def test_calling_nothing_positive_has_a_finite_threshold():
    point = max_accuracy([1, 0, 0, 0], [0.1, 0.2, 0.3, 0.4])
    assert (point.value, point.tpr, point.fpr) == (0.75, 0, 0)
    assert 0.4 < point.threshold < 0.41


def test_scores_names_what_a_sweep_may_choose_by():
    found = scores(LABEL, SCORE)
    assert found == {
        "auc": pytest.approx(5 / 6),
        "average_precision": pytest.approx(5 / 6),
        "youden_j": pytest.approx(2 / 3),
    }


@pytest.mark.parametrize(("label", "kind"), [([0, 0], "negative"), ([1, 1], "positive"), ([], "negative")])
def test_labels_of_one_class_are_refused(label, kind):
    with pytest.raises(LabelError, match=f"all {len(label)} frames are {kind}"):
        roc_auc(label, np.zeros(len(label)))


def test_the_published_constant_outputs_have_collapsed():
    outputs = np.random.default_rng(0).uniform(0.1319, 0.1320, 10_000)
    outputs[:20] = 0.9  # a few odd frames at the start
    assert has_collapsed(outputs)


def test_rare_but_real_positives_have_not_collapsed():
    outputs = np.full(1000, 0.01)
    outputs[:30] = 0.6
    assert not has_collapsed(outputs)


def test_events_are_runs_within_a_recording():
    label = [1, 1, 0, 1, 1, 1, 1]
    recording_index = [0, 0, 0, 0, 0, 1, 1]
    frame = [7, 8, 9, 10, 12, 13, 14]  # 11 is missing: 10 and 12 are not one run; 13 is another recording
    assert count_events(label, recording_index, frame) == 4


def test_events_do_not_depend_on_the_order_of_frames():
    order = np.random.default_rng(1).permutation(7)
    label, recording_index, frame = (
        np.array(column)[order] for column in ([1, 1, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1, 1], [7, 8, 9, 10, 12, 13, 14])
    )
    assert count_events(label, recording_index, frame) == 4


def test_no_positive_frame_is_no_event():
    assert count_events([0, 0], [0, 0], [1, 2]) == 0
