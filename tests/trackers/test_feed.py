import subprocess
import sys
import threading

import pytest

from fishray.errors import ResourceError
from fishray.trackers import check_trackers, feed, open_trackers
from fishray.trackers.base import Tracker


class Heard(Tracker):
    """Notes what it is told."""

    def __init__(self, run_path, sweep):
        super().__init__(run_path, sweep)
        self.told = []

    def start(self, facts, begun_s):
        self.told.append(("start", begun_s))

    def baseline(self, name, scores):
        self.told.append(("baseline", name, scores))

    def trial(self, config):
        self.told.append(("trial", config.id))

    def result(self, trial, epoch, values, time_s):
        self.told.append(("result", trial, epoch, values["validation_auc"]))

    def end(self, trial, status, reason, best):
        self.told.append(("end", trial, status, best))

    def finish(self, status):
        self.told.append(("finish", status))


class Fails(Heard):
    """Raises whatever it is told."""

    def start(self, facts, begun_s):
        raise ConnectionError("no route\nto host")

    trial = result = end = finish = start


class Hangs(Heard):
    """Never comes back from its start; what abandons it lets it go."""

    def __init__(self, run_path, sweep):
        super().__init__(run_path, sweep)
        self.abandoned = threading.Event()

    def start(self, facts, begun_s):
        self.abandoned.wait(600)

    def abandon(self):
        self.abandoned.set()


WHOLE = [
    ("start", 1000.0),
    ("baseline", "persistence", {"validation_auc": 0.5, "validation_youden_j": 0.25}),
    ("trial", "lstm-0"),
    ("result", "lstm-0", 1, 0.5),
    ("trial", "lstm-1"),
    ("result", "lstm-1", 1, 0.625),
    ("result", "lstm-0", 2, 0.875),
    ("end", "lstm-1", "failed", 0.625),
    ("result", "lstm-0", 3, 0.75),
    ("end", "lstm-0", "finished", 0.875),
    ("finish", "finished"),
]


@pytest.fixture
def tell(make_sweep, run_path):
    """Tell events to two trackers: a fake one and one that notes; gives what it noted, and what was said."""

    def tell_all(events, first=Heard, past=(), patience_s=30.0):
        made, said = {}, []

        def make(name, path, sweep):
            made[name] = (first if name == "tensorboard" else Heard)(path, sweep)
            return made[name]

        sweep = make_sweep(tensorboard={}, wandb={})
        with open_trackers(run_path, sweep, past, said.append, make, patience_s) as trackers:
            for event in events:
                trackers.on_event(event)
        return made["wandb"].told, said

    return tell_all


def test_a_sweep_is_told_in_order(tell, story):
    assert tell(story.whole()) == (WHOLE, [])


@pytest.mark.parametrize("told", range(14))
def test_after_a_resume_the_rest_is_told_and_what_went_before_once_more(tell, story, told):
    events = story.whole()
    again = [story("sweep", name="mine"), story("baseline", name="persistence", scores={"auc": 0.5, "youden_j": 0.25})]
    heard, _ = tell([*again, *events[told:]] if told else events, past=events[:told])
    assert [each for each in heard if each[0] == "result" and each[1] == "lstm-0"] == [
        ("result", "lstm-0", 1, 0.5), ("result", "lstm-0", 2, 0.875), ("result", "lstm-0", 3, 0.75),
    ]  # fmt: skip
    assert sorted(map(str, heard)) == sorted(map(str, WHOLE))


def test_an_epoch_that_was_run_twice_is_told_once_with_its_first_value(tell, story):
    events = [*story.begin(), story.attempt("lstm-0"), story.result("lstm-0", 1, 0.5)]
    again = [story("lost", trial="lstm-0", reason="died"), story.attempt("lstm-0", 2), story.result("lstm-0", 1, 0.75)]
    heard, said = tell([*events, *again, story.result("lstm-0", 2, 0.875)])
    assert heard[2:] == [
        ("trial", "lstm-0"), ("result", "lstm-0", 1, 0.5), ("result", "lstm-0", 2, 0.875), ("finish", "interrupted"),
    ]  # fmt: skip
    assert said == []


def test_a_trial_that_goes_on_after_its_end_is_told_from_its_first_epoch(tell, story):
    events = [*story.begin(), story.attempt("lstm-0"), story.result("lstm-0", 1, 0.5)]
    stopped = story("end", trial="lstm-0", status="stopped", reason="stopped at rung 1")
    heard, _ = tell([*events, stopped, story.attempt("lstm-0", 2), story.result("lstm-0", 2, 0.75)])
    assert heard[4:] == [
        ("end", "lstm-0", "stopped", 0.5),
        ("trial", "lstm-0"), ("result", "lstm-0", 1, 0.5), ("result", "lstm-0", 2, 0.75),
        ("finish", "interrupted"),
    ]  # fmt: skip


def test_a_sweep_that_left_no_word_was_interrupted(tell, story):
    assert tell(story.whole()[:-1])[0][-1] == ("finish", "interrupted")


def test_a_tracker_that_fails_is_off_and_said_so_once_and_others_go_on(tell, story):
    heard, said = tell(story.whole(), first=Fails)
    assert heard == WHOLE
    assert said == ["tracker tensorboard is off: ConnectionError: no route to host"]


def test_a_tracker_that_cannot_be_made_is_off_and_others_go_on(make_sweep, run_path, story):
    said, made = [], []

    def make(name, path, sweep):
        if name == "mlflow":
            raise ImportError("libfoo.so is missing")
        made.append(Heard(path, sweep))
        return made[0]

    with open_trackers(run_path, make_sweep(mlflow={}, tensorboard={}), (), said.append, make) as trackers:
        for event in story.whole():
            trackers.on_event(event)
    assert made[0].told == WHOLE
    assert said == ["tracker mlflow is off: ImportError: libfoo.so is missing"]


def test_a_tracker_that_hangs_is_left_behind_in_time_and_others_come_to_their_end(tell, story):
    heard, said = tell(story.whole(), first=Hangs, patience_s=2.0)
    assert heard == WHOLE
    assert said == ["tracker tensorboard did not come to its end within 2 s and is left behind"]


def test_a_tracker_that_falls_behind_misses_events_and_says_so_once(make_sweep, run_path, story, monkeypatch):
    monkeypatch.setattr(feed, "QUEUE_LENGTH", 3)
    said, slow = [], Hangs(run_path, make_sweep(tensorboard={}))
    events = story.whole()
    with open_trackers(run_path, slow.sweep, events[:1], said.append, lambda *_: slow) as trackers:
        for event in events[1:]:
            trackers.on_event(event)
        slow.abandon()
    assert said == ["tracker tensorboard is too slow: it misses events from now on"]
    assert slow.told == [*WHOLE[1:2], ("finish", "interrupted")]


def test_without_trackers_nothing_is_made(make_sweep, run_path, story):
    with open_trackers(run_path, make_sweep(), (), pytest.fail, pytest.fail) as trackers:
        trackers.on_event(story.begin()[0])
    assert list(run_path.iterdir()) == []


# Libraries


def test_a_missing_library_is_refused_with_the_command_that_installs_it(make_sweep):
    sweep = make_sweep(tensorboard={}, mlflow={})
    check_trackers(sweep)
    with pytest.raises(
        ResourceError, match=r'trackers\.mlflow: mlflow .*not installed; type: pip install "fishray\[ml'
    ):
        check_trackers(sweep, find=lambda module: None if module == "mlflow" else sys.__spec__)


def test_a_folder_with_a_librarys_name_is_not_the_library(make_sweep, tmp_path, monkeypatch):
    (tmp_path / "somewhere").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(feed.LIBRARIES, "wandb", ("somewhere",))
    with pytest.raises(ResourceError, match="somewhere not installed"):
        check_trackers(make_sweep(wandb={}))


QUIET = """
import json, sys
from pathlib import Path
from fishray.config.sweep import Sweep
from fishray.trackers import open_trackers
run_path, sweep, events = json.load(sys.stdin)
with open_trackers(Path(run_path), Sweep.model_validate_json(sweep), (), print, patience_s=100) as trackers:
    for event in events:
        trackers.on_event(event)
"""


@pytest.mark.slow
def test_all_three_print_nothing_and_call_nobody(make_sweep, run_path, story, monkeypatch):
    import json
    import socket

    pytest.importorskip("mlflow")
    pytest.importorskip("wandb")
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{listener.getsockname()[1]}")
    sweep = make_sweep(tensorboard={}, mlflow={}, wandb={})
    told = json.dumps([str(run_path), sweep.model_dump_json(exclude_none=True), story.whole()])
    done = subprocess.run([sys.executable, "-c", QUIET], input=told, capture_output=True, text=True, timeout=200)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    assert {path.name for path in run_path.iterdir()} == {"tensorboard", "mlflow", "wandb"}
    with listener, pytest.raises(BlockingIOError):
        listener.accept()
