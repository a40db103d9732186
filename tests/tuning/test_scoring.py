"""The end of a sweep: who is scored on the test split, and what happens when that fails."""

import numpy as np
import pytest

from fishray.config.loader import load_sweep
from fishray.evaluation.metrics import scores
from fishray.predictors.baselines import Persistence
from fishray.predictors.network import NetworkPredictor
from fishray.report.ranking import rank
from fishray.runs import Run, leased
from fishray.runs.directory import provenance
from fishray.sequences import Sequences, valid_labels
from fishray.store import open_store
from fishray.tuning.crew import Crew
from fishray.tuning.node import Node
from fishray.tuning.preparation import Prepared
from fishray.tuning.recorder import Recorder
from fishray.tuning.scoring import score_on_test
from fishray.weights import write_weights
from hpc.cluster import OneMachine

SWEEP = """
data: {{store: {store}, look_back: 24}}
labels: {{horizon: 10, range_threshold: 0.02}}
families: {{lstm: {{trials: 4}}, gru: {{model: lstm, trials: 1}}}}
report: {{leaders: 2}}
"""


@pytest.fixture
def run(tmp_path, tank_store, tank, make_trial):
    """A run of five trials, the later the worse on validation; the weights of the best are missing from its file."""
    (tmp_path / "sweep.yaml").write_text(SWEEP.format(store=tank_store))
    sweep = load_sweep(tmp_path / "sweep.yaml")
    run = Run.claim(tmp_path / "run")
    run.write_sweep(sweep, provenance(open_store(tank_store).fingerprint(tank.recordings)))
    label = valid_labels(tank.validation)
    record = run.journal.append
    for number, family in enumerate(["lstm"] * 4 + ["gru"]):
        trial = make_trial("lstm").model_copy(update={"id": f"{family}-{number:04d}", "family": family})
        probability = np.linspace(0.2, 0.8, len(label), dtype=np.float32)
        record("trial", config=trial.model_dump(mode="json"))
        values = {f"validation_{name}": 0.9 - number / 10 for name in scores(label, probability)}
        values |= {"epoch": 1, "best_epoch": 1, "collapsed": False, "epoch_s": 2.0, "cpus": 1}
        record("result", trial=trial.id, **values)
        record("end", trial=trial.id, status="finished", reason="ran all 9 epochs")
        run.trial_path(trial.id).mkdir(parents=True)
        if number == 0:
            write_weights(run.best_path(trial.id), {"array.validation_probability": probability}, {"config": {}})
        else:
            NetworkPredictor(trial, 24).save(run.best_path(trial.id), validation_probability=probability)
    return run


def test_leaders_are_the_best_by_validation_and_the_best_of_each_family(run):
    found = [trial.config.id for trial in run.state().leaders("validation_auc", run.resolved()[0].report.leaders)]
    assert found == ["lstm-0000", "lstm-0001", "gru-0004"]


@pytest.mark.slow
def test_a_leader_that_cannot_be_scored_is_written_down_and_the_others_are_scored(run, tank):
    node = Node(2, ())
    prepared = Prepared(run.resolved()[0], node, (), "fingerprint", tank)
    baselines = {"persistence": [Persistence.fit(tank.train)]}
    with OneMachine(node.cpus, 0) as cluster, leased(run.path) as lease:
        record = Recorder(run.journal, lease)
        score_on_test(prepared, run, run.state(), baselines, record, Crew(cluster, record, 0))
    predictions = run.read_predictions()
    assert set(predictions["test"].probability) == {"lstm-0001", "gru-0004", "persistence"}
    assert len(predictions["validation"].probability) == 5 + 1
    (unscored,) = [event for event in run.journal if event["event"] == "unscored"]
    assert unscored["trial"] == "lstm-0000"
    assert "weights" in unscored["reason"]
    assert "WeightsError" in run.trial("lstm-0000").traceback
    assert [each for each in rank(run).warnings if each.startswith("lstm-0000 could not be scored on test: ")] != []


def score_again(run, tank):
    """Score a run without a test split, for which no model has to run."""
    prepared = Prepared(run.resolved()[0], Node(2, ()), (), "fingerprint", Sequences(tank.train, tank.validation))
    with leased(run.path) as lease:
        record = Recorder(run.journal, lease)
        score_on_test(prepared, run, run.state(), {}, record, Crew(OneMachine(2, 0), record, 0))
    return run.read_predictions()["validation"].probability


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_trial_whose_weights_were_cleared_away_keeps_its_earlier_validation_predictions(run, tank, damage):
    before = score_again(run, tank)
    assert len(before) == 5
    if damage == "missing":
        run.best_path("lstm-0001").unlink()
    else:
        run.best_path("lstm-0001").write_bytes(b"no weights")
    after = score_again(run, tank)
    assert list(after) == list(before)
    np.testing.assert_array_equal(after["lstm-0001"], before["lstm-0001"])


def test_a_trial_whose_weights_are_lost_before_anything_is_scored_has_no_predictions(run, tank):
    run.best_path("lstm-0001").unlink()
    assert "lstm-0001" not in score_again(run, tank)
