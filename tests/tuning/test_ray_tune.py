"""What the desk between Tune and the driver makes of an attempt's results and of its end."""

import json
import pickle
from types import SimpleNamespace

import pytest
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from fishray.config.sweep import Sweep
from fishray.errors import ResourceError, RunError, StorageError
from fishray.runs import Run, leased
from fishray.runs.directory import provenance
from fishray.tuning.crew import Crew
from fishray.tuning.driver import Driver
from fishray.tuning.interruption import Interruption
from fishray.tuning.ray_tune import RESULT_FIELDS, Desk, _Scheduler, _Search
from fishray.tuning.recorder import Recorder
from fishray.tuning.seats import Seats
from hpc.cluster import Joined, Worker
from hpc.errors import ClusterError

SWEEP = {
    "name": "tiny",
    "data": {"store": "tank.zarr"},
    "families": {"lstm": {"model": "lstm", "trials": 2, "resources": {"retries": 1}}},
    "search": {"max_epochs": 2, "scheduler": "none"},
}
TRIAL = "lstm-0000"
AUC = "validation_auc"


@pytest.fixture
def run(tmp_path):
    run = Run.claim(tmp_path / "run")
    run.write_sweep(Sweep.model_validate_json(json.dumps(SWEEP)), provenance("fingerprint"))
    return run


@pytest.fixture
def interruption():
    """One that nobody has sent a signal to."""
    return Interruption()


@pytest.fixture
def desk(run, cluster, interruption):
    """The desk of a sweep of two trials, with room for both."""
    with leased(run.path) as lease:
        record = Recorder(run.journal, lease)
        driver = Driver(run, run.resolved()[0], record, Seats(cluster.joined))
        driver.begin({})
        driver.draw_planned()
        yield Desk(driver, Crew(cluster, record, 0), arguments, interruption)


class Workers:
    """A cluster whose workers a test names."""

    def __init__(self):
        self.there = {"worker-1": Joined("node-1", 2, 0)}
        self.offered, self.released, self.told = [], [], []

    def offer(self, demand):
        self.offered = demand

    def joined(self):
        return self.there

    def release(self, worker):
        self.released.append(worker)
        del self.there[worker]

    def news(self):
        told, self.told = self.told, []
        return told


@pytest.fixture
def cluster():
    """One worker with room for two trials."""
    return Workers()


def arguments(attempt):
    return {
        "trial": {"id": attempt.trial.config.id},
        "attempt": attempt.number,
        "checkpoint": str(attempt.checkpoint),
        "worker": attempt.worker,
        "cpus": 1,
        "gpus": 0.25,
    }


def tunes(config, name="t1", error_file=None):
    """What Tune shows of a trial."""
    return SimpleNamespace(config=config, trial_id=name, error_file=error_file)


@pytest.fixture
def trial(desk):
    """Tune's trial that is the first attempt of the first trial, and runs."""
    made = tunes(desk.hand_out("t1"))
    desk.started(made)
    return made


def told(epoch, value=0.5):
    return dict.fromkeys(RESULT_FIELDS, 0) | {
        "epoch": epoch,
        AUC: value,
        "notice": "",
        "leaves": False,
        "time_total_s": 1.0,
    }


def events(run, *kinds):
    return [each for each in run.journal if each["event"] in kinds]


def test_a_result_is_written_down_with_what_was_granted_and_nothing_of_tunes(desk, run, trial):
    assert desk.result(trial, told(1, 0.75))
    (written,) = events(run, "result")
    assert (written["trial"], written["attempt"], written["epoch"], written[AUC]) == (TRIAL, 1, 1, 0.75)
    assert (written["cpus"], written["gpus"]) == (1, 0.25)
    assert set(written) == {"time", "event", "generation", "trial", "attempt", "cpus", "gpus", *RESULT_FIELDS}


def test_a_trial_is_told_to_stop_with_its_last_epoch(desk, run, trial):
    assert desk.result(trial, told(1))
    assert not desk.result(trial, told(2))
    assert [each["status"] for each in events(run, "end")] == ["finished"]


def test_a_notice_is_written_down_before_the_result_that_it_came_with(desk, run, trial):
    desk.result(trial, told(1) | {"notice": "its checkpoint is damaged; it goes on from epoch 0"})
    assert [each["event"] for each in events(run, "notice", "result")] == ["notice", "result"]


def test_a_trial_that_raised_ends_with_its_traceback(desk, run, trial):
    raised = {"failed": "ValueError: no", "traceback": "Traceback (most recent call last)\nValueError: no"}
    assert not desk.result(trial, raised)
    (end,) = events(run, "end")
    assert (end["trial"], end["status"], end["reason"]) == (TRIAL, "failed", "ValueError: no")
    assert end["traceback"] == raised["traceback"]
    assert desk.fault is None


def test_storage_that_fails_ends_the_tuning_and_no_trial(desk, run, trial):
    assert not desk.result(trial, {"storage": "runs/tiny cannot be written (No space left on device)"})
    assert isinstance(desk.fault, StorageError)
    assert desk.is_over
    assert events(run, "end", "lost") == []
    assert desk.hand_out("t1") == Searcher.FINISHED


def test_a_process_that_died_is_written_down_with_its_last_words_and_tried_again(desk, run, trial, tmp_path):
    words = tmp_path / "error.txt"
    words.write_text("its worker process has died\nkilled by signal 9\n")
    desk.lost(tunes(trial.config, error_file=str(words)))
    (written,) = events(run, "lost", "end")
    assert written["event"] == "lost"
    assert written["reason"] == "its process died: killed by signal 9"
    assert written["traceback"] == "its worker process has died\nkilled by signal 9"
    assert desk.hand_out("t1")["trial"]["id"] == TRIAL


def test_the_last_time_it_fails_with_its_last_words(desk, run, trial, tmp_path):
    words = tmp_path / "error.txt"
    words.write_text("its worker process has died\nkilled by signal 9\n")
    desk.lost(tunes(trial.config, error_file=str(words)))
    again = tunes(desk.hand_out("t2"), "t2", str(words))
    desk.started(again)
    desk.lost(again)
    (end,) = events(run, "end")
    assert (end["status"], end["reason"]) == ("failed", "its process died: killed by signal 9 (2 times)")
    assert end["traceback"] == "its worker process has died\nkilled by signal 9"


def test_words_that_it_wrote_itself_come_before_what_ray_says(desk, run, trial, tmp_path):
    rays = tmp_path / "error.txt"
    rays.write_text("The actor died\n")
    run.checkpoint_path(TRIAL, 1).with_name("last-words").write_text("Fatal Python error: Segmentation fault\n")
    desk.lost(tunes(trial.config, error_file=str(rays)))
    assert events(run, "lost")[0]["traceback"] == "Fatal Python error: Segmentation fault"


def test_a_process_without_last_words_is_written_down_all_the_same(desk, run, trial):
    desk.lost(trial)
    (written,) = events(run, "lost")
    assert written["reason"] == "its process died: it left no word"


def test_attempts_are_counted(desk, run, trial):
    desk.lost(trial)
    desk.started(tunes(desk.hand_out("t2"), "t2"))
    assert [each["attempt"] for each in events(run, "attempt")] == [1, 2]


def test_it_is_over_once_every_trial_has_ended_and_nothing_is_under_way(desk, trial):
    other = tunes(desk.hand_out("t2"), "t2")
    desk.started(other)
    assert desk.hand_out("t1") is None
    for each in (trial, other):
        assert not desk.is_over
        desk.result(each, {"failed": "ValueError: no", "traceback": ""})
    assert desk.is_over
    assert desk.hand_out("t1") == Searcher.FINISHED


def test_a_signal_stops_the_sweep_with_the_running_epochs(desk, run, trial, interruption):
    with interruption.deferred():
        interruption._on_signal(10, None)
    desk.look_up()
    desk.look_up()
    assert [each["reason"].split(":")[0] for each in events(run, "stopping")] == ["SIGUSR1"]
    assert desk.hand_out("t1") is None
    assert not desk.is_over
    assert not desk.result(trial, told(1))
    assert desk.is_over
    assert events(run, "end", "lost") == []


def test_a_run_that_was_taken_over_ends_the_tuning_and_writes_nothing(desk, run, trial):
    (run.path / "lease-99").write_text("{}")
    before = run.journal.path.read_bytes()
    assert not desk.result(trial, told(1))
    assert isinstance(desk.fault, RunError)
    assert run.journal.path.read_bytes() == before


@pytest.mark.parametrize("kind", [_Search, _Scheduler])
def test_what_tune_writes_to_disk_of_these_is_empty(desk, kind):
    assert pickle.loads(pickle.dumps(kind(desk))).__dict__ == {}


# Workers that come and go


def test_a_trial_is_handed_out_for_a_worker_that_is_there(desk, cluster):
    assert desk.hand_out("t1")["worker"] == "worker-1"
    cluster.there = {}
    assert desk.hand_out("t2") is None
    assert not desk.is_over


def test_a_trial_that_leaves_its_node_hands_it_back_and_goes_on_elsewhere(desk, run, trial, cluster):
    assert not desk.result(trial, told(1) | {"leaves": True, "host": "node-1"})
    assert cluster.released == ["worker-1"]
    (left,) = events(run, "left")
    assert (left["trial"], left["reason"]) == (TRIAL, "another epoch would not fit before node-1 ends")
    cluster.there = {"worker-2": Joined("node-2", 2, 0)}
    again = desk.hand_out("t2")
    assert (again["trial"]["id"], again["worker"], again["attempt"]) == (TRIAL, "worker-2", 2)
    assert events(run, "lost", "end") == []


def test_a_trial_that_ends_with_the_epoch_after_which_it_would_have_left_has_ended(desk, run, trial, cluster):
    assert desk.result(trial, told(1))
    assert not desk.result(trial, told(2) | {"leaves": True})
    assert events(run, "left") == []
    assert cluster.released == []


GONE = [
    "ActorDiedError\nThe actor died because its node has died.",
    "ActorUnavailableError\nThe actor is temporarily unavailable: RpcError: Socket closed",
]


@pytest.mark.parametrize("words", GONE, ids=["Ray knows", "Ray does not know yet"])
def test_a_node_that_died_is_no_death_of_its_trials(desk, run, trial, tmp_path, words):
    said = tmp_path / "error.txt"
    said.write_text(words)
    for name in ("t1", "t2", "t3"):
        desk.lost(tunes(trial.config, name, str(said)))
        trial = tunes(desk.hand_out("next"), "next", str(said))
        desk.started(trial)
    assert [(each["counts"], each["reason"]) for each in events(run, "lost")] == [(False, "worker-1 is gone")] * 3


def test_a_process_that_was_killed_with_its_worker_has_not_died_by_itself(desk, run, trial, cluster, tmp_path):
    said = tmp_path / "error.txt"
    said.write_text("The actor is dead because its worker process has died.")
    cluster.there = {}
    desk.lost(tunes(trial.config, error_file=str(said)))
    assert [each["counts"] for each in events(run, "lost")] == [False]


def test_of_what_ray_says_of_a_process_that_was_killed_the_cause_is_told(desk, run, trial, tmp_path):
    said = tmp_path / "error.txt"
    said.write_text(
        "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: "
        "Worker unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the"
    )
    desk.lost(tunes(trial.config, error_file=str(said)))
    (lost,) = events(run, "lost")
    assert lost["reason"] == (
        "its process died: Worker unexpectedly exits with a connection error code 2. End of file."
    )


class Controller:
    """Tune's, as far as attempts are taken back."""

    def __init__(self, *trials):
        self._trials, self.stopped = trials, []

    def get_trials(self):
        return self._trials

    def stop_trial(self, trial):
        self.stopped.append(trial.trial_id)


def test_an_attempt_whose_worker_went_before_it_started_is_taken_back_and_handed_out_elsewhere(desk, run, cluster):
    waits = tunes(desk.hand_out("t1"))
    waits.status, waits.init_local_path = Trial.PENDING, lambda: None
    controller = Controller(waits)
    desk.take_back(controller)
    assert controller.stopped == []
    cluster.there = {"worker-2": Joined("node-2", 1, 0)}
    desk.take_back(controller)
    assert controller.stopped == ["t1"]
    again = desk.hand_out("t2")
    assert (again["trial"]["id"], again["worker"], again["attempt"]) == (TRIAL, "worker-2", 1)
    assert events(run, "attempt", "lost") == []


def test_a_cluster_hears_what_runs_and_waits_and_the_journal_how_its_workers_stand(desk, run, cluster):
    cluster.told = [Worker("17", "lost", "NODE_FAIL", "node-1")]
    desk.look_up()
    assert cluster.offered == [{"cpus": 1, "gpus": 0.0}] * 2
    (written,) = events(run, "worker")
    assert {key: written[key] for key in ("worker", "state", "reason", "node")} == {
        "worker": "17", "state": "lost", "reason": "NODE_FAIL", "node": "node-1"
    }  # fmt: skip


def test_workers_that_cannot_be_had_end_the_tuning(desk, cluster):
    def refuse(demand):
        raise ClusterError("worker 3 ended before it joined")

    cluster.offer = refuse
    desk.look_up()
    assert isinstance(desk.fault, ClusterError)
    assert desk.is_over


UNFIT = {"unfit": "a GPU was asked for, but torch can use none here"}


def test_a_worker_that_can_run_no_trial_is_handed_back_and_the_trial_goes_on_elsewhere(desk, run, trial, cluster):
    cluster.there["worker-2"] = Joined("node-2", 2, 0)
    assert not desk.result(trial, UNFIT)
    assert cluster.released == ["worker-1"]
    assert desk.fault is None
    again = desk.hand_out("t2")
    assert (again["trial"]["id"], again["worker"]) == (TRIAL, "worker-2")
    assert events(run, "end", "lost") == []


def test_three_such_workers_one_after_another_end_the_tuning_and_no_trial(desk, run, trial, cluster):
    for number in (2, 3, 4):
        assert desk.fault is None
        desk.result(trial, UNFIT)
        cluster.there = {f"worker-{number}": Joined(f"node-{number}", 1, 0)}
        if number < 4:
            trial = tunes(desk.hand_out("next"), "next")
            desk.started(trial)
    assert isinstance(desk.fault, ResourceError)
    assert str(desk.fault) == UNFIT["unfit"]
    assert events(run, "end", "lost") == []


def test_a_machine_that_cannot_be_handed_back_ends_the_tuning_at_once(desk, trial, cluster):
    cluster.release = lambda worker: None
    desk.result(trial, UNFIT)
    assert isinstance(desk.fault, ResourceError)
