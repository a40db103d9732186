"""Trials that kill their process: tried again as often as is stated, then marked, with their last words."""

import json

import pytest
from crashing import FAULTS
from desk import END_S, START_S, desk_in

from fishray.runs import Run

pytestmark = pytest.mark.slow

RETRIES = 1
SWEEP = {
    "data": {
        "store": "data/tank.zarr",
        "simulate": {"minutes": 1.5, "fish": 3, "height": 48, "width": 64, "fps": 30},
        "look_back": 90,
    },
    "labels": {"horizon": 15, "range_threshold": "auto"},
    "families": {
        "lstm": {
            "trials": 4,
            "space": {"learning_rate": {"loguniform": [0.003, 0.05]}},
            "fixed": {"hidden": 4, "steps_per_epoch": 4, "judged_frames": 60},
            "resources": {"cpus": 1, "retries": RETRIES},
        }
    },
    "search": {"max_epochs": 2, "scheduler": "none"},
}


@pytest.fixture(scope="module")
def survived(tmp_path_factory):
    """A sweep two of whose trials kill every process that they are given."""
    with desk_in(tmp_path_factory.mktemp("deaths")) as desk:
        (desk.folder / "deaths.yaml").write_text(json.dumps(SWEEP))
        faults = {"FISHRAY_SEGFAULT": "lstm-0001", "FISHRAY_NO_MEMORY": "lstm-0002", "PYTHONPATH": str(FAULTS)}
        process = desk.start("tune", "deaths.yaml", **faults)
        assert process.wait(2 * START_S + END_S) == 0, desk.log()
        yield Run(desk.folder / "runs" / "deaths")


@pytest.mark.parametrize("name", ["lstm-0001", "lstm-0002"])
def test_it_is_tried_again_as_often_as_is_stated(survived, name):
    mine = [each for each in survived.journal if each.get("trial") == name]
    assert [each["event"] for each in mine] == ["attempt", "lost", "attempt", "end"]
    assert [each["attempt"] for each in mine if each["event"] == "attempt"] == list(range(1, RETRIES + 2))
    assert mine[-1]["status"] == "failed"
    assert mine[-1]["reason"].endswith("(2 times)")


@pytest.mark.parametrize(
    ("name", "words"), [("lstm-0001", "Fatal Python error: Segmentation fault"), ("lstm-0002", "cannot allocate 3 GiB")]
)
def test_it_is_marked_with_its_last_words(survived, name, words):
    assert words in survived.trial(name).traceback


def test_the_others_finish_and_are_ranked(survived):
    state = survived.state()
    assert state.status == "finished"
    assert {trial.config.id for trial in state.ranked("validation_auc")} == {"lstm-0000", "lstm-0003"}
    assert [state.trials[name].status for name in ("lstm-0000", "lstm-0003")] == ["finished", "finished"]
