"""Settings of the search that do not go together are faults of the sweep file."""

import json
from pathlib import Path

import pytest

from fishray.config.loader import load_sweep
from fishray.config.sweep import Family
from fishray.errors import SweepFileError

GRID = """\
data: {store: tank.zarr}
families:
  lstm:
    trials: 12
    space:
      hidden: {randint: [8, 11]}
      cell: {choice: [lstm, gru, gru]}
search: {searcher: grid}
"""


@pytest.fixture
def load(tmp_path):
    def load_text(text, *overrides):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return load_sweep(path, overrides)

    return load_text


def faults_of(load, text, *overrides):
    with pytest.raises(SweepFileError) as caught:
        load(text, *overrides)
    return [" ".join(row.split()) for row in str(caught.value).splitlines()[1:]]


def test_a_grid_may_be_searched_to_its_last_point(load):  # 4 numbers times 3 choices, one of them given twice
    assert load(GRID).families["lstm"].trials == 12


def test_more_trials_than_points_are_a_fault(load):
    assert faults_of(load, GRID.replace("12", "13")) == ["line 4 families.lstm.trials 13 is above the grid's 12 points"]
    assert faults_of(load, GRID, "families.lstm.trials=20") == [
        "--set families.lstm.trials 20 is above the grid's 12 points"
    ]


def test_a_family_without_a_space_has_one_point(load):
    assert faults_of(load, GRID, "families.lstm.space={}") == [
        "line 4 families.lstm.trials 12 is above the grid's 1 point"
    ]
    assert load(GRID, "families.lstm.space={}", "families.lstm.trials=1")


@pytest.mark.parametrize("kind", ["uniform", "loguniform"])
def test_what_is_not_countable_has_no_grid(load, kind):
    text = GRID.replace("hidden: {randint: [8, 11]}", f"learning_rate: {{{kind}: [0.001, 0.1]}}")
    assert faults_of(load, text) == [
        f"line 6 families.lstm.space.learning_rate {kind} has no grid; list the values: {{choice: [...]}}"
    ]
    assert load(text, "search.searcher=random")


def test_every_fault_of_every_grid_is_told_at_once(load):
    text = GRID.replace("12", "13").replace(
        "search:",
        "  other:\n    model: lstm\n    trials: 1\n    space:\n      dropout: {uniform: [0, 0.5]}\n"
        "      learning_rate: {loguniform: [0.001, 0.1]}\n    fixed: {frames_per_step: 121}\nsearch:",
    )
    assert faults_of(load, text) == [
        "line 4 families.lstm.trials 13 is above the grid's 12 points",
        "line 12 families.other.space.dropout uniform has no grid; list the values: {choice: [...]}",
        "line 13 families.other.space.learning_rate loguniform has no grid; list the values: {choice: [...]}",
        "line 14 families.other.fixed.frames_per_step 121 is above data.look_back 120",
    ]


def test_levels_of_a_grid_are_counted_in_order_of_name():
    space = {
        "hidden": {"randint": [8, 11]},
        "cell": {"choice": ["lstm", "gru"]},
        "dropout": {"uniform": [0, 0.5]},
        "judged_frames": {"randint": [1, 10**30]},
    }
    family = Family.model_validate_json(json.dumps({"model": "lstm", "trials": 1, "space": space}))
    assert list(family.grid_levels().items()) == [
        ("cell", 2), ("dropout", 0), ("hidden", 4), ("judged_frames", 10**30)
    ]  # fmt: skip


def test_tpe_has_no_population_at_the_start(load):
    text = GRID.replace("grid", "tpe, scheduler: pbt, grace_epochs: 10")
    assert faults_of(load, text) == [
        "line 8 search.grace_epochs 10 is above max_epochs 9",
        "line 8 search.searcher tpe draws one trial after another, pbt needs them all at the start; "
        "use searcher: random",
    ]


@pytest.mark.parametrize(
    "pair", [("tpe", "asha"), ("tpe", "median"), ("tpe", "none"), ("random", "pbt"), ("grid", "pbt")]
)
def test_every_other_pair_goes_together(load, pair):
    searcher, scheduler = pair
    search = load(GRID, f"search.searcher={searcher}", f"search.scheduler={scheduler}").search
    assert (search.searcher, search.scheduler) == pair


def test_an_earlier_run_is_named_by_its_path(load):
    assert load(GRID).search.warm_start is None
    assert load(GRID, "search.warm_start=runs/earlier").search.warm_start == Path("runs/earlier")
