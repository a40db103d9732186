from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from fishray.config.sweep import SearchSettings
from fishray.tuning.schedulers import Asha


def decide(asha, trial, epoch, value):
    (decision,) = asha.observe(trial, epoch, value)
    return decision


@pytest.mark.parametrize(
    ("settings", "rungs"),
    [
        ({}, [1, 3, 9]),
        ({"max_epochs": 10}, [1, 3, 9, 10]),
        ({"max_epochs": 8}, [1, 3, 8]),
        ({"max_epochs": 20, "grace_epochs": 2, "reduction_factor": 4}, [2, 8, 20]),
        ({"max_epochs": 5, "grace_epochs": 5}, [5]),
        ({"max_epochs": 1}, [1]),
    ],
)
def test_rungs_are_the_grace_epochs_times_powers_of_the_factor_and_the_last_epoch(settings, rungs):
    assert list(Asha("lstm", SearchSettings(**settings)).rungs) == rungs


def test_a_trial_goes_on_where_it_reaches_the_best_third_of_those_before_it():
    asha = Asha("lstm", SearchSettings())
    values = [("a", 0.6), ("b", 0.9), ("c", 0.79), ("d", 0.8), ("e", 0.9)]
    decisions = [decide(asha, trial, 1, value) for trial, value in values]
    # the 2/3 quantiles of (0.6), (0.6, 0.9), (0.6, 0.79, 0.9), (0.6, 0.79, 0.8, 0.9)
    assert [decision.needed for decision in decisions] == [None, *map(pytest.approx, (0.6, 0.8, 0.79 + 0.11 / 3, 0.8))]
    assert [decision.action for decision in decisions] == ["continue", "continue", "stop", "stop", "continue"]


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
    epochs, ended = {}, []
    for trial, value in results:
        if trial in ended:
            continue
        if trial not in epochs:
            theirs.on_trial_add(None, SimpleNamespace(trial_id=trial))
        epochs[trial] = epochs.get(trial, 0) + 1
        result = {"epoch": epochs[trial], "value": value}
        expected = theirs.on_trial_result(None, SimpleNamespace(trial_id=trial), result)
        stopped = [decision.action in ("stop", "finish") for decision in ours.observe(trial, epochs[trial], value)]
        assert any(stopped) == (expected == TrialScheduler.STOP)
        ended += [trial] * any(stopped)


def test_nothing_is_decided_between_rungs_or_before_the_first():
    asha = Asha("lstm", SearchSettings(grace_epochs=2, max_epochs=18))
    decided = {epoch: bool(asha.observe("a", epoch, 0.5)) for epoch in range(1, 19)}
    assert [epoch for epoch in decided if decided[epoch]] == [2, 6, 18]


def test_the_value_of_a_trial_that_failed_stays_at_its_rung():
    asha = Asha("lstm", SearchSettings())
    decide(asha, "a", 1, 0.9)
    assert asha.drop("a") == []
    assert decide(asha, "b", 1, 0.8).action == "stop"


def extended(asha, search, max_epochs):
    return asha.extend(search.model_copy(update={"max_epochs": max_epochs}))


def test_where_the_last_epoch_stays_a_rung_each_is_judged_by_those_that_came_before_it():
    search = SearchSettings(max_epochs=3)
    asha = Asha("lstm", search)
    for trial, value in (("a", 0.6), ("b", 0.5), ("c", 0.9), ("d", 0.71)):
        assert decide(asha, trial, 3, value).action == "finish"
    asha.drop("c")
    decisions = extended(asha, search, 9)
    # the 2/3 quantiles of (0.6) and (0.5, 0.6, 0.9), of which c failed later; it gets no decision
    assert [(each.trial, each.rung, each.action, each.needed) for each in decisions] == [
        ("a", 3, "continue", None), ("b", 3, "stop", 0.6), ("d", 3, "continue", pytest.approx(0.7)),
    ]  # fmt: skip


def test_where_the_last_epoch_is_a_rung_no_more_all_go_on():
    search = SearchSettings(max_epochs=4)
    asha = Asha("lstm", search)
    for trial, value in (("a", 0.6), ("b", 0.5), ("c", 0.4)):
        decide(asha, trial, 4, value)
    asha.drop("a")
    decisions = extended(asha, search, 9)
    assert [(each.trial, each.rung, each.action, each.needed) for each in decisions] == [
        ("b", 4, "continue", None), ("c", 4, "continue", None),
    ]  # fmt: skip
    assert asha.rungs == {1: {}, 3: {}, 9: {}}
    assert decide(asha, "b", 9, 0.5).action == "finish"


@given(
    grace=st.integers(1, 3),
    factor=st.integers(2, 3),
    more=st.tuples(st.integers(0, 8), st.integers(1, 10)),
    curves=st.lists(st.lists(st.integers(0, 8), min_size=21, max_size=21), max_size=8),
)
def test_an_extended_search_decides_as_one_that_was_long_from_the_start(grace, factor, more, curves):
    short = SearchSettings(grace_epochs=grace, reduction_factor=factor, max_epochs=grace + more[0])
    long = short.model_copy(update={"max_epochs": grace + sum(more)})

    def run(asha, trial, epoch):
        """One trial to its end, from an epoch on; its last decision."""
        while True:
            for decision in asha.observe(str(trial), epoch, curves[trial][epoch - 1] / 8):
                if decision.action in ("stop", "finish"):
                    return decision
            epoch += 1

    straight, grown = Asha("lstm", long), Asha("lstm", short)
    expected = {str(trial): run(straight, trial, 1) for trial in range(len(curves))}
    ends = {str(trial): run(grown, trial, 1) for trial in range(len(curves))}
    for decision in grown.extend(long):
        goes_on = decision.action == "continue"
        ends[decision.trial] = run(grown, int(decision.trial), decision.rung + 1) if goes_on else decision
    assert (ends, grown.rungs) == (expected, straight.rungs)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.integers(2, 6))
def test_what_was_needed_is_numpys_quantile_to_the_last_bit(values, factor):
    asha = Asha("lstm", SearchSettings(reduction_factor=factor))
    for number, value in enumerate(values):
        asha.observe(f"lstm-{number:04d}", 1, value)
    (decision,) = asha.observe("lstm-9999", 1, 0.5)
    assert decision.needed == np.quantile(values, 1 - 1 / factor)
