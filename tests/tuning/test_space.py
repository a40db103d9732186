import numpy as np
import pytest

from fishray.config.sweep import Family, Sweep
from fishray.tuning.space import draw_trial, plan_order

SPACE = {
    "learning_rate": {"loguniform": [0.001, 0.1]},
    "hidden": {"randint": [8, 11]},
    "class_weight": {"uniform": [0.25, 0.75]},
    "cell": {"choice": ["lstm", "gru"]},
}


def drawn(sweep):
    """Every trial in the order of the plan."""
    return [draw_trial(sweep.seed, name, sweep.families[name], number) for name, number in plan_order(sweep)]


def family(trials=20, space=None, **more):
    return Family.model_validate({"model": "lstm", "trials": trials, "space": space or SPACE, **more})


def sweep(**families):
    return Sweep.model_validate({"name": "mine", "data": {"store": "tank.zarr"}, "families": families}, strict=False)


def settings_of(chosen, trials=20, seed=0, name="lstm"):
    return [draw_trial(seed, name, chosen, number).settings for number in range(trials)]


def test_more_trials_change_no_earlier_one():
    few, many = family(trials=3), family(trials=50)
    assert [draw_trial(7, "lstm", few, number) for number in range(3)] == [
        draw_trial(7, "lstm", many, number) for number in range(3)
    ]


def test_another_family_changes_nothing():
    alone = {trial.id: trial for trial in drawn(sweep(lstm=family(trials=4)))}
    beside = {trial.id: trial for trial in drawn(sweep(other=family(trials=9), lstm=family(trials=4)))}
    assert len(alone) == 4
    assert len(beside) == 13
    assert alone.items() <= beside.items()


def test_the_order_of_keys_changes_nothing():
    assert settings_of(family()) == settings_of(family(space=dict(reversed(SPACE.items()))))


def test_one_key_more_changes_no_other_draw():
    more = settings_of(family(space={"dropout": {"uniform": [0, 0.5]}, **SPACE}))
    assert [each.model_copy(update={"dropout": 0.0}) for each in more] == settings_of(family())
    assert len({each.dropout for each in more}) == 20


@pytest.mark.parametrize("change", [{"seed": 1}, {"name": "other"}])
def test_another_seed_or_family_draws_otherwise(change):
    before, after = settings_of(family()), settings_of(family(), **change)
    assert not {each.learning_rate for each in before} & {each.learning_rate for each in after}


def test_every_trial_has_settings_and_a_seed_of_its_own():
    trials = [draw_trial(0, "lstm", family(), number) for number in range(20)]
    assert len({trial.settings.learning_rate for trial in trials}) == 20
    assert len({trial.seed for trial in trials}) == 20
    assert [trial.id for trial in trials[:2]] == ["lstm-0000", "lstm-0001"]


def test_draws_stay_within_bounds_and_reach_all_of_them():
    drawn = settings_of(family(), trials=300)
    assert {each.hidden for each in drawn} == {8, 9, 10, 11}  # the upper bound too
    assert {each.cell for each in drawn} == {"lstm", "gru"}
    assert all(0.25 <= each.class_weight <= 0.75 for each in drawn)
    assert all(0.001 <= each.learning_rate <= 0.1 for each in drawn)


def test_a_loguniform_is_as_often_below_its_geometric_mean_as_above():
    rates = np.array([each.learning_rate for each in settings_of(family(), trials=400)])
    assert np.mean(rates < 0.01) == pytest.approx(0.5, abs=0.1)  # four standard deviations of 400 coins
    assert np.mean(rates < 0.001 * 10**0.5) == pytest.approx(0.25, abs=0.09)


def test_a_uniform_is_as_often_below_its_middle_as_above():
    weights = np.array([each.class_weight for each in settings_of(family(), trials=400)])
    assert np.mean(weights < 0.5) == pytest.approx(0.5, abs=0.1)


def test_fixed_settings_hold_for_every_trial():
    drawn = settings_of(family(fixed={"layers": 2, "steps_per_epoch": 7}))
    assert {(each.layers, each.steps_per_epoch) for each in drawn} == {(2, 7)}


def test_lists_become_the_tuples_of_frozen_settings():
    chosen = Family.model_validate(
        {"model": "convlstm", "trials": 9, "space": {"filters": {"choice": [[4], [8, 16]]}}}, strict=False
    )
    assert {draw_trial(0, "convlstm", chosen, number).settings.filters for number in range(9)} == {(4,), (8, 16)}


def test_families_are_spread_evenly_over_the_plan():
    plan = drawn(sweep(lstm=family(trials=6), other=family(trials=3)))
    assert [trial.family for trial in plan] == ["lstm", "other", "lstm"] * 3
    assert [trial.number for trial in plan if trial.family == "lstm"] == [0, 1, 2, 3, 4, 5]


def test_trials_of_a_family_start_in_the_order_of_their_numbers():
    order = plan_order(sweep(lstm=family(trials=5), other=family(trials=12)))
    for name, count in {"lstm": 5, "other": 12}.items():
        assert [number for each, number in order if each == name] == list(range(count))
    assert len(order) == 17


@pytest.mark.parametrize("name", ["a", "z"])
@pytest.mark.parametrize("trials", [1, 6, 50])
def test_another_family_leaves_the_others_in_their_order(name, trials):
    families = {"lstm": family(trials=6), "other": family(trials=4)}
    before = plan_order(sweep(**families))
    for extended in ({name: family(trials=trials), **families}, {**families, name: family(trials=trials)}):
        assert [each for each in plan_order(sweep(**extended)) if each[0] != name] == before


def test_more_trials_in_proportion_leave_the_earlier_ones_in_their_order():
    before = plan_order(sweep(lstm=family(trials=6), other=family(trials=4)))
    for factor in (2, 3, 10):
        after = plan_order(sweep(lstm=family(trials=6 * factor), other=family(trials=4 * factor)))
        assert after[: len(before)] == before


def test_a_family_that_grows_alone_moves_forward_between_the_others():  # evenly spread and fixed places exclude this
    before = plan_order(sweep(lstm=family(trials=2), other=family(trials=2)))
    after = plan_order(sweep(lstm=family(trials=6), other=family(trials=2)))
    assert before == [("lstm", 0), ("other", 0), ("lstm", 1), ("other", 1)]
    assert [each for each in after if each in before] == [("lstm", 0), ("lstm", 1), ("other", 0), ("other", 1)]
