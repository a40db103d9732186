import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fishray.config.sweep import Sweep
from fishray.tuning.schedulers import (
    Asha,
    Decision,
    MedianStopping,
    NoStopping,
    PopulationBasedTraining,
    make_scheduler,
)
from fishray.tuning.space import draw_trial

SCHEDULERS = {"asha": Asha, "median": MedianStopping, "pbt": PopulationBasedTraining, "none": NoStopping}
SPACE = {
    "learning_rate": {"loguniform": [1e-4, 1e-1]},
    "hidden": {"choice": [8, 16]},
    "batch_size": {"randint": [1, 9]},
}


def make_sweep(scheduler, **search):
    families = {"lstm": {"model": "lstm", "trials": 20, "space": SPACE}}
    data = {"name": "some", "data": {"store": "a.zarr"}, "families": families}
    return Sweep.model_validate_json(json.dumps(data | {"search": {"scheduler": scheduler, **search}}))


def draw(sweep, number):
    return draw_trial(sweep.seed, "lstm", sweep.families["lstm"], number)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_sweep_names_its_scheduler(scheduler):
    assert type(make_scheduler(make_sweep(scheduler), "lstm")) is SCHEDULERS[scheduler]


class Run:
    """What a sweep tells its scheduler, and where that leaves its trials."""

    def __init__(self, sweep):
        self.first = self.sweep = sweep
        self.scheduler = make_scheduler(sweep, "lstm")
        self.calls = []
        self.told = []
        self.epochs = {}
        self.state = {}

    def call(self, method, *arguments):
        decisions = getattr(self.scheduler, method)(*arguments) or []
        self.calls.append((method, arguments))
        self.told.append(decisions)
        for decision in decisions:
            assert decision.rung == self.epochs[decision.trial]
            assert self.state[decision.trial] in ("running", "waiting", "finished")
            self.state[decision.trial] = {
                "continue": "running", "exploit": "running", "wait": "waiting", "stop": "stopped",
                "finish": "finished",
            }[decision.action]  # fmt: skip

    def add(self):
        config = draw(self.sweep, len(self.state))
        self.epochs[config.id], self.state[config.id] = 0, "running"
        self.call("add", config)

    def running(self):
        return [trial for trial, state in self.state.items() if state == "running"]

    def observe(self, trial, value):
        self.epochs[trial] += 1
        self.call("observe", trial, self.epochs[trial], value)

    def drop(self, trial):
        self.state[trial] = "failed"
        self.call("drop", trial)

    def extend(self, more):
        search = self.sweep.search
        longer = search.model_copy(update={"max_epochs": search.max_epochs + more})
        self.sweep = self.sweep.model_copy(update={"search": longer})
        self.call("extend", longer)


@st.composite
def runs(draw, scheduler):
    """A sweep from its first to its last result, with trials that fail, that come later, and more epochs."""
    grace = draw(st.integers(1, 3))
    run = Run(make_sweep(scheduler, grace_epochs=grace, max_epochs=grace + draw(st.integers(0, 5))))
    for _ in range(2):
        for _ in range(draw(st.integers(1, 6))):
            run.add()
        for _ in range(draw(st.integers(0, 60))):
            if not (running := run.running()):
                break
            trial = draw(st.sampled_from(running))
            if draw(st.integers(0, 15)) == 0:
                run.drop(trial)
            else:
                run.observe(trial, draw(st.integers(0, 8)) / 8)  # few different values, so that trials tie
        run.extend(draw(st.integers(0, 4)))
    while running := run.running():
        run.observe(running[0], 0.5)
    return run


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@given(data=st.data())
def test_told_the_same_a_fresh_one_decides_the_same(scheduler, data):
    run = data.draw(runs(scheduler))
    again = make_scheduler(run.first, "lstm")
    assert [getattr(again, method)(*arguments) or [] for method, arguments in run.calls] == run.told


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@given(data=st.data())
def test_every_trial_ends_and_none_waits_for_ever(scheduler, data):
    run = data.draw(runs(scheduler))
    assert not {state for state in run.state.values() if state not in ("stopped", "finished", "failed")}
    last = run.sweep.search.max_epochs
    assert all(run.epochs[trial] == last for trial, state in run.state.items() if state == "finished")


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@given(data=st.data())
def test_decisions_come_back_from_json_as_they_were(scheduler, data):
    decisions = [decision for told in data.draw(runs(scheduler)).told for decision in told]
    assert [Decision(**json.loads(json.dumps(asdict(decision)))) for decision in decisions] == decisions


def test_without_a_scheduler_only_the_last_epoch_ends_a_trial():
    scheduler = make_scheduler(make_sweep("none", max_epochs=3), "lstm")
    for trial, value in (("a", 0.9), ("b", 0.1)):
        assert [scheduler.observe(trial, epoch, value) for epoch in (1, 2)] == [[], []]
        (decision,) = scheduler.observe(trial, 3, value)
        assert decision == Decision(trial, "lstm", 3, "finish", value, None, rule="none")


def test_without_a_scheduler_more_epochs_let_every_trial_go_on_that_has_not_failed():
    sweep = make_sweep("none", max_epochs=2)
    scheduler = make_scheduler(sweep, "lstm")
    for trial in "bac":
        scheduler.observe(trial, 2, 0.5)
    scheduler.drop("a")
    decisions = scheduler.extend(sweep.search.model_copy(update={"max_epochs": 4}))
    assert [(each.trial, each.rung, each.action) for each in decisions] == [("b", 2, "continue"), ("c", 2, "continue")]
    assert scheduler.observe("b", 3, 0.5) == []
    assert [each.action for each in scheduler.observe("b", 4, 0.5)] == ["finish"]


@pytest.mark.parametrize("change", [{"max_epochs": 8}, {"grace_epochs": 2}, {"max_epochs": 10, "reduction_factor": 4}])
def test_an_extended_search_is_longer_and_otherwise_the_same(change):
    sweep = make_sweep("asha")
    with pytest.raises(ValueError, match="only max_epochs can change, and only grow"):
        make_scheduler(sweep, "lstm").extend(sweep.search.model_copy(update=change))


def test_nothing_is_decided_where_the_search_is_no_longer_than_before():
    sweep = make_sweep("none", max_epochs=1)
    scheduler = make_scheduler(sweep, "lstm")
    scheduler.observe("a", 1, 0.5)
    assert scheduler.extend(sweep.search) == []
    assert [each.trial for each in scheduler.extend(sweep.search.model_copy(update={"max_epochs": 2}))] == ["a"]


@pytest.mark.parametrize(
    ("decision", "reason"),
    [
        (Decision("a", "lstm", 1, "stop", 0.8116, 0.8464), "stopped at rung 1 (0.812, needed 0.846)"),
        (Decision("a", "lstm", 9, "finish", 0.9, 0.8), "ran all 9 epochs"),
        (Decision("a", "lstm", 3, "continue", 0.9, None), "went on at rung 3 (0.900, nothing to compare with)"),
        (
            Decision("a", "lstm", 4, "stop", 0.7, 0.74, rule="median"),
            "stopped at epoch 4 (0.700, median of the others 0.740)",
        ),
        (Decision("a", "lstm", 2, "wait", 0.7, None, rule="pbt"), "waits at epoch 2 for the others"),
        (
            Decision("a", "lstm", 2, "exploit", 0.7, 0.8, donor="b", settings={}, rule="pbt"),
            "took over b at epoch 2 (0.700, needed 0.800)",
        ),
    ],
)
def test_reasons_say_what_was_reached_and_what_was_needed(decision, reason):
    assert decision.reason == reason
