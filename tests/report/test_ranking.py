import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fishray.report.ranking import rank
from fishray.runs import leased


def by_name(ranking):
    return {row.predictor: row for row in ranking.rows}


def test_trials_and_baselines_stand_in_one_order_of_validation(trained, score):
    story = trained()
    score(story)
    assert [(row.rank, row.predictor) for row in rank(story.run).rows] == [
        (1, "convlstm-0001"),
        (2, "lstm-0000"),
        (None, "persistence"),
        (None, "refitted algorithm"),
        (3, "convlstm-0000"),
        (None, "published algorithm"),
        (4, "lstm-0001"),
        (5, "lstm-0002"),
        (None, "lstm-0003"),
    ]


def test_the_test_split_never_changes_the_order(trained, score):
    story = trained()
    before = [row.predictor for row in rank(story.run).rows]
    strengths = {"persistence": 1.5, "refitted algorithm": 1.5, "published algorithm": 1, "convlstm-0001": 0.1}
    score(story, {**strengths, "lstm-0000": 3})
    after = rank(story.run)
    assert [row.predictor for row in after.rows] == before
    assert after.rows[1].test.value > after.rows[0].test.value
    assert after.published[0].predictor == "convlstm-0001"  # chosen by validation, though the other is better here


def test_the_sweeps_metric_decides_the_order(trained):
    story = trained(search={"metric": "validation_youden_j"})
    rows = by_name(rank(story.run))
    assert rows["convlstm-0001"].validation == pytest.approx(2 * 0.883 - 1.2)
    assert rows["persistence"].validation == 0.55
    assert rows["convlstm-0001"].validation_auc == 0.883


def test_a_row_says_what_was_tried_how_far_and_why_it_ended(trained):
    row = by_name(rank(trained().run))["convlstm-0000"]
    assert (row.model, row.family, row.epochs, row.max_epochs) == ("convlstm", "convlstm", 3, 9)
    assert row.settings == {"learning_rate": 0.021, "filters": [4], "augment": "none"}
    assert (row.status, row.reason) == ("stopped", "stopped at rung 3 (0.822, needed 0.846)")
    assert (row.validation, row.best_epoch, row.collapsed) == (0.822, 3, False)


def test_collapsed_and_failed_trials_are_marked(trained):
    ranking = rank(trained().run)
    rows = by_name(ranking)
    assert rows["lstm-0002"].collapsed
    assert (rows["lstm-0003"].rank, rows["lstm-0003"].validation) == (None, None)
    assert rows["lstm-0003"].reason.startswith("RuntimeError: loss is not a number")
    assert "1 of 6 trials failed: lstm-0003" in ranking.warnings


def test_leaders_and_baselines_have_test_scores_with_paired_differences(trained, score):
    story = trained()
    predictions = score(story)
    ranking = rank(story.run)
    rows = by_name(ranking)
    assert {name for name, row in rows.items() if row.test} == set(predictions.probability)
    best = rows["convlstm-0001"]
    expected = roc_auc_score(predictions.label, predictions.probability["convlstm-0001"])
    assert best.test.value == pytest.approx(expected)
    assert best.test.low < best.test.value < best.test.high
    assert set(best.over) == {"persistence", "refitted algorithm", "published algorithm"}
    assert best.over["persistence"].value == pytest.approx(best.test.value - rows["persistence"].test.value)
    paired = best.over["persistence"]
    assert paired.high - paired.low < best.test.high - best.test.low  # what is hard for both cancels
    assert set(rows["persistence"].over) == {"refitted algorithm", "published algorithm"}


def test_verdicts_rest_on_counted_events_and_seconds(trained, score):
    story = trained()
    score(story)
    ranking = rank(story.run)
    assert str(ranking.test) == "41 events in 96 s of test"  # 2,880 frames at 30 per second
    assert [(verdict.predictor, verdict.outcome) for verdict in ranking.verdicts] == [
        ("convlstm-0001", "better"),
        ("lstm-0000", "only published"),
    ]
    assert ranking.no_verdict == ""


@pytest.mark.parametrize(
    ("frames", "events", "why"),
    [
        (2880, 9, "only 9 events in 96 s of test; it takes at least 10"),
        (1440, 20, "only 1,440 frames of test, 4 blocks of 300; intervals take at least 5"),
        (2880, 0, "all 2,880 frames of test are negative"),
    ],
)
def test_too_little_test_gives_no_verdict_and_says_why(trained, score, frames, events, why):
    story = trained()
    score(story, frames=frames, events=events)
    ranking = rank(story.run)
    assert (ranking.verdicts, ranking.no_verdict) == ((), why)
    tests = [row.test for row in ranking.rows if row.test]
    assert all(test.low is None for test in tests)
    assert bool(tests) == bool(events)  # an AUC is there as soon as there are both classes


def test_without_a_test_split_there_is_no_verdict(trained):
    story = trained(data={"store": "tank.zarr", "split": {"train": 0.8, "validation": 0.2, "test": None}})
    assert rank(story.run).no_verdict == "the sweep has no test split"


def test_a_run_under_way_is_ranked_as_far_as_it_is(trained):
    run = trained().run
    with leased(run.path):
        ranking = rank(run)
    assert ranking.no_verdict == "the test split has not been scored (the run is running)"
    assert ranking.best.predictor == "convlstm-0001"


def test_a_run_that_has_died_is_not_taken_for_one_under_way(trained):
    assert rank(trained().run).no_verdict == "the test split has not been scored (the run has died)"


def test_a_run_that_has_only_begun_can_be_ranked(new_run):
    story = new_run()
    story.sweep()
    ranking = rank(story.run)
    assert (ranking.rows, ranking.best, ranking.cost.cpu_hours) == ((), None, 0)


def test_outputs_that_are_not_numbers_are_not_scored(trained, score):
    story = trained()
    predictions = score(story)
    predictions.probability["lstm-0000"][5] = np.nan
    story.run.write_predictions({"test": predictions})
    assert by_name(rank(story.run))["lstm-0000"].test is None


def test_cost_is_what_epochs_took_and_what_all_of_them_would_have_taken(trained):
    cost = rank(trained().run).cost
    assert cost.cpu_hours * 3600 == pytest.approx(3 * 4 + 9 * 4 + 9 + 1 + 1)
    # two convlstm trials of 4 s an epoch, four lstm trials of 1 s (the failed one counts as its family's mean)
    assert cost.full_cpu_hours * 3600 == pytest.approx(9 * (2 * 4 + 4 * 1))


def test_the_published_table_compares_the_best_trial_with_the_published_algorithm(trained, score):
    story = trained()
    predictions = score(story)
    best, published = rank(story.run).published
    assert (best.predictor, published.predictor) == ("convlstm-0001", "published algorithm")
    called = predictions.probability["convlstm-0001"] >= best.youden_j.threshold
    assert called[predictions.label == 1].mean() == pytest.approx(best.youden_j.tpr)
    assert best.youden_j.value == pytest.approx(best.youden_j.tpr - best.youden_j.fpr)


def test_a_large_gap_between_validation_and_test_is_said(trained, score):
    story = trained()
    baselines = {"persistence": 1.5, "refitted algorithm": 1.45, "published algorithm": 1.1}
    score(story, {**baselines, "convlstm-0001": 1.3, "lstm-0000": 1})
    ranking = rank(story.run)
    gap = 0.883 - ranking.best.test.value
    assert gap > 0.03
    assert any(f"convlstm-0001 scores {gap:.3f} less on test" in warning for warning in ranking.warnings)


def test_trials_below_persistence_have_learnt_nothing(new_run):
    story = new_run()
    story.sweep()
    story.baselines()
    story.trial("lstm-0000", learning_rate=0.01)
    story.start("lstm-0000")
    story.epochs("lstm-0000", 0.85)
    assert any(warning.startswith("no trial is above persistence") for warning in rank(story.run).warnings)
    story.epochs("lstm-0000", 0.853, first=2)
    assert rank(story.run).warnings == ()


def test_everything_can_be_written_as_json(trained, score):
    story = trained()
    score(story)
    data = json.loads(json.dumps(rank(story.run).as_dict(), allow_nan=False))
    assert data["rows"][0]["over"]["persistence"]["low"] > 0
    assert data["verdicts"][0]["outcome"] == "better"
