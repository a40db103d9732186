import hashlib
import json

import numpy as np
import pytest
import zarr

from fishray.config.sweep import Sweep
from fishray.config.trial import LstmSettings, TrialConfig
from fishray.errors import RunError
from fishray.runs import Journal, Predictions, Run, RunState

SWEEP = {
    "name": "mine",
    "seed": 5,
    "data": {"store": "tank.zarr"},
    "families": {"lstm": {"model": "lstm", "trials": 2, "space": {"learning_rate": {"loguniform": [0.01, 0.1]}}}},
}
AUC = "validation_auc"


def tree(folder):
    """Content of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def sweep():
    return Sweep.model_validate_json(json.dumps(SWEEP))


@pytest.fixture
def run(tmp_path, sweep):
    return Run.create(tmp_path / "runs" / "mine", sweep, "3f9a")


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal.jsonl")


# The journal


def test_events_are_read_as_they_were_written(journal):
    written = [journal.append("attempt", trial="lstm-0000", attempt=1), journal.append("scoring", what="3 leaders")]
    assert list(journal) == written
    assert written[1]["event"] == "scoring"
    assert journal.path.read_bytes().count(b"\n") == 2


def test_numpy_numbers_become_plain_ones(journal):
    journal.append("result", epoch=np.int64(3), auc=np.float32(0.5), collapsed=np.bool_(True))
    (read,) = journal
    assert (read["epoch"], read["auc"], read["collapsed"]) == (3, 0.5, True)


def test_what_is_no_number_is_never_written(journal):
    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.append("result", auc=float("nan"))
    with pytest.raises(TypeError, match="set cannot be written to a journal"):
        journal.append("result", auc={1})
    assert not journal.path.exists()


@pytest.mark.parametrize("torn", [b'{"time":3,"event":"fin', b'{"time":3,"event":"finish"}'])
def test_a_last_line_without_its_end_is_ignored(journal, torn):
    journal.append("scoring", what="3 leaders")
    with journal.path.open("ab") as file:
        file.write(torn)
    assert [each["event"] for each in journal] == ["scoring"]


def test_a_damaged_line_in_the_middle_is_named(journal):
    journal.append("scoring", what="3 leaders")
    with journal.path.open("ab") as file:
        file.write(b"\0\0\0\n")
    journal.append("finish", status="finished")
    with pytest.raises(RunError, match=r"journal\.jsonl is damaged at line 2: "):
        list(journal)


# The fold


class Told:
    """A state to which events are told one by one."""

    def __init__(self):
        self.state = RunState()
        self.now_s = 100.0

    def __call__(self, event, **fields):
        self.now_s += 1
        self.state.apply({"time": self.now_s, "event": event, **fields})

    def trial(self, number):
        config = TrialConfig(id=f"lstm-{number:04d}", family="lstm", number=number, seed=0, settings=LstmSettings())
        self("trial", config=config.model_dump(mode="json"))

    def result(self, trial, epoch, auc, collapsed=False):
        self("result", trial=trial, epoch=epoch, best_epoch=epoch, collapsed=collapsed, **{AUC: auc})

    def ends(self):
        return {name: (trial.status, trial.reason) for name, trial in self.state.trials.items()}


@pytest.fixture
def tell():
    told = Told()
    told("sweep", name="mine", cpus=2)
    told("baseline", name="persistence", scores={"auc": 0.85})
    told.trial(0)
    told.trial(1)
    return told


def test_a_sweep_that_begins_has_facts_baselines_and_waiting_trials(tell):
    state = tell.state
    assert state.status == "starting"
    assert (state.started_s, state.updated_s) == (101.0, 104.0)
    assert state.facts["cpus"] == 2
    assert state.baselines == {"persistence": {"auc": 0.85}}
    assert tell.ends() == {"lstm-0000": ("waiting", ""), "lstm-0001": ("waiting", "")}
    assert state.trials["lstm-0000"].best(AUC) is None
    assert state.ranked(AUC) == []


def test_trials_run_are_decided_and_end(tell):
    tell("attempt", trial="lstm-0000", attempt=1)
    assert (tell.state.status, tell.ends()["lstm-0000"]) == ("running", ("running", ""))
    tell.result("lstm-0000", 1, 0.7)
    tell("decision", trial="lstm-0000", rung=1, action="continue")
    tell.result("lstm-0000", 2, 0.6, collapsed=True)
    tell("attempt", trial="lstm-0001", attempt=1)
    tell.result("lstm-0001", 1, 0.8)
    tell("decision", trial="lstm-0001", rung=1, action="stop")
    tell("end", trial="lstm-0001", status="stopped", reason="stopped at rung 1")
    first, second = tell.state.trials.values()
    assert (first.epochs, first.best(AUC), first.collapsed) == (2, 0.7, True)
    assert (second.epochs, second.best(AUC), second.collapsed) == (1, 0.8, False)
    assert tell.ends() == {"lstm-0000": ("running", ""), "lstm-0001": ("stopped", "stopped at rung 1")}
    assert tell.state.rungs == {"lstm": {1: 2}}
    assert [trial.config.id for trial in tell.state.ranked(AUC)] == ["lstm-0001", "lstm-0000"]
    assert [trial.config.id for trial in tell.state.unfinished()] == ["lstm-0000"]


def test_equal_trials_are_ranked_in_the_order_of_their_ids(tell):
    tell.result("lstm-0001", 1, 0.8)
    tell.result("lstm-0000", 1, 0.8)
    assert [trial.config.id for trial in tell.state.ranked(AUC)] == ["lstm-0000", "lstm-0001"]


def test_an_epoch_that_was_run_twice_keeps_its_first_result(tell):
    tell.result("lstm-0000", 1, 0.7)
    tell("lost", trial="lstm-0000", reason="its process died")
    assert tell.ends()["lstm-0000"] == ("waiting", "")
    tell("attempt", trial="lstm-0000", attempt=2)
    tell.result("lstm-0000", 1, 0.9)
    assert tell.state.trials["lstm-0000"].best(AUC) == 0.7
    assert tell.state.trials["lstm-0000"].epochs == 1


def test_a_failed_trial_keeps_its_reason_and_is_not_ranked(tell):
    tell("end", trial="lstm-0001", status="failed", reason="RuntimeError: no", traceback="Traceback …")
    assert tell.ends()["lstm-0001"] == ("failed", "RuntimeError: no")
    assert tell.state.trials["lstm-0001"].traceback == "Traceback …"
    assert tell.state.last == "lstm-0001 failed: RuntimeError: no"
    assert tell.state.ranked(AUC) == []


def test_the_end_of_a_run_is_told(tell):
    tell("scoring", what="2 leaders")
    assert (tell.state.status, tell.state.last) == ("scoring", "scoring 2 leaders")
    tell("finish", status="interrupted", reason="stopped by the user")
    assert (tell.state.status, tell.state.last) == ("interrupted", "stopped by the user")


def test_events_of_a_later_version_are_passed_over(tell):
    before = tell.ends()
    tell("moved", trial="lstm-0000", to="another planet")
    assert tell.ends() == before
    assert tell.state.updated_s == tell.now_s


# The directory


def test_a_new_run_holds_its_resolved_sweep_and_where_it_came_from(run, sweep):
    resolved, provenance = run.resolved()
    assert resolved == sweep
    assert provenance["fingerprint"] == "3f9a"
    assert set(provenance) == {"fishray", "python", "packages", "fingerprint"}
    text = (run.path / "sweep.yaml").read_text()
    assert "reduction_factor: 3" in text  # a default, written out
    assert "look_back: 120" in text
    assert run.path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("kind", ["run", "empty folder", "file"])
def test_whatever_is_there_already_is_refused_and_stays_byte_equal(tmp_path, sweep, kind):
    path = tmp_path / "mine"
    if kind == "run":
        Run.create(path, sweep, "3f9a").journal.append("sweep", name="mine")
    elif kind == "file":
        path.write_text("notes")
    else:
        path.mkdir()
    before = tree(tmp_path)
    with pytest.raises(RunError, match=r"a run is already at .*mine; see it: fishray report .*: --set name=mine-2"):
        Run.create(path, sweep, "other")
    assert tree(tmp_path) == before


def test_a_run_that_is_not_there_says_how_to_make_one(tmp_path):
    with pytest.raises(RunError, match=r"no run at .*nothing; make one: fishray tune"):
        Run.open(tmp_path / "nothing")


def test_a_run_without_results_has_no_best_trial(run):
    run.journal.append("sweep", name="mine")
    with pytest.raises(RunError, match=r"no trial of .* has a result yet; see: fishray status"):
        run.best_trial()


def test_an_unknown_trial_is_answered_with_the_nearest(run):
    told = TrialConfig(id="lstm-0000", family="lstm", number=0, seed=0, settings=LstmSettings())
    run.journal.append("trial", config=told.model_dump(mode="json"))
    assert run.trial("lstm-0000").config == told
    with pytest.raises(RunError, match=r"has no trial lstm-000; did you mean lstm-0000\?"):
        run.trial("lstm-000")


# Predictions


def predictions(seed, frames=7):
    rng = np.random.default_rng(seed)
    return Predictions(
        label=rng.integers(0, 2, frames).astype(np.int8),
        recording=("tank-1", "tank-2"),
        recording_index=rng.integers(0, 2, frames).astype(np.int32),
        frame=rng.integers(0, 10**6, frames),
        probability={name: rng.random(frames).astype(np.float32) for name in ("persistence", "lstm-0000")},
    )


def assert_equal(read, written):
    assert read.recording == written.recording
    assert list(read.probability) == list(written.probability)
    for name in ("label", "recording_index", "frame"):
        assert np.array_equal(getattr(read, name), getattr(written, name))
        assert getattr(read, name).dtype == getattr(written, name).dtype
    for name, values in written.probability.items():
        assert np.array_equal(read.probability[name], values)


def test_predictions_are_read_as_they_were_written(run):
    written = {"validation": predictions(0), "test": predictions(1, frames=3)}
    run.write_predictions(written)
    read = run.read_predictions()
    assert list(read) == ["validation", "test"]
    for split, each in written.items():
        assert_equal(read[split], each)


def test_there_are_no_predictions_before_they_are_written(run):
    assert run.read_predictions() == {}


def test_predictions_that_were_cut_off_are_not_there_and_are_replaced(run, monkeypatch):
    def cut_off(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(zarr.Group, "create_array", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run.write_predictions({"test": predictions(0)})
    assert run.read_predictions() == {}
    run.write_predictions({"test": predictions(1)})
    assert_equal(run.read_predictions()["test"], predictions(1))
    assert [path.name for path in run.path.glob("predictions*")] == ["predictions.zarr"]


def test_written_again_they_are_the_later_ones(run):
    run.write_predictions({"validation": predictions(0), "test": predictions(0)})
    run.write_predictions({"validation": predictions(1)})
    read = run.read_predictions()
    assert list(read) == ["validation"]
    assert_equal(read["validation"], predictions(1))


def test_what_ran_when_a_sweep_was_stopped_waits(tmp_path, make_trial):
    journal = Journal(tmp_path / "journal.jsonl")
    trial = make_trial("lstm")
    journal.append("trial", config=trial.model_dump(mode="json"))
    journal.append("attempt", trial=trial.id, attempt=1)
    assert RunState.read(journal).trials[trial.id].status == "running"
    journal.append("finish", status="interrupted", reason="stopped by the user")
    assert RunState.read(journal).trials[trial.id].status == "waiting"
