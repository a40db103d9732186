"""The run directory: what is claimed, kept, removed and read again."""

import hashlib
import json

import numpy as np
import pytest
import zarr

from fishray.config.trial import LstmSettings, TrialConfig
from fishray.errors import RunError, WeightsError
from fishray.files import previous
from fishray.runs import Lease, Predictions, Run, leased
from fishray.weights import BEST, read_weights, under, write_weights


def tree(folder):
    """Content of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_new_run_holds_its_resolved_sweep_and_where_it_came_from(run, sweep):
    resolved, provenance = run.resolved()
    assert resolved == sweep
    assert provenance["fingerprint"] == "3f9a"
    assert set(provenance) == {"fishray", "python", "packages", "fingerprint"}
    text = (run.path / "sweep.yaml").read_text()
    assert "reduction_factor: 3" in text  # a default, written out
    assert "look_back: 120" in text
    assert run.path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("kind", ["folder of notes", "file"])
def test_whatever_else_is_there_already_is_refused_and_stays_byte_equal(tmp_path, kind):
    path = tmp_path / "mine"
    if kind == "file":
        path.write_text("notes")
    else:
        path.mkdir()
        (path / "notes").write_text("notes")
    before = tree(tmp_path)
    with pytest.raises(RunError, match=r"mine is there and is no run; choose another name: --set name=NAME"):
        Run.claim(path)
    assert tree(tmp_path) == before


def test_an_empty_folder_becomes_a_run(tmp_path):
    (tmp_path / "mine").mkdir()
    assert Run.claim(tmp_path / "mine").path == tmp_path / "mine"


def test_a_run_that_is_there_is_taken_and_stays_byte_equal(run):
    run.journal.append("sweep", name="mine")
    before = tree(run.path)
    assert Run.claim(run.path) == run
    assert tree(run.path) == before


def test_a_run_whose_first_process_died_before_it_wrote_anything_is_taken(tmp_path):
    Run.claim(tmp_path / "mine")
    Lease(tmp_path / "mine").release()
    assert Run.claim(tmp_path / "mine").state().trials == {}


def test_a_run_lives_only_while_a_process_holds_it(run):
    assert run.holder() is None
    run.journal.append("sweep", name="mine")
    assert run.standing().status == "died"
    with leased(run.path) as lease:
        assert run.holder() == lease.holder
        assert run.standing().status == "starting"
    assert run.holder() is None
    assert run.standing().status == "died"
    run.journal.append("finish", status="interrupted")
    assert run.standing().status == "interrupted"


def test_a_run_that_is_not_there_says_how_to_make_one(tmp_path):
    with pytest.raises(RunError, match=r"no run at .*nothing; make one: fishray tune"):
        Run.open(tmp_path / "nothing")


def test_a_run_without_results_has_no_best_trial(run):
    run.journal.append("sweep", name="mine")
    with pytest.raises(RunError, match=r"no trial of .* has a result yet; see: fishray status"):
        run.best_trial()


def test_an_unknown_trial_is_answered_with_the_nearest(run):
    told = TrialConfig(id="lstm-0000", family="lstm", number=0, seed=0, settings=LstmSettings())
    run.journal.append("trial", config=told.model_dump(mode="json"))
    assert run.trial("lstm-0000").config == told
    with pytest.raises(RunError, match=r"has no trial lstm-000; did you mean lstm-0000\?"):
        run.trial("lstm-000")


# Attempts and what is kept of them

TRIAL = "lstm-0000"


def checkpoint(run, attempt, *epochs):
    """Save epochs of an attempt, as a worker does; what it holds of the best epoch is that epoch's number."""
    path = run.checkpoint_path(TRIAL, attempt)
    for epoch in epochs:
        best = under({"array.validation_probability": np.array([epoch], np.float32)}, BEST)
        write_weights(path, best, {"epoch": epoch, **under({"config": epoch}, BEST)}, keep_previous=True)
    return path


def epoch_in(path):
    return read_weights(path)[1]["epoch"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_attempt_from_nothing_has_an_empty_directory(run):
    path = run.prepare_attempt(TRIAL, 1, None)
    assert path == run.path / "trials" / TRIAL / "attempt-1" / "checkpoint"
    assert names(path.parent) == []


def test_an_attempt_finds_both_checkpoints_of_the_one_before_under_names_of_its_own(run):
    run.prepare_attempt(TRIAL, 1, None)
    earlier = checkpoint(run, 1, 1, 2)
    path = run.prepare_attempt(TRIAL, 2, (TRIAL, 1))
    assert (epoch_in(path), epoch_in(previous(path))) == (2, 1)
    checkpoint(run, 1, 3)  # whatever the other still does cannot change them
    assert (epoch_in(path), epoch_in(previous(path))) == (2, 1)
    checkpoint(run, 2, 3, 4)
    assert (epoch_in(earlier), epoch_in(previous(earlier))) == (3, 2)


def test_what_an_earlier_attempt_of_the_same_number_left_is_no_part_of_a_new_one(run):
    run.prepare_attempt(TRIAL, 1, None)
    checkpoint(run, 1, 1, 2)
    path = run.prepare_attempt(TRIAL, 1, None)
    assert names(path.parent) == []


@pytest.mark.parametrize("saved", [[], [1]], ids=["none", "no previous one"])
def test_checkpoints_that_are_not_there_are_not_there_for_the_next_attempt_either(run, saved):
    run.prepare_attempt(TRIAL, 1, None)
    checkpoint(run, 1, *saved)
    assert names(run.prepare_attempt(TRIAL, 2, (TRIAL, 1)).parent) == ["checkpoint"][: len(saved)]


def test_attempts_are_removed_but_for_one(run):
    for attempt in (1, 2, 11):
        run.prepare_attempt(TRIAL, attempt, None)
    run.best_path(TRIAL).touch()
    run.remove_attempts(TRIAL, keep=1)
    assert names(run.trial_path(TRIAL)) == ["attempt-1", "best"]
    run.remove_attempts(TRIAL)
    assert names(run.trial_path(TRIAL)) == ["best"]


def test_the_best_epoch_is_taken_out_of_the_checkpoint_and_stays_when_that_goes(run):
    run.prepare_attempt(TRIAL, 1, None)
    checkpoint(run, 1, 1, 2)
    run.keep_best(TRIAL, 1)
    run.remove_attempts(TRIAL)
    assert run.validation_probability(TRIAL).tolist() == [2]
    assert read_weights(run.best_path(TRIAL))[1] == {"config": 2}


def test_a_run_with_settings_of_a_later_version_is_refused_with_the_setting(run):
    trial = LstmSettings().model_dump(mode="json") | {"dream": 3}
    config = {"id": "lstm-0000", "family": "lstm", "number": 0, "seed": 1, "settings": trial}
    run.journal.path.write_text(json.dumps({"event": "trial", "time": 1.0, "config": config}) + "\n")
    with pytest.raises(RunError, match=r"journal\.jsonl has settings that .* \(settings\.lstm\.dream: Extra inputs"):
        run.state()
    file = run.path / "sweep.yaml"
    file.write_text(file.read_text().replace("trials: 2", "trials: 2\n    hopes: 3"))
    with pytest.raises(RunError, match=r"sweep\.yaml has settings that .* \(families\.lstm\.hopes: Extra inputs"):
        run.resolved()


def test_of_a_damaged_checkpoint_the_one_before_it_gives_the_best_epoch(run):
    run.prepare_attempt(TRIAL, 1, None)
    checkpoint(run, 1, 1, 2).write_bytes(b"no weights")
    run.keep_best(TRIAL, 1)
    assert run.validation_probability(TRIAL).tolist() == [1]


def test_without_a_usable_checkpoint_no_best_epoch_is_kept(run):
    run.prepare_attempt(TRIAL, 1, None)
    with pytest.raises(WeightsError, match=r"no weights at .*attempt-1/checkpoint"):
        run.keep_best(TRIAL, 1)
    checkpoint(run, 1, 1).write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=r"attempt-1/checkpoint is damaged"):
        run.keep_best(TRIAL, 1)
    assert not run.best_path(TRIAL).exists()


def test_a_checkpoint_without_any_epoch_gives_no_best_one(run):
    run.prepare_attempt(TRIAL, 1, None)
    write_weights(run.checkpoint_path(TRIAL, 1), {"a": np.zeros(2)}, {"epoch": 0})
    run.keep_best(TRIAL, 1)
    assert not run.best_path(TRIAL).exists()


# Predictions


def predictions(seed, frames=7):
    rng = np.random.default_rng(seed)
    return Predictions(
        label=rng.integers(0, 2, frames).astype(np.int8),
        recording=("tank-1", "tank-2"),
        recording_index=rng.integers(0, 2, frames).astype(np.int32),
        frame=rng.integers(0, 10**6, frames),
        probability={name: rng.random(frames).astype(np.float32) for name in ("persistence", "lstm-0000")},
    )


def assert_equal(read, written):
    assert read.recording == written.recording
    assert list(read.probability) == list(written.probability)
    for name in ("label", "recording_index", "frame"):
        assert np.array_equal(getattr(read, name), getattr(written, name))
        assert getattr(read, name).dtype == getattr(written, name).dtype
    for name, values in written.probability.items():
        assert np.array_equal(read.probability[name], values)


def test_predictions_are_read_as_they_were_written(run):
    written = {"validation": predictions(0), "test": predictions(1, frames=3)}
    run.write_predictions(written)
    read = run.read_predictions()
    assert list(read) == ["validation", "test"]
    for split, each in written.items():
        assert_equal(read[split], each)


def test_there_are_no_predictions_before_they_are_written(run):
    assert run.read_predictions() == {}


def test_predictions_that_were_cut_off_are_not_there_and_are_replaced(run, monkeypatch):
    def cut_off(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(zarr.Group, "create_array", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run.write_predictions({"test": predictions(0)})
    assert run.read_predictions() == {}
    run.write_predictions({"test": predictions(1)})
    assert_equal(run.read_predictions()["test"], predictions(1))
    assert [path.name for path in run.path.glob("predictions*")] == ["predictions.zarr"]


def test_written_again_they_are_the_later_ones(run):
    run.write_predictions({"validation": predictions(0), "test": predictions(0)})
    run.write_predictions({"validation": predictions(1)})
    read = run.read_predictions()
    assert list(read) == ["validation"]
    assert_equal(read["validation"], predictions(1))


def test_a_folder_whose_first_process_died_before_it_had_its_lease_is_free(tmp_path):
    path = tmp_path / "mine"
    path.mkdir()
    (path / "lease-1-host-123.part").write_text('{"genera')
    run = Run.claim(path)
    with leased(run.path) as lease:
        assert lease.generation == 1
        assert [each.name for each in path.iterdir()] == ["lease-1"]
