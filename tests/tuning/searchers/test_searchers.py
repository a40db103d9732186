"""What holds for every searcher."""

import subprocess
import sys

import pytest

from fishray.errors import SettingError
from fishray.tuning.searchers import check_searcher, make_searcher
from fishray.tuning.space import draw_trial, plan_order

OTHER = {"other": {"model": "lstm", "trials": 3, "space": {"hidden": {"randint": [8, 99]}}}}

every_searcher = pytest.mark.parametrize("searcher", ["random", "grid", "tpe"])


def drawn(sweep, numbers=8, family="lstm"):
    searcher = make_searcher(sweep)
    return [searcher.draw(family, number, ()) for number in range(numbers)]


@every_searcher
def test_more_trials_and_another_family_change_no_earlier_trial(make_sweep, searcher):
    few = drawn(make_sweep(searcher, trials=8))
    assert drawn(make_sweep(searcher, trials=24)) == few
    assert drawn(make_sweep(searcher, trials=8, more=OTHER)) == few


@every_searcher
def test_trials_asked_for_in_another_order_are_the_same(make_sweep, searcher):
    sweep = make_sweep(searcher)
    backwards = make_searcher(sweep)
    assert [backwards.draw("lstm", number, ()) for number in reversed(range(8))] == drawn(sweep)[::-1]


@every_searcher
def test_another_seed_or_family_draws_otherwise(make_sweep, searcher):
    before = [trial.settings for trial in drawn(make_sweep(searcher))]
    assert [trial.settings for trial in drawn(make_sweep(searcher, seed=1))] != before
    assert [trial.settings for trial in drawn(make_sweep(searcher, name="other"), family="other")] != before


@every_searcher
def test_a_trial_has_the_id_and_seed_of_a_random_search_and_its_familys_fixed_settings(make_sweep, searcher):
    sweep = make_sweep(searcher, fixed={"dropout": 0.25})
    for number, trial in enumerate(drawn(sweep)):
        plain = draw_trial(sweep.seed, "lstm", sweep.families["lstm"], number)
        assert (trial.id, trial.family, trial.number) == (f"lstm-{number:04d}", "lstm", number)
        assert (trial.seed, trial.settings.dropout) == (plain.seed, 0.25)


@every_searcher
def test_lists_become_the_tuples_of_frozen_settings(make_sweep, searcher):
    space = {"filters": {"choice": [[4], [8, 16]]}, "readout": {"choice": ["max", "mean", "both"]}}
    trials = drawn(make_sweep(searcher, space, trials=6, model="convlstm"), numbers=6)
    assert {trial.settings.filters for trial in trials} == {(4,), (8, 16)}


def test_the_random_search_draws_the_plan(make_sweep):
    sweep = make_sweep(more=OTHER)
    searcher = make_searcher(sweep)
    for name, number in plan_order(sweep):
        assert searcher.draw(name, number, ()) == draw_trial(sweep.seed, name, sweep.families[name], number)


@pytest.mark.parametrize(
    ("searcher", "adaptive", "count"), [("random", False, 20), ("grid", False, 20), ("tpe", True, 10)]
)
def test_what_depends_on_no_result_is_foreseen(make_sweep, searcher, adaptive, count):
    sweep = make_sweep(searcher)
    asked = make_searcher(sweep)
    assert asked.adaptive is adaptive
    assert asked.foreseen("lstm") == drawn(sweep, count)
    assert make_searcher(make_sweep(searcher, trials=4)).foreseen("lstm") == drawn(sweep, 4)


@every_searcher
def test_a_searcher_that_is_there_passes(make_sweep, searcher):
    check_searcher(make_sweep(searcher))


def test_tpe_without_optuna_is_refused_with_the_command_that_installs_it(make_sweep):
    with pytest.raises(SettingError, match=r'pip install "fishray\[optuna\]"'):
        check_searcher(make_sweep("tpe"), find=lambda name: None)
    check_searcher(make_sweep("grid"), find=lambda name: None)


def test_neither_ray_nor_torch_nor_optuna_is_imported_to_make_one():
    code = "import sys, fishray.tuning.searchers; print({'ray', 'torch', 'optuna'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
