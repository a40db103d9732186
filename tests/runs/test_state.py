"""The journal, folded."""

import pytest

from fishray.config.trial import LstmSettings, TrialConfig
from fishray.runs import Journal, RunState

AUC = "validation_auc"


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


def test_only_deaths_that_count_are_counted(tell):
    for counts in (True, False, True):
        tell("lost", trial="lstm-0000", reason="its process died", counts=counts)
    assert tell.state.trials["lstm-0000"].deaths == 2


def test_a_trial_that_took_over_weights_counts_from_there_with_its_new_settings(tell):
    for trial in ("lstm-0000", "lstm-0001"):
        tell("attempt", trial=trial, attempt=1)
        tell.result(trial, 1, 0.9)
    tell("decision", trial="lstm-0000", rung=1, action="wait")
    held = tell.state.trials["lstm-0000"]
    assert (held.status, held.held) == ("waiting", True)
    settings = LstmSettings(hidden=5).model_dump(mode="json")
    tell("decision", trial="lstm-0000", rung=1, action="exploit", donor="lstm-0001", settings=settings)
    assert (held.status, held.held, held.since, held.donor) == ("waiting", False, 1, ("lstm-0001", 1))
    assert held.config.settings == LstmSettings(hidden=5)
    assert held.best(AUC) is None
    tell("attempt", trial="lstm-0000", attempt=2)
    tell.result("lstm-0000", 2, 0.4)
    assert (held.best(AUC), held.best_epoch, held.donor) == (0.4, 2, None)


@pytest.mark.parametrize("before", ["finished", "stopped"])
def test_a_trial_that_has_ended_and_goes_on_waits_for_a_place(tell, before):
    tell("end", trial="lstm-0000", status=before, reason="ran all 3 epochs")
    tell("decision", trial="lstm-0000", rung=3, action="continue")
    assert tell.ends()["lstm-0000"] == ("waiting", "")


@pytest.mark.parametrize("status", ["starting", "running", "stopping", "scoring"])
def test_a_run_without_its_process_has_died_unless_its_journal_says_otherwise(tell, status):
    tell("attempt", trial="lstm-0000", attempt=1)
    tell.state.status = status
    tell.state.mark_dead()
    assert tell.state.status == "died"
    assert tell.ends()["lstm-0000"] == ("waiting", "")


@pytest.mark.parametrize("status", ["finished", "interrupted", "failed"])
def test_a_run_that_ended_has_not_died(tell, status):
    tell("finish", status=status)
    tell.state.mark_dead()
    assert tell.state.status == status


def test_the_time_between_two_drivers_does_not_count(tell):
    tell("finish", status="interrupted")  # 105: it ran for 4 s
    tell.now_s = 1000.0
    tell("sweep", name="mine")
    assert (tell.state.session_s, tell.state.started_s) == (1001.0, 997.0)


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


def test_what_ran_when_a_sweep_was_stopped_waits(tmp_path, make_trial):
    journal = Journal(tmp_path / "journal.jsonl")
    trial = make_trial("lstm")
    journal.append("trial", config=trial.model_dump(mode="json"))
    journal.append("attempt", trial=trial.id, attempt=1)
    assert RunState.read(journal).trials[trial.id].status == "running"
    journal.append("finish", status="interrupted", reason="stopped by the user")
    assert RunState.read(journal).trials[trial.id].status == "waiting"
