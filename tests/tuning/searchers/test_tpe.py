import json
import subprocess
import sys

import numpy as np
import pytest

from fishray.config.trial import LstmSettings
from fishray.runs import TrialState
from fishray.tuning.searchers import make_searcher
from fishray.tuning.space import draw_trial

RATE = {"learning_rate": {"loguniform": [0.0001, 1]}}
WIDE = {"dropout": {"uniform": [0, 0.9]}}
EVERY_KIND = {
    **RATE,
    **WIDE,
    "hidden": {"randint": [8, 64]},
    "cell": {"choice": ["lstm", "gru"]},
    "layers": {"choice": [2]},
}


def height(rate):
    """A quadratic with its top, 1, at a learning rate of 0.01."""
    return 1 - (np.log10(rate) + 2) ** 2 / 4


@pytest.fixture
def play(make_sweep, ended):
    """Draw trials one after another, each with its value at once."""

    def run(count, searcher="tpe", seed=0):
        asked = make_searcher(make_sweep(searcher, RATE, trials=count, seed=seed))
        history = []
        for number in range(count):
            config = asked.draw("lstm", number, history)
            history.append(ended(config, height(config.settings.learning_rate)))
        return history

    return run


@pytest.fixture
def trials_at(make_sweep, ended):
    """Make ended trials with given dropouts, numbered from 0, every one of them with the same values by epoch."""
    family = make_sweep("tpe", WIDE, trials=100).families["lstm"]

    def make(dropouts, *values, status="finished", start=0):
        drawn = [draw_trial(0, "lstm", family, start + number) for number in range(len(dropouts))]
        return [
            ended(trial.model_copy(update={"settings": LstmSettings(dropout=dropout)}), *values, status=status)
            for trial, dropout in zip(drawn, map(float, dropouts), strict=True)
        ]

    return make


@pytest.fixture
def next_dropouts(make_sweep):
    """Dropouts that would be drawn next, each with a seed of its own."""

    def ask(history, seeds=20):
        return [
            make_searcher(make_sweep("tpe", WIDE, trials=100, seed=seed)).draw("lstm", 90, history).settings.dropout
            for seed in range(seeds)
        ]

    return ask


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_after_thirty_trials_draws_are_nearer_to_the_optimum_than_random_ones(play, seed):
    distance = {
        searcher: np.mean(
            [abs(np.log10(trial.config.settings.learning_rate) + 2) for trial in play(40, searcher, seed)[30:]]
        )
        for searcher in ("random", "tpe")
    }
    assert distance["random"] > 0.7  # two decades to each side: 1.0 on average
    assert distance["tpe"] < 0.6


def test_the_first_ten_trials_are_those_of_the_random_search(play):
    by_results, at_random = ([trial.config for trial in play(12, searcher)] for searcher in ("tpe", "random"))
    assert by_results[:10] == at_random[:10]
    assert by_results[10] != at_random[10]
    assert by_results[11] != at_random[11]


def test_the_same_history_gives_the_same_draw(play, make_sweep):
    history = play(15)
    sweep = make_sweep("tpe", RATE)
    once, again = (make_searcher(sweep).draw("lstm", 15, history) for _ in range(2))
    assert once == again
    asked = make_searcher(sweep)
    for number in (12, 14):  # what was drawn before leaves no trace
        asked.draw("lstm", number, history[:number])
    assert asked.draw("lstm", 15, history) == once
    assert make_searcher(make_sweep("tpe", RATE, seed=1)).draw("lstm", 15, history) != once


def test_another_process_draws_the_same_and_says_nothing(make_sweep, ended, tmp_path):
    sweep = make_sweep("tpe", EVERY_KIND, trials=30)
    asked = make_searcher(sweep)
    configs = [asked.draw("lstm", number, ()) for number in range(10)]
    history = [ended(config, height(config.settings.learning_rate)) for config in configs]
    told = {"sweep": sweep.model_dump_json(exclude_none=True), "trials": [each.model_dump_json() for each in configs]}
    code = (
        "import json, sys; from fishray.config.sweep import Sweep; from fishray.config.trial import TrialConfig\n"
        "from fishray.runs import TrialState; from fishray.tuning.searchers import make_searcher\n"
        "told = json.load(sys.stdin); values = told['values']; sweep = Sweep.model_validate_json(told['sweep'])\n"
        "trials = [TrialConfig.model_validate_json(each) for each in told['trials']]\n"
        "history = [TrialState(config, 'finished', results={1: {'validation_auc': value}})"
        " for config, value in zip(trials, values)]\n"
        "print(make_searcher(sweep).draw('lstm', 10, history).model_dump_json())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        input=json.dumps({**told, "values": [trial.best("validation_auc") for trial in history]}),
    )  # fmt: skip
    assert done.stdout == asked.draw("lstm", 10, history).model_dump_json() + "\n"
    assert done.stderr == ""


def test_optuna_speaks_as_loud_as_before(play):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    try:
        play(11)
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
    finally:
        optuna.logging.set_verbosity(optuna.logging.INFO)


def test_draws_of_every_kind_stay_within_their_space(make_sweep, ended):
    asked = make_searcher(make_sweep("tpe", EVERY_KIND, trials=40))
    history: list[TrialState] = []
    for number in range(40):
        config = asked.draw("lstm", number, history)
        history.append(ended(config, height(config.settings.learning_rate)))
    drawn = [trial.config.settings for trial in history]
    assert all(0.0001 <= each.learning_rate <= 1 and 0 <= each.dropout <= 0.9 for each in drawn)
    assert all(8 <= each.hidden <= 64 and each.layers == 2 for each in drawn)
    assert {each.cell for each in drawn[10:]} == {"lstm", "gru"}


def test_the_order_of_keys_changes_nothing(make_sweep, ended):
    asked = [
        make_searcher(make_sweep("tpe", dict(space))) for space in (EVERY_KIND.items(), reversed(EVERY_KIND.items()))
    ]
    configs = [asked[0].draw("lstm", number, ()) for number in range(10)]
    for history in ([ended(config, height(config.settings.learning_rate)) for config in configs], []):
        first, second = (each.draw("lstm", 10, history) for each in asked)
        assert first == second


def test_choices_may_be_lists(make_sweep, ended):
    space = {"filters": {"choice": [[4], [8, 16], [16]]}, "kernel": {"choice": [3, 5, 7]}}
    asked = make_searcher(make_sweep("tpe", space, trials=40, model="convlstm"))
    history: list[TrialState] = []
    for number in range(40):
        config = asked.draw("lstm", number, history)
        history.append(ended(config, 0.9 if config.settings.filters == (8, 16) else 0.5))
    late = [trial.config.settings.filters for trial in history[20:]]
    assert late.count((8, 16)) > 12  # 6.7 of 20 at random


def test_failed_trials_say_nothing(trials_at, next_dropouts):
    said = trials_at(np.linspace(0.1, 0.8, 12), 0.5)
    failed = trials_at([0.3, 0.4], 0.9, status="failed", start=12)
    assert next_dropouts([*said, *failed]) == next_dropouts(said)


def test_a_trial_that_finished_beats_one_that_was_stopped_with_a_better_value(trials_at, next_dropouts):
    finished = trials_at([0.2, 0.21], 0.6, 0.6)
    stopped = trials_at([0.7, 0.71, *np.linspace(0, 0.9, 16)], 0.9, status="stopped", start=2)
    assert np.median(np.abs(np.array(next_dropouts([*finished, *stopped])) - 0.2)) < 0.1


def test_of_stopped_trials_the_one_stopped_last_is_best(trials_at, next_dropouts):
    early = trials_at([0.7, 0.71, *np.linspace(0, 0.9, 16)], 0.9, status="stopped")
    late = trials_at([0.2, 0.21], 0.6, 0.6, 0.6, status="stopped", start=18)
    assert np.median(np.abs(np.array(next_dropouts([*early, *late])) - 0.2)) < 0.1


@pytest.mark.parametrize("status", ["waiting", "running"])
def test_draws_keep_away_from_trials_without_a_result_yet(trials_at, next_dropouts, status):
    done = [*trials_at([0.4, 0.41, 0.42], 0.9), *trials_at(np.linspace(0, 0.9, 20), 0.5, start=3)]
    pending = trials_at(np.linspace(0.38, 0.44, 12), status=status, start=23)
    near, beside = (np.abs(np.array(next_dropouts(history)) - 0.41) for history in (done, [*done, *pending]))
    assert np.median(near) < 0.1
    assert np.median(beside) > 2 * np.median(near)


def test_a_warm_start_beyond_the_space_says_nothing(trials_at, next_dropouts):
    said = trials_at(np.linspace(0.1, 0.8, 12), 0.5)
    beyond = trials_at([0.95], 0.9, start=12)
    assert next_dropouts([*beyond, *said]) == next_dropouts(said)


@pytest.mark.parametrize(
    ("space", "beyond"),
    [
        ({"layers": {"choice": [1, 2, 3]}}, {"layers": 4}),
        ({"hidden": {"randint": [8, 64]}}, {"hidden": 65}),
        ({"noise": {"randint": [1, 30]}}, {"noise": 1.5}),
        (RATE, {"learning_rate": 2.0}),
    ],
)
def test_a_value_of_any_kind_may_lie_beyond_the_space(make_sweep, ended, space, beyond):
    asked = make_searcher(make_sweep("tpe", space))
    said = [ended(asked.draw("lstm", number % 10, ()), 0.5 + number / 100) for number in range(12)]
    config = said[0].config
    warm = ended(config.model_copy(update={"settings": config.settings.model_copy(update=beyond)}), 0.9)
    for number in range(13, 33):
        assert asked.draw("lstm", number, [warm, *said]) == asked.draw("lstm", number, said)


def test_without_a_space_there_is_nothing_to_draw(make_sweep, ended):
    sweep = make_sweep("tpe", {})
    asked = make_searcher(sweep)
    history = [ended(asked.draw("lstm", number, ()), 0.5) for number in range(10)]
    assert asked.draw("lstm", 10, history) == draw_trial(sweep.seed, "lstm", sweep.families["lstm"], 10)
