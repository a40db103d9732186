"""The end of a sweep: who is scored on the test split, and what happens when that fails."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from fishray.config.loader import load_sweep
from fishray.evaluation.metrics import scores
from fishray.predictors.baselines import Persistence
from fishray.predictors.network import NetworkPredictor
from fishray.report.ranking import rank
from fishray.runs import Run
from fishray.sequences import valid_labels
from fishray.tuning.local_ray import ray_on_this_node
from fishray.tuning.node import Node
from fishray.tuning.preparation import Prepared
from fishray.tuning.recorder import Recorder
from fishray.tuning.scoring import leaders_of, score_on_test

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
    run = Run.create(tmp_path / "run", sweep, "fingerprint")
    label = valid_labels(tank.validation)
    record = Recorder(run.journal, lambda event: None)
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
            save_file({"array.validation_probability": probability}, run.best_path(trial.id), {"config": "{}"})
        else:
            NetworkPredictor(trial, 24).save(run.best_path(trial.id), validation_probability=probability)
    return run


def test_leaders_are_the_best_by_validation_and_the_best_of_each_family(run):
    found = [trial.config.id for trial in leaders_of(run.state(), run.resolved()[0])]
    assert found == ["lstm-0000", "lstm-0001", "gru-0004"]


@pytest.mark.slow
def test_a_leader_that_cannot_be_scored_is_written_down_and_the_others_are_scored(run, tank):
    node = Node(2, ())
    prepared = Prepared(run.resolved()[0], node, (), "fingerprint", tank)
    baselines = {"persistence": Persistence.fit(tank.train)}
    with ray_on_this_node(node):
        score_on_test(prepared, run, run.state(), baselines, Recorder(run.journal, lambda event: None))
    predictions = run.read_predictions()
    assert set(predictions["test"].probability) == {"lstm-0001", "gru-0004", "persistence"}
    assert len(predictions["validation"].probability) == 5 + 1
    (unscored,) = [event for event in run.journal if event["event"] == "unscored"]
    assert unscored["trial"] == "lstm-0000"
    assert "weights" in unscored["reason"]
    assert "RunError" in run.trial("lstm-0000").traceback
    assert [each for each in rank(run).warnings if each.startswith("lstm-0000 could not be scored on test: ")] != []
