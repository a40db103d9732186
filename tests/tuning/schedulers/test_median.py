from collections import namedtuple
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.tune.schedulers import MedianStoppingRule, TrialScheduler

from fishray.config.sweep import SearchSettings
from fishray.config.trial import LstmSettings, TrialConfig
from fishray.tuning.schedulers import MedianStopping

RayTrial = namedtuple("RayTrial", "trial_id")


def median_stopping(trials, **search):
    scheduler = MedianStopping("lstm", SearchSettings(scheduler="median", **search))
    for number, trial in enumerate(trials):
        scheduler.add(TrialConfig(id=trial, family="lstm", number=number, seed=0, settings=LstmSettings()))
    return scheduler


def run(scheduler, trial, values):
    """All decisions on a trial that has these values from its first epoch on."""
    return [each for epoch, value in enumerate(values, start=1) for each in scheduler.observe(trial, epoch, value)]


def test_a_trial_stops_whose_best_value_is_below_the_median_of_the_others_means():
    scheduler = median_stopping("abcd", max_epochs=9)
    for trial, values in (("a", [0.6, 0.8]), ("b", [0.5, 0.7]), ("c", [0.9, 0.9])):
        run(scheduler, trial, values)
    decisions = run(scheduler, "d", [0.65, 0.6])
    # at epoch 1 the median of 0.6, 0.5 and 0.9, at epoch 2 of 0.7, 0.6 and 0.9; the best of d is 0.65 at both
    assert [(each.rung, each.action, each.value) for each in decisions] == [(1, "continue", 0.65), (2, "stop", 0.65)]
    assert [each.needed for each in decisions] == [0.6, pytest.approx(0.7)]
    assert decisions[-1].reason == "stopped at epoch 2 (0.650, median of the others 0.700)"


def test_a_value_equal_to_the_median_is_enough():
    scheduler = median_stopping("abcd")
    assert [each.action for trial in "abcd" for each in run(scheduler, trial, [0.5])] == ["continue"] * 4


def test_two_others_are_too_few_to_stop_a_trial():
    scheduler = median_stopping("abcd")
    decisions = [
        each
        for trial, value in zip("abcd", (0.9, 0.8, 0.1, 0.1), strict=True)
        for each in run(scheduler, trial, [value])
    ]
    assert [(each.action, each.needed) for each in decisions] == [
        ("continue", None), ("continue", None), ("continue", None), ("stop", 0.8),
    ]  # fmt: skip


def test_others_that_have_not_come_as_far_do_not_count():
    scheduler = median_stopping("abcd")
    for trial, values in (("a", [0.9, 0.9]), ("b", [0.9, 0.9]), ("c", [0.1])):
        run(scheduler, trial, values)
    assert [each.needed for each in run(scheduler, "d", [0.9, 0.9])] == [0.9, None]


def test_a_trial_that_failed_is_compared_with_no_more():
    scheduler = median_stopping("abcde")
    for trial in "abcd":
        run(scheduler, trial, [0.9])
    assert scheduler.drop("a") == scheduler.drop("b") == []
    assert [each.needed for each in run(scheduler, "e", [0.1])] == [None]


def test_it_decides_from_the_grace_epochs_on_and_before_the_last():
    scheduler = median_stopping("a", grace_epochs=2, max_epochs=4)
    decisions = run(scheduler, "a", [0.5, 0.6, 0.7, 0.4])
    assert [(each.rung, each.action, each.value) for each in decisions] == [
        (2, "continue", 0.6), (3, "continue", 0.7), (4, "finish", 0.7),
    ]  # fmt: skip


@given(
    trials=st.integers(1, 8),
    results=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 8)), max_size=80),  # few values, so that trials tie
)
def test_with_no_grace_it_decides_as_rays_own_median_stopping_does(trials, results):
    theirs = MedianStoppingRule(time_attr="epoch", metric="value", mode="max", grace_period=1, min_samples_required=3)
    nobody_waits = SimpleNamespace(get_live_trials=lambda: [])
    names = [str(number) for number in range(trials)]
    ours = median_stopping(names, max_epochs=1000)
    epochs, stopped = dict.fromkeys(names, 0), []
    for number, value in results:
        trial = str(number % trials)
        if trial in stopped:
            continue
        epochs[trial] += 1
        expected = theirs.on_trial_result(nobody_waits, RayTrial(trial), {"epoch": epochs[trial], "value": value / 8})
        (decision,) = ours.observe(trial, epochs[trial], value / 8)
        assert (decision.action == "stop") == (expected == TrialScheduler.STOP)
        stopped += [trial] * (decision.action == "stop")


def test_an_extended_search_judges_each_by_those_that_had_finished_before_it():
    scheduler = median_stopping("abcde", max_epochs=2, grace_epochs=2)
    for trial, values in (
        ("a", [0.1, 0.1]),
        ("b", [0.8, 0.8]),
        ("c", [0.7, 0.9]),
        ("d", [0.6, 0.5]),
        ("e", [0.9, 0.9]),
    ):
        assert [each.action for each in run(scheduler, trial, values)] == ["finish"]
    scheduler.drop("a")
    decisions = scheduler.extend(SearchSettings(scheduler="median", max_epochs=4, grace_epochs=2))
    # the means of b, c and d up to epoch 2 are 0.8, 0.8 and 0.55
    assert [(each.trial, each.rung, each.action, each.value, each.needed) for each in decisions] == [
        ("b", 2, "continue", 0.8, None), ("c", 2, "continue", 0.9, None), ("d", 2, "continue", 0.6, None),
        ("e", 2, "continue", 0.9, 0.8),
    ]  # fmt: skip


@given(
    more=st.tuples(st.integers(0, 4), st.integers(1, 5)),
    curves=st.lists(st.lists(st.integers(0, 8), min_size=11, max_size=11), max_size=8),
)
def test_an_extended_search_decides_as_one_that_was_long_from_the_start(more, curves):
    names = [str(number) for number in range(len(curves))]
    short, long = ({"grace_epochs": 2, "max_epochs": 2 + epochs} for epochs in (more[0], sum(more)))

    def finish(scheduler, trial, epoch):
        while True:
            for decision in scheduler.observe(trial, epoch, curves[int(trial)][epoch - 1] / 8):
                if decision.action in ("stop", "finish"):
                    return decision
            epoch += 1

    straight, grown = median_stopping(names, **long), median_stopping(names, **short)
    expected = {trial: finish(straight, trial, 1) for trial in names}
    ends = {trial: finish(grown, trial, 1) for trial in names}
    for decision in grown.extend(SearchSettings(scheduler="median", **long)):
        goes_on = decision.action == "continue"
        ends[decision.trial] = finish(grown, decision.trial, decision.rung + 1) if goes_on else decision
    assert ends == expected
