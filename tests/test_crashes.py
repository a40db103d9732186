"""A sweep cannot be lost: killed at any moment and started again, it becomes what it would have been if left alone."""

import os
import signal
from dataclasses import dataclass, fields

import numpy as np
import pytest
from crashing import (
    ASHA,
    PBT,
    Bench,
    Moment,
    Outcome,
    bench_in,
    left_behind,
    of,
    outcome,
    repeated_epochs,
    rerun_trials,
    same,
)
from desk import END_S, START_S, wait_for

from fishray.runs import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # the first test waits for some fifteen starts

SEED = 7
PARTS = [each.name for each in fields(Outcome)]


@dataclass(frozen=True)
class Whole:
    """A sweep that was left alone."""

    bench: Bench
    run: Run
    outcome: Outcome


def left_alone(bench):
    run = bench.run("whole")
    bench.finish(run)
    return Whole(bench, run, outcome(run))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with bench_in(tmp_path_factory.mktemp("asha"), ASHA) as bench:
        yield left_alone(bench)


# While the data is made


def test_a_sweep_that_is_killed_while_it_makes_its_tank_makes_it_again(tmp_path):
    with bench_in(tmp_path, ASHA) as bench:
        run = bench.run("tankless")
        crash = bench.crash(run, Moment("store-write:4"))
        assert (crash.doing, crash.epochs) == ("store-write", 0)
        assert bench.desk.start("tune", "tankless.yaml", "--dry-run").wait(START_S) == 0, bench.desk.log()
        assert [path.name for path in (tmp_path / "data").iterdir()] == ["tank.zarr"]


# The whole process group, thirteen times in one run


def moments(whole):
    """Over a whole life; those without a fault are drawn, in seconds that do not depend on how long that life was."""
    rng = np.random.default_rng(SEED)
    results = len(of(whole.run, "result"))
    return [
        Moment("lease-create:1"),
        Moment(after_s=rng.uniform(0, 1)),
        Moment("sweep-yaml:1"),
        Moment(after_s=rng.uniform(2, 4)),
        Moment(results=round(0.1 * results), after_s=rng.uniform(0, 0.5)),
        Moment("journal-write:6"),
        Moment("checkpoint-write:3"),
        Moment("checkpoint-rename:3"),
        Moment(results=round(0.2 * results), after_s=rng.uniform(0, 0.5)),
        Moment("best-write:1"),
        Moment("journal-end:2"),
        Moment("journal-scoring:1"),
        Moment("predictions-rename:1"),
    ]


@dataclass(frozen=True)
class Killed:
    """A sweep that was killed, and went on to its end."""

    run: Run
    crashes: list
    outcome: Outcome
    left: list
    """Processes and files that were left behind."""


def killed_at(whole, name, moments):
    run = whole.bench.run(name)
    crashes = [crash for moment in moments if (crash := whole.bench.crash(run, moment))]  # else it came too late
    whole.bench.finish(run)
    return Killed(run, crashes, outcome(run), left_behind(whole.bench.desk))


@pytest.fixture(scope="module")
def killed(whole):
    return killed_at(whole, "killed", moments(whole))


def test_the_kills_strike_at_the_start_in_training_and_in_scoring(killed):
    doing = [crash.doing for crash in killed.crashes]
    assert len(doing) >= 10
    assert doing[:3] == ["lease-create", "starting", "sweep-yaml"]
    assert "training" in doing
    assert doing[-2:] == ["journal-scoring", "predictions-rename"]


def test_a_crash_loses_no_epoch_but_the_one_in_flight(killed):
    assert [crash for crash in killed.crashes if crash.lost] == []


def test_a_run_goes_on_from_where_it_was(killed):
    epochs = {}
    for each in of(killed.run, "result"):
        epochs.setdefault(each["trial"], []).append(each["epoch"])
    assert all(seen == list(range(1, len(seen) + 1)) for seen in epochs.values())
    assert repeated_epochs(killed.run) == []


def test_a_trial_that_has_ended_is_not_run_again(killed):
    assert any(crash.ended for crash in killed.crashes)
    assert rerun_trials(killed.run) == []


@pytest.mark.parametrize("part", PARTS)
def test_a_run_that_was_killed_equals_one_left_alone(killed, whole, part):
    assert same(getattr(killed.outcome, part), getattr(whole.outcome, part))


def test_crashes_leave_no_process_and_no_file_behind(killed):
    assert killed.left == []


# One worker


@pytest.fixture(scope="module")
def bereft(whole):
    """A sweep whose worker is killed."""
    run = whole.bench.run("bereft")
    process = whole.bench.start(run)
    wait_for(lambda: len(of(run, "result")) >= 4, process, whole.bench.desk)
    os.kill(of(run, "result")[-1]["pid"], signal.SIGKILL)
    assert process.wait(START_S + END_S) == 0, whole.bench.desk.log()
    return Killed(run, [], outcome(run), left_behind(whole.bench.desk))


def test_a_trial_whose_worker_is_killed_is_tried_again(bereft):
    (lost,) = of(bereft.run, "lost")
    attempts = [each["attempt"] for each in of(bereft.run, "attempt") if each["trial"] == lost["trial"]]
    assert attempts == [1, 2]
    assert repeated_epochs(bereft.run) == []
    assert rerun_trials(bereft.run) == []
    assert bereft.left == []


@pytest.mark.parametrize("part", PARTS)
def test_a_run_whose_worker_was_killed_equals_one_left_alone(bereft, whole, part):
    assert same(getattr(bereft.outcome, part), getattr(whole.outcome, part))


# Population based training


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    with bench_in(tmp_path_factory.mktemp("pbt"), PBT) as bench:
        yield left_alone(bench)


@pytest.fixture(scope="module")
def exchanging(population):
    """A sweep that is killed when its first exchange is decided and not done, and in the middle of writing another."""
    return killed_at(population, "exchanging", [Moment("journal-exchange:1"), Moment("exchange-write:1")])


def test_kills_between_an_exchange_and_its_deed_lose_nothing(exchanging):
    assert [crash.doing for crash in exchanging.crashes] == ["journal-exchange", "exchange-write"]
    assert [crash for crash in exchanging.crashes if crash.lost] == []
    assert len([each for each in of(exchanging.run, "decision") if each["action"] == "exploit"]) == 2
    assert repeated_epochs(exchanging.run) == []
    assert rerun_trials(exchanging.run) == []
    assert exchanging.left == []


def exchanged(decisions):
    """What exchanges and last epochs gave: whoever comes last does not wait there, and a new start changes who does."""
    decided = (each for each in decisions if each["action"] != "wait")
    return sorted(decided, key=lambda each: (each["rung"], each["trial"]))


def test_a_population_that_was_killed_exchanges_as_one_left_alone(exchanging, population):
    assert same(exchanged(exchanging.outcome.decisions), exchanged(population.outcome.decisions))


@pytest.mark.parametrize("part", [part for part in PARTS if part != "decisions"])
def test_a_population_that_was_killed_equals_one_left_alone(exchanging, population, part):
    assert same(getattr(exchanging.outcome, part), getattr(population.outcome, part))
