import json
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fishray.config.space import Distribution
from fishray.config.sweep import Family, SearchSettings
from fishray.config.trial import MODELS, ConvLstmSettings, LstmSettings, TrialConfig
from fishray.predictors.network import build_network
from fishray.tuning.schedulers import PopulationBasedTraining
from fishray.tuning.schedulers.pbt import CHANGEABLE, perturb

SPACE = {
    "learning_rate": {"loguniform": [0.0001, 0.1]},
    "batch_size": {"randint": [2, 16]},
    "hidden": {"choice": [8, 16, 32]},
    "augment": {"choice": ["none", "noise"]},
}


def pbt(max_epochs=6, grace_epochs=2, space=SPACE, seed=0):
    family = Family.model_validate_json(json.dumps({"model": "lstm", "trials": 8, "space": space}))
    search = SearchSettings(scheduler="pbt", max_epochs=max_epochs, grace_epochs=grace_epochs)
    return PopulationBasedTraining("lstm", search, family, seed)


def add(scheduler, numbers, **settings):
    """Trials called by their numbers."""
    for number in numbers:
        given = LstmSettings(**{"learning_rate": 0.01, "batch_size": 8} | settings)
        scheduler.add(TrialConfig(id=str(number), family="lstm", number=number, seed=0, settings=given))


def longer(scheduler, max_epochs, grace_epochs=2):
    return scheduler.extend(SearchSettings(scheduler="pbt", max_epochs=max_epochs, grace_epochs=grace_epochs))


def summary(decisions):
    return [(each.trial, each.rung, each.action) for each in decisions]


def exchange(scheduler, values, epoch=2):
    """What the last one to come brings about, where the trials come in the order of their numbers."""
    decisions = []
    for trial, value in values.items():
        decisions = scheduler.observe(trial, epoch, value)
    return decisions


def test_trials_wait_for_each_other_and_the_worst_goes_on_with_the_best_ones_weights():
    scheduler = pbt()
    add(scheduler, range(4))
    for trial in "0123":
        assert scheduler.observe(trial, 1, 0.5) == []
    for trial, value in (("3", 0.8), ("1", 0.6), ("0", 0.9)):
        assert summary(scheduler.observe(trial, 2, value)) == [(trial, 2, "wait")]
    decisions = scheduler.observe("2", 2, 0.7)
    # a quarter of four: one exploits, one is taken
    assert summary(decisions) == [("0", 2, "continue"), ("1", 2, "exploit"), ("2", 2, "continue"), ("3", 2, "continue")]
    assert [(each.value, each.needed) for each in decisions] == [(0.9, 0.6), (0.6, 0.7), (0.7, 0.6), (0.8, 0.6)]
    assert [each.donor for each in decisions] == [None, "0", None, None]
    assert decisions[1].reason == "took over 0 at epoch 2 (0.600, needed 0.700)"


@pytest.mark.parametrize(
    ("values", "exploiting"),
    [
        ([0.1], []),
        ([0.1, 0.2], ["0"]),
        ([0.3, 0.2, 0.1], ["2"]),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], ["0"]),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], ["0", "1"]),
        ([0.5] * 8, []),  # nothing is better than another
        ([0.1, 0.9, 0.1, 0.9], ["2"]),  # a tie keeps the lower number
    ],
)
def test_a_quarter_exploits_rounded_down_but_one_at_least_where_values_differ(values, exploiting):
    scheduler = pbt()
    add(scheduler, range(len(values)))
    decisions = exchange(scheduler, {str(number): value for number, value in enumerate(values)})
    assert [each.trial for each in decisions if each.action == "exploit"] == exploiting
    assert all((each.needed is None) == (not exploiting) for each in decisions)


def test_needed_is_the_least_value_that_keeps_a_trial_its_weights():
    scheduler = pbt()
    add(scheduler, range(8))
    decisions = exchange(scheduler, {str(number): number / 10 for number in range(8)})
    # two exploit: either of them would have had to leave one more behind, at 0.2; the others are safe above 0.1
    assert [each.needed for each in decisions] == [0.2] * 2 + [0.1] * 6


def test_trials_that_exploit_at_once_draw_apart():
    scheduler = pbt(space={"learning_rate": SPACE["learning_rate"]})
    add(scheduler, range(40))
    decisions = exchange(scheduler, {str(number): number / 100 for number in range(40)})
    taken = [(each.donor, each.settings["learning_rate"]) for each in decisions if each.action == "exploit"]
    assert len(taken) == 10
    assert len({donor for donor, _ in taken}) > 2
    assert len({rate for _, rate in taken}) > 2


def test_the_order_of_a_familys_space_changes_nothing():
    drawn = []
    for space in (SPACE, dict(reversed(SPACE.items()))):
        scheduler = pbt(space=space)
        add(scheduler, range(40))
        drawn.append(exchange(scheduler, {str(number): number / 100 for number in range(40)}))
    assert drawn[0] == drawn[1]


def test_donors_are_drawn_from_the_best_quarter():
    values = {str(number): number / 10 for number in range(8)}
    drawn = []
    for seed in range(20):
        scheduler = pbt(seed=seed)
        add(scheduler, range(8))
        drawn += [each.donor for each in exchange(scheduler, values) if each.donor]
    assert sorted(set(drawn)) == ["6", "7"]


def test_a_trial_goes_on_with_its_donors_settings_of_which_some_are_perturbed():
    scheduler = pbt(max_epochs=22, space={"learning_rate": SPACE["learning_rate"], "hidden": SPACE["hidden"]})
    add(scheduler, [0], hidden=16, dropout=0.3)
    add(scheduler, [1], hidden=32, dropout=0.1)
    rates = []
    for epoch in range(2, 22, 2):
        taken, _ = exchange(scheduler, {"0": 0.5, "1": 0.6}, epoch)
        rates.append(taken.settings["learning_rate"])
        expected = LstmSettings(hidden=32, dropout=0.1, batch_size=8, learning_rate=rates[-1])
        assert taken.settings == expected.model_dump(mode="json")
    assert {0.008, 0.012} < set(rates)  # times 0.8, times 1.2, and some drawn anew


def test_what_a_trial_has_taken_over_is_what_others_take_from_it():
    scheduler = pbt(space={})
    add(scheduler, [0], dropout=0.3)
    add(scheduler, [1], dropout=0.1)
    add(scheduler, [2], dropout=0.2)
    first = exchange(scheduler, {"0": 0.5, "1": 0.6, "2": 0.55})
    assert [each.donor for each in first] == ["1", None, None]
    second = exchange(scheduler, {"0": 0.9, "1": 0.6, "2": 0.5}, 4)
    assert [each.donor for each in second] == [None, None, "0"]
    assert second[2].settings == LstmSettings(learning_rate=0.01, dropout=0.1).model_dump(mode="json")


def test_settings_are_plain_json_whatever_the_model():
    family = Family.model_validate_json(json.dumps({"model": "convlstm", "trials": 2}))
    scheduler = PopulationBasedTraining("frames", SearchSettings(scheduler="pbt", grace_epochs=2), family, 0)
    for number in range(2):
        settings = ConvLstmSettings(filters=(8, 4))
        scheduler.add(TrialConfig(id=str(number), family="frames", number=number, seed=0, settings=settings))
    taken, _ = exchange(scheduler, {"0": 0.1, "1": 0.2})
    assert taken.settings["filters"] == [8, 4]
    assert ConvLstmSettings.model_validate_json(json.dumps(taken.settings)) == ConvLstmSettings(filters=(8, 4))


def test_a_trial_finishes_at_once_at_its_last_epoch():
    scheduler = pbt(max_epochs=2)
    add(scheduler, range(2))
    assert summary(scheduler.observe("0", 2, 0.5)) == [("0", 2, "finish")]


def test_nobody_waits_for_a_trial_that_failed():
    scheduler = pbt()
    add(scheduler, range(3))
    for trial, value in (("0", 0.5), ("1", 0.6)):
        scheduler.observe(trial, 2, value)
    assert summary(scheduler.drop("2")) == [("0", 2, "exploit"), ("1", 2, "continue")]


def test_a_trial_that_failed_while_it_waited_is_nobodys_donor():
    scheduler = pbt()
    add(scheduler, range(3))
    scheduler.observe("0", 2, 0.9)
    assert scheduler.drop("0") == []
    scheduler.observe("1", 2, 0.5)
    decisions = scheduler.observe("2", 2, 0.6)
    assert [(each.trial, each.donor) for each in decisions] == [("1", "2"), ("2", None)]


def test_trials_that_come_later_are_a_cohort_of_their_own():
    scheduler = pbt()
    add(scheduler, range(2))
    scheduler.observe("0", 1, 0.5)
    add(scheduler, range(2, 4))
    assert summary(exchange(scheduler, {"2": 0.1, "3": 0.2})) == [("2", 2, "exploit"), ("3", 2, "continue")]
    assert summary(exchange(scheduler, {"0": 0.9, "1": 0.8})) == [("0", 2, "continue"), ("1", 2, "exploit")]


def test_where_the_last_epoch_becomes_an_exchange_those_that_finished_there_wait():
    scheduler = pbt(max_epochs=4)
    add(scheduler, range(4))
    exchange(scheduler, dict.fromkeys("0123", 0.5))
    for trial, value in (("0", 0.5), ("1", 0.6), ("2", 0.7)):
        scheduler.observe(trial, 4, value)
    scheduler.drop("1")
    assert longer(scheduler, 6) == []
    assert summary(scheduler.observe("3", 4, 0.9)) == [("0", 4, "exploit"), ("2", 4, "continue"), ("3", 4, "continue")]


def test_where_all_had_finished_at_what_becomes_an_exchange_it_takes_place_at_once():
    scheduler = pbt(max_epochs=2)
    add(scheduler, range(2))
    for trial, value in (("1", 0.6), ("0", 0.5)):
        scheduler.observe(trial, 2, value)
    assert summary(longer(scheduler, 4)) == [("0", 2, "exploit"), ("1", 2, "continue")]


def test_where_the_last_epoch_is_between_exchanges_those_that_finished_go_on():
    scheduler = pbt(max_epochs=3)
    add(scheduler, range(2))
    for trial, value in (("1", 0.6), ("0", 0.5)):
        scheduler.observe(trial, 3, value)
    assert summary(longer(scheduler, 5)) == [("1", 3, "continue"), ("0", 3, "continue")]
    assert summary(scheduler.observe("0", 4, 0.5)) == [("0", 4, "wait")]


def test_an_extended_sweep_goes_on_as_one_that_was_long_from_the_start():
    values = {"0": 0.5, "1": 0.7, "2": 0.6}
    grown, straight = pbt(max_epochs=4), pbt(max_epochs=6)
    for scheduler in (grown, straight):
        add(scheduler, range(3))
        exchange(scheduler, values)
    expected = exchange(straight, values, 4)
    exchange(grown, values, 4)
    assert longer(grown, 6) == expected


@given(values=st.lists(st.lists(st.integers(0, 8), min_size=4, max_size=4), min_size=1, max_size=9), order=st.randoms())
def test_the_order_of_the_trials_results_decides_nothing(values, order: random.Random):
    def decisions(choose):
        scheduler, taken = pbt(max_epochs=4, grace_epochs=1), {}
        add(scheduler, range(len(values)))
        epochs, running = [0] * len(values), list(range(len(values)))
        while running:
            number = choose(running)
            running.remove(number)
            epochs[number] += 1
            for each in scheduler.observe(str(number), epochs[number], values[number][epochs[number] - 1] / 8):
                if each.action in ("continue", "exploit"):
                    running.append(int(each.trial))
                if each.action != "wait":
                    taken[each.trial, each.rung] = each
        return taken

    assert decisions(order.choice) == decisions(min)


def seen(value, distribution, draws=200):
    """Every value that a setting becomes, and how often."""
    rng = np.random.default_rng(0)
    values = [perturb(value, distribution, rng) for _ in range(draws)]
    return {each: values.count(each) / draws for each in values}


def test_three_quarters_of_numbers_move_by_a_fifth():
    moved = seen(10.0, Distribution(uniform=(0.0, 100.0)))
    assert moved[8.0] == pytest.approx(0.375, abs=0.1)
    assert moved[12.0] == pytest.approx(0.375, abs=0.1)
    assert len(moved) == pytest.approx(2 + 0.25 * 200, abs=20)


def test_numbers_stop_at_their_bounds():
    moved = seen(10.0, Distribution(uniform=(9.0, 11.0)))
    assert moved[9.0] + moved[11.0] == pytest.approx(0.75, abs=0.1)
    assert min(moved) == 9.0
    assert max(moved) == 11.0


@pytest.mark.parametrize(
    ("value", "bounds", "frequent"),
    [
        (2, (1, 1000), [1, 3]),  # 1.6 and 2.4 would both be 2
        (8, (1, 1000), [6, 10]),  # 6.4 and 9.6
        (1000, (1, 1000), [800, 1000]),
        (1, (1, 1000), [1, 2]),
    ],
)
def test_integers_stay_integers_and_move_by_at_least_one_within_their_bounds(value, bounds, frequent):
    moved = seen(value, Distribution(randint=bounds))
    assert sorted(each for each in moved if moved[each] > 0.2) == frequent
    assert {type(each) for each in moved} == {int}


@pytest.mark.parametrize(
    ("value", "choices", "frequent"),
    [
        ("c", "abcde", ["b", "d"]),
        ("a", "abcde", ["b"]),
        ("e", "abcde", ["d"]),
        ("a", "a", ["a"]),
        ("a", "aab", ["b"]),  # not its own copy
    ],
)
def test_a_choice_becomes_one_beside_it(value, choices, frequent):
    moved = seen(value, Distribution(choice=tuple(choices)))
    assert [each for each in sorted(moved) if moved[each] > 0.25] == frequent


def test_a_value_from_elsewhere_is_drawn_anew_or_comes_within_bounds():
    assert sorted(seen("x", Distribution(choice=("a", "b")))) == ["a", "b"]
    assert max(seen(50.0, Distribution(uniform=(1.0, 2.0)))) == 2.0


WIDE = {
    "augment": {"lstm": {"choice": ["none", "noise"]}, "convlstm": {"choice": ["none", "flips", "affine"]}},
    "batch_size": {"randint": [1, 64]},
    "class_weight": {"uniform": [0, 1]},
    "clip_norm": {"loguniform": [0.1, 10]},
    "dropout": {"uniform": [0, 0.9]},
    "ema_decay": {"choice": [0, 0.9, 0.99]},
    "learning_rate": {"loguniform": [1e-5, 1]},
    "noise": {"uniform": [0.01, 1]},
    "weight_decay": {"uniform": [0, 1]},
}


def test_every_changeable_setting_is_one_of_a_model():
    assert set(CHANGEABLE) == set(WIDE)
    assert all(any(name in model.model_fields for model in MODELS.values()) for name in CHANGEABLE)


EVERY_KIND = {
    "lstm": LstmSettings(layers=2),
    "gru": LstmSettings(cell="gru", ema_decay=0),
    "convlstm": ConvLstmSettings(filters=(4, 2), fuse_speed=True),
    "published": ConvLstmSettings.published(),
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in EVERY_KIND for name in CHANGEABLE if name in type(EVERY_KIND[kind]).model_fields],
)
def test_no_changeable_setting_changes_the_shape_of_a_weight(kind, name):
    settings = EVERY_KIND[kind]
    distribution = Distribution.model_validate_json(json.dumps(WIDE[name].get(settings.model, WIDE[name])))
    rng = np.random.default_rng(0)
    shapes = [weight_shapes(settings)]
    for _ in range(8):
        changed = perturb(getattr(settings, name), distribution, rng)
        shapes.append(weight_shapes(type(settings).model_validate(settings.model_dump() | {name: changed})))
    assert shapes == shapes[:1] * 9


def weight_shapes(settings):
    return {name: weight.shape for name, weight in build_network(settings).state_dict().items()}
