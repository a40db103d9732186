"""Room on disk: what goes, what stays, and how much that is."""

import json
import os

import numpy as np
import pytest

from fishray.config.sweep import Sweep
from fishray.config.trial import LstmSettings, TrialConfig
from fishray.errors import RunError, WeightsError
from fishray.runs import Predictions, Run, leased
from fishray.runs.cleaning import clean, disk_use, kept_weights
from fishray.runs.directory import provenance

BEST_OF_EACH = {
    "lstm-0000": ("finished", 0.9),
    "lstm-0001": ("stopped", 0.8),
    "lstm-0002": ("stopped", 0.7),
    "lstm-0003": ("stopped", 0.6),  # scored on test by an earlier, smaller sweep
    "lstm-0004": ("waiting", 0.55),  # had ended before the run was extended: it has weights and a checkpoint
    "gru-0000": ("stopped", 0.5),
    "lstm-0005": ("failed", 0.4),
}
"""How each trial ended, and its validation AUC."""
FILE_BYTES = 10_000


@pytest.fixture
def make_run(tmp_path):
    """Make a run of these trials, each with best weights; those with a checkpoint have two files there."""

    def make(**search):
        families = {name: {"model": "lstm", "trials": 6} for name in ("lstm", "gru")}
        sweep = {"name": "mine", "data": {"store": "tank.zarr"}, "families": families, "report": {"leaders": 1}}
        run = Run.claim(tmp_path / "mine")
        run.write_sweep(Sweep.model_validate_json(json.dumps(sweep | {"search": search})), provenance("3f9a"))
        for number, (name, (status, value)) in enumerate(BEST_OF_EACH.items()):
            family = name.split("-")[0]
            config = TrialConfig(id=name, family=family, number=number, seed=0, settings=LstmSettings())
            run.journal.append("trial", config=config.model_dump(mode="json"))
            run.journal.append("attempt", trial=name, attempt=1)
            scores = {"validation_auc": value, "best_epoch": 1, "collapsed": False}
            run.journal.append("result", trial=name, attempt=1, epoch=1, **scores)
            run.journal.append("lost", trial=name, reason="")
            if status != "waiting":
                run.journal.append("end", trial=name, status=status, reason="")
            checkpoint = run.prepare_attempt(name, 1, None)
            run.best_path(name).write_bytes(bytes(FILE_BYTES))
            if status == "stopped":
                checkpoint.parent.rmdir()
            else:
                checkpoint.write_bytes(bytes(FILE_BYTES))
        one = np.zeros(1)
        run.write_predictions({"test": Predictions(one, ("tank",), one, one, {"lstm-0003": one, "persistence": one})})
        return run

    return make


@pytest.fixture
def run(make_run):
    return make_run()


def tree(run):
    """Everything in a run but its lease."""
    every = (path for path in run.path.rglob("*") if not path.name.startswith("lease-"))
    return {str(path.relative_to(run.path)): path.read_bytes() if path.is_file() else b"" for path in every}


GONE = {
    "trials/lstm-0002/best",
    "trials/lstm-0005/best",
    "trials/lstm-0000/attempt-1",
    "trials/lstm-0000/attempt-1/checkpoint",
    "trials/lstm-0005/attempt-1",
    "trials/lstm-0005/attempt-1/checkpoint",
}
"""With the best two kept."""


def test_weights_go_but_for_the_best_and_leaders_and_checkpoints_of_what_has_ended(run):
    before = tree(run)
    cleaning = clean(run, keep=2)
    assert cleaning.best == ("lstm-0000", "lstm-0001")
    assert cleaning.leaders == ("lstm-0003", "gru-0000")  # scored on test; the best of its family
    assert cleaning.weights == ("lstm-0002", "lstm-0005")
    assert cleaning.checkpoints == ("lstm-0000", "lstm-0005")
    assert cleaning.begin_anew == ("lstm-0000",)
    assert cleaning.needed == ()
    assert tree(run) == {name: content for name, content in before.items() if name not in GONE}


def test_as_many_of_the_best_stay_as_asked_for(run):
    assert clean(run, keep=3).weights == ("lstm-0005",)
    assert clean(run, keep=7).weights == ()


def test_the_leaders_of_a_run_that_is_not_scored_yet_stay(run):
    (run.path / "predictions.zarr").rename(run.path / "elsewhere")
    cleaning = clean(run, keep=1)
    assert cleaning.leaders == ("gru-0000",)
    assert cleaning.weights == ("lstm-0001", "lstm-0002", "lstm-0003", "lstm-0005")


def test_a_dry_run_says_the_same_and_touches_nothing(run):
    before = tree(run)
    said = clean(run, keep=2, dry_run=True)
    assert tree(run) == before
    assert not list(run.path.glob("lease-*"))
    assert clean(run, keep=2) == said


def test_what_is_freed_is_the_room_on_disk_of_what_has_gone(run):
    paths = [run.path / name for name in GONE]
    expected = sum(path.lstat().st_blocks * 512 for path in paths)
    assert expected >= 4 * FILE_BYTES
    assert clean(run, keep=2).size_bytes == expected


def test_a_second_name_counts_once_and_one_that_stays_elsewhere_frees_nothing(tmp_path):
    folder = tmp_path / "attempt-1"
    folder.mkdir()
    (folder / "checkpoint").write_bytes(bytes(FILE_BYTES))
    (folder / "checkpoint.previous").hardlink_to(folder / "checkpoint")
    empty = folder.lstat().st_blocks * 512
    once = (folder / "checkpoint").lstat().st_blocks * 512
    assert once >= FILE_BYTES
    assert disk_use([folder]) == empty + once
    (tmp_path / "inherited").hardlink_to(folder / "checkpoint")
    assert disk_use([folder]) == empty


def test_a_second_time_there_is_nothing_to_free(run):
    clean(run, keep=2)
    again = clean(run, keep=2)
    assert (again.size_bytes, again.weights, again.checkpoints) == (0, (), ())


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_run_in_use_is_refused_and_stays_as_it_is(run, dry_run):
    before = tree(run)
    with leased(run.path), pytest.raises(RunError, match=f"in use on .*, process {os.getpid()}"):
        clean(run, keep=2, dry_run=dry_run)
    assert tree(run) == before


def test_the_run_is_held_while_it_is_cleaned_and_free_afterwards(run, monkeypatch):
    held = []
    monkeypatch.setattr("fishray.runs.cleaning.disk_use", lambda paths: held.append(run.holder()) or 0)
    clean(run, keep=2)
    assert [holder.pid for holder in held] == [os.getpid()]
    assert run.holder() is None


def test_a_population_keeps_the_checkpoints_that_it_would_exchange_with_more_epochs(make_run):
    cleaning = clean(make_run(scheduler="pbt"), keep=2)
    assert cleaning.needed == ("lstm-0000",)
    assert cleaning.checkpoints == ("lstm-0005",)  # it has failed, and is out of the population
    assert cleaning.begin_anew == ()


def test_cleared_weights_are_called_that_and_those_that_are_there_named_best_first(run):
    assert kept_weights(run, "lstm-0002") == run.best_path("lstm-0002")
    clean(run, keep=2)
    words = (
        r"the weights of lstm-0002 were cleared by `fishray clean`, or are missing; "
        r"still there: lstm-0000, lstm-0001, lstm-0003, lstm-0004, gru-0000 "
    )
    with pytest.raises(WeightsError, match=words):
        kept_weights(run, "lstm-0002")
    assert kept_weights(run, "lstm-0004") == run.checkpoint_path("lstm-0004", 1)


def test_a_trial_without_an_epoch_has_no_weights_yet(run):
    config = TrialConfig(id="lstm-0009", family="lstm", number=9, seed=0, settings=LstmSettings())
    run.journal.append("trial", config=config.model_dump(mode="json"))
    with pytest.raises(WeightsError, match="lstm-0009 has no weights: it has not run an epoch yet"):
        kept_weights(run, "lstm-0009")


def test_an_unknown_trial_has_no_weights(run):
    with pytest.raises(RunError, match="has no trial lstm-000; did you mean lstm-000"):
        kept_weights(run, "lstm-000")
