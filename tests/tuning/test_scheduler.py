from dataclasses import asdict
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from fishray.config.sweep import SearchSettings
from fishray.runs import Journal
from fishray.tuning.recorder import Recorder
from fishray.tuning.scheduler import RESULT_FIELDS, Asha, FamilyScheduler

AUC = "validation_auc"


@pytest.mark.parametrize(
    ("settings", "rungs"),
    [
        ({}, [1, 3, 9]),
        ({"max_epochs": 10}, [1, 3, 9, 10]),
        ({"max_epochs": 8}, [1, 3, 8]),
        ({"max_epochs": 20, "grace_epochs": 2, "reduction_factor": 4}, [2, 8, 20]),
        ({"max_epochs": 5, "grace_epochs": 5}, [5]),
        ({"max_epochs": 1}, [1]),
        ({"max_epochs": 9, "scheduler": "none"}, [9]),
    ],
)
def test_rungs_are_the_grace_epochs_times_powers_of_the_factor_and_the_last_epoch(settings, rungs):
    assert SearchSettings(**settings).rungs == rungs


def test_a_trial_goes_on_where_it_reaches_the_best_third_of_those_before_it():
    asha = Asha("lstm", SearchSettings())
    values = [("a", 0.6), ("b", 0.9), ("c", 0.79), ("d", 0.8), ("e", 0.9)]
    decisions = [asha.decide(trial, 1, value) for trial, value in values]
    # the 2/3 quantiles of (0.6), (0.6, 0.9), (0.6, 0.79, 0.9), (0.6, 0.79, 0.8, 0.9)
    assert [decision.needed for decision in decisions] == [None, *map(pytest.approx, (0.6, 0.8, 0.79 + 0.11 / 3, 0.8))]
    assert [decision.action for decision in decisions] == ["continue", "continue", "stop", "stop", "continue"]


def test_reasons_say_what_was_reached_and_what_was_needed():
    asha = Asha("lstm", SearchSettings())
    asha.decide("a", 1, 0.8464)
    assert asha.decide("b", 1, 0.8116).reason == "stopped at rung 1 (0.812, needed 0.846)"
    assert asha.decide("a", 9, 0.9).reason == "ran all 9 epochs"


@st.composite
def races(draw):
    """Settings, and results of trials in a random order; each trial's epochs are in order."""
    grace, factor = draw(st.integers(1, 3)), draw(st.integers(2, 4))
    search = SearchSettings(grace_epochs=grace, reduction_factor=factor, max_epochs=grace + draw(st.integers(0, 12)))
    trials = draw(st.integers(1, 8))
    order = draw(st.lists(st.integers(0, trials - 1), max_size=trials * search.max_epochs))
    # few different values, so that trials tie
    values = draw(st.lists(st.integers(0, 8), min_size=len(order), max_size=len(order)))
    return search, [(str(trial), value / 8) for trial, value in zip(order, values, strict=True)]


@given(races())
def test_it_decides_as_rays_own_asha_does(race):
    search, results = race
    theirs = AsyncHyperBandScheduler(
        time_attr="epoch", metric="value", mode="max", max_t=search.max_epochs, grace_period=search.grace_epochs,
        reduction_factor=search.reduction_factor,
    )  # fmt: skip
    ours = Asha("lstm", search)
    epochs = {}
    for trial, value in results:
        if trial not in epochs:
            theirs.on_trial_add(None, fake_trial(trial))
        epoch = epochs.get(trial, 0) + 1
        if epoch > search.max_epochs or epoch <= 0:
            continue  # it has ended
        expected = theirs.on_trial_result(None, fake_trial(trial), {"epoch": epoch, "value": value})
        decision = ours.decide(trial, epoch, value)
        stopped = decision is not None and decision.action != "continue"
        assert stopped == (expected == TrialScheduler.STOP)
        epochs[trial] = -1000 if stopped else epoch


def fake_trial(name):
    return SimpleNamespace(trial_id=name)


def test_nothing_is_decided_between_rungs_or_before_the_first():
    asha = Asha("lstm", SearchSettings(grace_epochs=2, max_epochs=18))
    assert asha.decide("a", 1, 0.5) is None
    assert asha.decide("a", 2, 0.5).rung == 2
    assert [asha.decide("a", epoch, 0.5) for epoch in (3, 4, 5)] == [None] * 3
    assert asha.decide("a", 6, 0.5).rung == 6


def test_a_rung_is_passed_once():
    asha = Asha("lstm", SearchSettings())
    asha.decide("a", 1, 0.9)
    asha.decide("b", 1, 0.95)
    assert asha.decide("a", 1, 0.1) is None  # an epoch that was run twice
    assert asha.rungs[1] == {"a": 0.9, "b": 0.95}


def test_a_result_that_was_lost_at_a_rung_is_made_up_for_by_the_next():
    asha = Asha("lstm", SearchSettings())
    asha.decide("a", 1, 0.9)
    late = asha.decide("b", 2, 0.5)
    assert (late.rung, late.action) == (1, "stop")


def test_a_trial_ends_even_if_its_last_epoch_was_lost():
    asha = Asha("lstm", SearchSettings(max_epochs=9))
    assert asha.decide("a", 10, 0.9).action == "finish"


def test_without_a_scheduler_only_the_last_epoch_ends_a_trial():
    asha = Asha("lstm", SearchSettings(max_epochs=3, scheduler="none"))
    for trial, value in (("a", 0.9), ("b", 0.1)):
        assert [asha.decide(trial, epoch, value) for epoch in (1, 2)] == [None, None]
        assert asha.decide(trial, 3, value).action == "finish"


@pytest.fixture
def scheduler(tmp_path):
    record = Recorder(Journal(tmp_path / "journal.jsonl"), lambda _: None)
    return FamilyScheduler(SearchSettings(max_epochs=3), ["lstm", "convlstm"], record)


def journal(tmp_path):
    return [
        {key: value for key, value in each.items() if key != "time"} for each in Journal(tmp_path / "journal.jsonl")
    ]


def trial(name, **more):
    family, number = name.rsplit("-", 1)
    config = {"run": "", "trial": {"id": name, "family": family, "number": int(number)}, "cpus": 1, "gpus": 0.25}
    return SimpleNamespace(config=config, **more)


def result(epoch, value):
    return dict.fromkeys(RESULT_FIELDS, 0) | {"epoch": epoch, AUC: value, "time_total_s": 1.0}


def test_families_never_compete(scheduler):
    assert scheduler.on_trial_result(None, trial("lstm-0000"), result(1, 0.9)) == TrialScheduler.CONTINUE
    assert scheduler.on_trial_result(None, trial("convlstm-0000"), result(1, 0.1)) == TrialScheduler.CONTINUE
    assert scheduler.on_trial_result(None, trial("convlstm-0001"), result(1, 0.05)) == TrialScheduler.STOP


def test_every_result_and_decision_is_in_the_journal_and_rebuilds_the_rungs(scheduler, tmp_path):
    for name, epoch, value in (
        ("lstm-0000", 1, 0.9),
        ("lstm-0000", 2, 0.8),
        ("lstm-0001", 1, 0.5),
        ("lstm-0000", 3, 0.7),
    ):
        scheduler.on_trial_result(None, trial(name), result(epoch, value))
    events = journal(tmp_path)
    assert [(each["event"], each["trial"]) for each in events] == [
        ("result", "lstm-0000"), ("decision", "lstm-0000"),
        ("result", "lstm-0000"),
        ("result", "lstm-0001"), ("decision", "lstm-0001"), ("end", "lstm-0001"),
        ("result", "lstm-0000"), ("decision", "lstm-0000"), ("end", "lstm-0000"),
    ]  # fmt: skip
    assert (events[0]["epoch"], events[0][AUC], events[0]["gpus"]) == (1, 0.9, 0.25)
    rebuilt = Asha("lstm", SearchSettings(max_epochs=3))
    again = [rebuilt.decide(each["trial"], each["epoch"], each[AUC]) for each in events if each["event"] == "result"]
    assert [asdict(decision) for decision in again if decision] == [
        {key: value for key, value in each.items() if key != "event"} for each in events if each["event"] == "decision"
    ]


def test_an_epoch_reported_twice_is_written_down_but_decided_once(scheduler, tmp_path):
    for value in (0.9, 0.8):
        assert scheduler.on_trial_result(None, trial("lstm-0000"), result(1, value)) == TrialScheduler.CONTINUE
    assert [each["event"] for each in journal(tmp_path)] == ["result", "decision", "result"]


def test_a_trial_that_raised_ends_with_its_traceback(scheduler, tmp_path):
    raised = {"failed": "ValueError: no", "traceback": "Traceback (most recent call last)\nValueError: no"}
    assert scheduler.on_trial_result(None, trial("lstm-0000"), raised) == TrialScheduler.STOP
    assert journal(tmp_path) == [
        {"event": "end", "trial": "lstm-0000", "status": "failed", "reason": "ValueError: no",
         "traceback": raised["traceback"]}
    ]  # fmt: skip
