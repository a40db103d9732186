"""What is written down of a trial's process."""

from types import SimpleNamespace

import pytest

from fishray.runs import Journal, Run
from fishray.tuning.recorder import Recorder
from fishray.tuning.sweep import CheckpointSweeper, ProcessWatch


def trial(**attributes):
    return SimpleNamespace(config={"trial": {"id": "lstm-0000"}}, **attributes)


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal.jsonl")


@pytest.fixture
def watch(journal):
    return ProcessWatch(Recorder(journal, lambda record: None))


@pytest.mark.parametrize(
    ("call", "event", "status"), [("on_trial_recover", "lost", None), ("on_trial_error", "end", "failed")]
)
def test_a_process_that_died_is_written_down_with_its_last_words(watch, journal, tmp_path, call, event, status):
    words = tmp_path / "error.txt"
    words.write_text("The actor died\nkilled by signal 9\n")
    getattr(watch, call)(1, [], trial(error_file=str(words)))
    (written,) = journal
    assert (written["event"], written.get("status")) == (event, status)
    assert written["reason"] == "its process died: killed by signal 9"
    assert written["traceback"] == "The actor died\nkilled by signal 9"


def test_a_process_without_last_words_is_written_down_all_the_same(watch, journal):
    watch.on_trial_recover(1, [], trial(error_file=None))
    (written,) = journal
    assert written["reason"] == "its process died: it left no word"


def test_attempts_are_counted(watch, journal):
    for _ in range(2):
        watch.on_trial_start(1, [], trial())
    assert [each["attempt"] for each in journal] == [1, 2]


@pytest.mark.parametrize("call", ["on_trial_complete", "on_trial_error"])
def test_a_trial_that_is_over_keeps_its_best_weights_and_no_checkpoint(tmp_path, call):
    run = Run(tmp_path)
    for number in (1, 2):
        path = run.trial_path("lstm-0000") / f"attempt-{number}"
        path.mkdir(parents=True)
        (path / "checkpoint").touch()
    run.best_path("lstm-0000").touch()
    getattr(CheckpointSweeper(run), call)(1, [], trial())
    assert [path.name for path in run.trial_path("lstm-0000").iterdir()] == ["best"]
