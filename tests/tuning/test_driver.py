"""What the driver decides, and that it is the same however often another driver goes on: no Ray, no torch."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from random import Random
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fishray.config.sweep import Sweep
from fishray.errors import RunError, StorageError, WeightsError
from fishray.files import previous
from fishray.runs import Lease, Run, RunState
from fishray.runs.directory import provenance
from fishray.tuning.driver import Driver
from fishray.tuning.recorder import Recorder
from fishray.tuning.schedulers import make_scheduler
from fishray.tuning.seats import Seats
from fishray.weights import BEST, read_weights, under, write_weights
from hpc.cluster import Joined

AUC = "validation_auc"
SPACE = {"learning_rate": {"loguniform": [0.001, 0.1]}, "hidden": {"choice": [4, 8, 16]}}


def make_sweep(retries=3, resources=None, **changes):
    """A sweep of families with so many trials; the rest are settings of its search."""
    families = changes.pop("families", {"lstm": 3})
    resources = {name: {"retries": retries, **(resources or {}).get(name, {})} for name in families}
    return Sweep.model_validate_json(
        json.dumps({
            "name": "some",
            "data": {"store": "tank.zarr"},
            "families": {
                name: {"model": "lstm", "trials": trials, "space": SPACE, "resources": resources[name]}
                for name, trials in families.items()
            },
            "search": {"max_epochs": 3, **changes},
        })
    )  # fmt: skip


def begin_run(path, sweep):
    run = Run.claim(path)
    run.write_sweep(sweep, provenance("fingerprint"))
    return run


def on(**workers):
    """Seats on workers of so many CPUs; the dictionary may change."""
    return Seats(lambda: {name: Joined(name, cpus, 0) for name, cpus in workers.items()})


def room_for(count):
    return on(here=count)


class Worker:
    """Trains an attempt as a process would: its weights are a number that all before it decides.

    So does its value: two trials that have gone the same way have the same values, and only they.
    """

    def __init__(self, attempt):
        self.name, self.number = attempt.trial.config.id, attempt.number
        self._config = attempt.trial.config
        self._known, self._since = attempt.trial.epochs, attempt.trial.since
        self._path = attempt.checkpoint
        self._weights, self._metadata = None, {}

    def step(self):
        """The result of the next epoch; its checkpoint is on disk before anybody hears of it."""
        if self._weights is None:
            self._weights, self._metadata = crc32(self._config.id.encode()), {"epoch": 0, "best": [0, -1.0]}
            self._resume()
            if self._metadata["epoch"] > self._known:
                return self._metadata["score"]
        epoch = self._metadata["epoch"] + 1
        self._weights = crc32(f"{self._config.settings.model_dump_json()} {epoch}".encode(), self._weights)
        value = (self._weights >> 8) % 16 / 16  # few values, so that trials tie
        best = self._metadata["best"]
        best = [epoch, value] if value > best[1] else best
        score = {"epoch": epoch, AUC: value, "best_epoch": best[0], "collapsed": False}
        self._metadata = {"epoch": epoch, "best": best, "score": score}
        arrays = {"weights": np.array(self._weights), **under({"epoch": np.array(best[0])}, BEST)}
        write_weights(self._path, arrays, self._metadata, keep_previous=True)
        return score

    def _resume(self):
        for candidate in (self._path, previous(self._path)):
            with suppress(WeightsError):
                arrays, metadata = read_weights(candidate)
                if metadata["epoch"] <= self._known + 1:
                    self._weights, self._metadata = int(arrays["weights"]), metadata
                    break
        if self._metadata["epoch"] <= self._since:
            self._metadata = self._metadata | {"best": [0, -1.0]}


class Sitting:
    """One process that drives a run, until it is forgotten; its workers do one epoch at a time."""

    def __init__(self, run, sweep, seats):
        self.run = run
        self.lease = Lease(run.path)
        self.record = Recorder(run.journal, self.lease)
        self.driver = Driver(run, sweep, self.record, seats)
        self.workers = []

    def begin(self):
        self.driver.begin({})
        self.driver.draw_planned()

    def start_one(self):
        """Start the next attempt that there is room for."""
        attempt = self.driver.next_attempt()
        if attempt is None:
            return None
        self.driver.started(attempt.trial.config.id, attempt.number)
        self.workers.append(Worker(attempt))
        return self.workers[-1]

    def fill(self):
        """Start all that there is room for; their trials."""
        while self.start_one():
            pass
        return [worker.name for worker in self.workers]

    def step(self, worker):
        goes_on = self.driver.result(worker.name, worker.number, worker.step())
        if not goes_on:
            self.workers.remove(worker)
        return goes_on

    def die(self, worker, reason="its process died: signal 9", words="signal 9", **how):
        self.workers.remove(worker)
        self.driver.lost(worker.name, worker.number, reason, words, **how)

    def run_to_end(self):
        while self.fill():
            self.step(self.workers[0])
        assert self.driver.done

    def forget(self):
        """Whoever comes next takes the run over."""
        self.lease.release()


@pytest.fixture
def sit(tmp_path) -> Iterator:
    """Sit down at the one run of a test; whoever sat there before is forgotten."""
    sittings = []

    def sit_down(sweep, room=1, begin=True):
        for each in sittings:
            each.forget()
        run = Run(tmp_path / "run") if sittings else begin_run(tmp_path / "run", sweep)
        sittings.append(Sitting(run, sweep, room_for(room) if isinstance(room, int) else room))
        if begin:
            sittings[-1].begin()
        return sittings[-1]

    yield sit_down
    for each in sittings:
        each.forget()


def events(run, *kinds):
    return [each for each in run.journal if each["event"] in kinds]


def ends(run):
    return {each["trial"]: each["status"] for each in events(run, "end")}


def kept(run, trial):
    return sorted(str(path.relative_to(run.trial_path(trial))) for path in run.trial_path(trial).rglob("*[!0-9]"))


@contextmanager
def nothing_changes(run):
    """Not a byte of the journal."""
    before = run.journal.path.read_bytes()
    yield
    assert run.journal.path.read_bytes() == before


# What comes next


def test_attempts_are_handed_out_in_the_order_of_the_plan(sit):
    sitting = sit(make_sweep(families={"lstm": 4, "gru": 2}), room=6)
    # places (0.5, 1.5, 2.5, 3.5) / 4 and (0.5, 1.5) / 2
    assert sitting.fill() == ["lstm-0000", "gru-0000", "lstm-0001", "lstm-0002", "gru-0001", "lstm-0003"]


def test_none_is_handed_out_without_room(sit):
    sitting = sit(make_sweep(), room=2)
    assert len(sitting.fill()) == 2
    assert sitting.driver.next_attempt() is None
    while sitting.step(sitting.workers[0]):
        assert sitting.driver.next_attempt() is None
    assert sitting.fill() == ["lstm-0001", "lstm-0002"]


def test_a_smaller_trial_goes_where_the_next_one_does_not_fit(sit):
    sweep = make_sweep(families={"large": 2, "small": 2}, resources={"large": {"cpus": 2}})
    sitting = sit(sweep, room=3)
    assert sitting.fill() == ["large-0000", "small-0000"]
    sitting.die(sitting.workers[1], counts=False)
    assert sitting.fill() == ["large-0000", "small-0000"]
    for worker in list(sitting.workers):
        while sitting.step(worker):
            pass
    assert sitting.fill() == ["large-0001", "small-0001"]


def test_a_trial_that_was_lost_is_the_next_to_start(sit):
    sitting = sit(make_sweep(families={"lstm": 4}), room=2)
    sitting.fill()
    sitting.die(sitting.workers[0])
    assert sitting.fill() == ["lstm-0001", "lstm-0000"]
    assert [(each["trial"], each["attempt"]) for each in events(sitting.run, "attempt")] == [
        ("lstm-0000", 1), ("lstm-0001", 1), ("lstm-0000", 2)
    ]  # fmt: skip


def test_what_ran_when_a_driver_was_forgotten_is_the_next_to_start(sit):
    sweep = make_sweep(families={"lstm": 4})
    sitting = sit(sweep, room=2)
    sitting.fill()
    sitting.step(sitting.workers[1])
    again = sit(sweep, room=2)
    assert again.fill() == ["lstm-0000", "lstm-0001"]
    assert [worker.number for worker in again.workers] == [2, 2]
    again.step(again.workers[1])
    assert [each["epoch"] for each in events(again.run, "result")] == [1, 2]


# What becomes of an attempt


def test_an_epoch_that_is_known_counts_once(sit):
    sitting = sit(make_sweep())
    worker = sitting.start_one()
    result = worker.step()
    assert sitting.driver.result(worker.name, 1, result)
    with nothing_changes(sitting.run):
        assert sitting.driver.result(worker.name, 1, result | {AUC: 0.0})


def test_an_attempt_that_no_longer_counts_changes_nothing(sit):
    sitting = sit(make_sweep())
    cut_off = sitting.start_one()
    sitting.die(cut_off)
    result = cut_off.step()

    def assert_that_it_does_not_count():
        with nothing_changes(sitting.run):
            assert not sitting.driver.result(cut_off.name, 1, result)
            sitting.driver.failed(cut_off.name, 1, "ValueError: no", "Traceback")
            sitting.driver.lost(cut_off.name, 1, "its process died", "")

    assert_that_it_does_not_count()
    second = sitting.start_one()
    assert_that_it_does_not_count()
    assert sitting.step(second)
    assert_that_it_does_not_count()


def test_a_trial_that_raises_has_failed_at_once_and_keeps_the_best_of_what_it_had(sit):
    sitting = sit(make_sweep())
    worker = sitting.start_one()
    sitting.step(worker)
    sitting.driver.failed(worker.name, 1, "ValueError: no", "Traceback …")
    (end,) = events(sitting.run, "end")
    assert (end["status"], end["reason"], end["traceback"]) == ("failed", "ValueError: no", "Traceback …")
    assert kept(sitting.run, worker.name) == ["best"]
    assert sitting.start_one().name == "lstm-0001"


def test_retries_are_counted_across_drivers_and_the_last_words_stay(sit):
    sweep = make_sweep(retries=2)
    for death in range(3):
        sitting = sit(sweep)
        worker = sitting.start_one()
        assert (worker.name, worker.number) == ("lstm-0000", death + 1)
        sitting.die(worker, reason="its process died: signal 9", words=f"words {death}")
    assert [each["counts"] for each in events(sitting.run, "lost")] == [True, True]
    (end,) = events(sitting.run, "end")
    assert (end["status"], end["reason"]) == ("failed", "its process died: signal 9 (3 times)")
    assert end["traceback"] == "words 2"


def test_a_trial_that_is_not_to_be_tried_again_fails_with_its_first_death(sit):
    sitting = sit(make_sweep(retries=0))
    sitting.die(sitting.start_one())
    (end,) = events(sitting.run, "end")
    assert end["reason"] == "its process died: signal 9 (once, and it is not to be tried again)"


def test_a_machine_that_was_lost_is_no_death_of_the_trial(sit):
    sitting = sit(make_sweep(retries=0))
    for _ in range(5):
        sitting.die(sitting.start_one(), counts=False)
    assert events(sitting.run, "end") == []
    assert sitting.start_one().number == 6


def test_a_trial_that_finished_keeps_its_checkpoint_and_one_that_was_stopped_its_best_alone(sit):
    sitting = sit(make_sweep(families={"lstm": 6}))
    sitting.run_to_end()
    found = ends(sitting.run)
    assert set(found.values()) == {"finished", "stopped"}
    for trial, status in found.items():
        checkpoint = ["attempt-1/checkpoint", "attempt-1/checkpoint.previous"] if status == "finished" else []
        assert kept(sitting.run, trial) == [*checkpoint, "best"]


def test_an_attempt_that_goes_on_is_the_only_one_that_is_kept(sit):
    sitting = sit(make_sweep())
    worker = sitting.start_one()
    sitting.step(worker)
    sitting.die(worker)
    sitting.start_one()
    assert [path.name for path in sitting.run.trial_path(worker.name).iterdir()] == ["attempt-2"]
    assert kept(sitting.run, worker.name) == ["attempt-2/checkpoint"]


def test_best_weights_that_are_lost_are_told_and_the_trial_ends_all_the_same(sit):
    sitting = sit(make_sweep(max_epochs=1))
    worker = sitting.start_one()
    result = worker.step()
    sitting.run.checkpoint_path(worker.name, 1).unlink()
    sitting.driver.result(worker.name, 1, result)
    (notice,) = events(sitting.run, "notice")
    assert notice["text"].startswith("its best weights are lost: no weights at ")
    assert ends(sitting.run) == {"lstm-0000": "finished"}


# Workers that come and go


def test_a_trial_that_leaves_its_place_is_the_next_to_start_and_has_not_died(sit):
    sitting = sit(make_sweep(retries=0))
    worker = sitting.start_one()
    sitting.step(worker)
    sitting.workers.remove(worker)
    sitting.driver.left(worker.name, 1, "another epoch would not fit before n1 ends")
    again = sitting.start_one()
    assert (again.name, again.number) == (worker.name, 2)
    sitting.step(again)
    assert [each["epoch"] for each in events(sitting.run, "result")] == [1, 2]
    assert events(sitting.run, "lost", "end") == []


def test_an_attempt_that_never_started_is_handed_out_once_more_under_its_number(sit):
    sitting = sit(make_sweep())
    attempt = sitting.driver.next_attempt()
    sitting.driver.take_back(attempt.trial.config.id)
    again = sitting.driver.next_attempt()
    assert (again.trial.config.id, again.number) == (attempt.trial.config.id, attempt.number) == ("lstm-0000", 1)


def test_what_is_wanted_are_the_trials_that_run_and_wait(sit):
    sitting = sit(make_sweep(families={"lstm": 3, "wide": 1}, resources={"wide": {"cpus": 2}}), room=1)
    assert sorted(each.cpus for each in sitting.driver.demand()) == [1, 1, 1, 2]
    worker = sitting.start_one()
    while sitting.step(worker):
        pass
    assert sorted(each.cpus for each in sitting.driver.demand()) == [1, 1, 2]
    sitting.start_one()
    sitting.driver.stop("SIGTERM")
    assert [each.cpus for each in sitting.driver.demand()] == [1]


def test_a_trial_goes_where_its_next_epoch_fits(sit):
    now_s, ends = 1000.0, {"short": 1009.0, "long": 1011.0}
    seats = Seats(lambda: {name: Joined(name, 1, 0, end_s) for name, end_s in ends.items()}, lambda: now_s)
    sitting = sit(make_sweep(families={"lstm": 1}), room=seats)
    worker = sitting.start_one()
    assert sitting.driver.result(worker.name, 1, worker.step() | {"epoch_s": 7.7})  # times 1.3: 10 s
    sitting.die(worker, counts=False)
    assert sitting.driver.next_attempt().worker == "long"


# The end of a driver


def test_asked_to_stop_every_attempt_ends_with_its_epoch_and_no_trial_ends(sit):
    sweep = make_sweep(retries=0)
    sitting = sit(sweep, room=2)
    sitting.fill()
    sitting.driver.stop("SIGTERM")
    assert sitting.driver.next_attempt() is None
    first, second = list(sitting.workers)
    assert not sitting.step(first)
    sitting.die(second)  # as somebody in a hurry does to every process of the group
    assert events(sitting.run, "end") == []
    assert [each["epoch"] for each in events(sitting.run, "result")] == [1]
    assert [each["counts"] for each in events(sitting.run, "lost")] == [False]
    assert events(sitting.run, "stopping")[0]["reason"].startswith("SIGTERM: ")
    assert sit(sweep, room=2).fill() == ["lstm-0000", "lstm-0001"]


def test_a_driver_that_was_overtaken_writes_nothing(sit):
    sweep = make_sweep()
    sitting = sit(sweep)
    worker = sitting.start_one()
    sit(sweep)
    with nothing_changes(sitting.run), pytest.raises(RunError, match="was taken over by another process"):
        sitting.driver.result(worker.name, 1, worker.step())


def test_an_end_that_was_decided_and_not_written_is_written_by_the_next_driver(sit):
    sweep = make_sweep(max_epochs=1)
    sitting = sit(sweep)
    sitting.run_to_end()
    lines = sitting.run.journal.path.read_bytes().splitlines(keepends=True)
    assert json.loads(lines[-1])["event"] == "end"
    assert json.loads(lines[-2])["event"] == "decision"
    assert json.loads(lines[-3])["event"] == "result"
    for cut in (1, 2):
        sitting.run.journal.path.write_bytes(b"".join(lines[:-cut]))
        again = sit(sweep)
        assert again.driver.done
        assert again.driver.next_attempt() is None
        assert ends(again.run) == dict.fromkeys(["lstm-0000", "lstm-0001", "lstm-0002"], "finished")


@pytest.mark.parametrize("change", [{"action": "stop"}, {"value": 0.123}, {"rung": 2}, {"trial": "lstm-0001"}])
def test_a_decision_that_the_results_do_not_give_is_refused_with_its_line(sit, change):
    sweep = make_sweep()
    sitting = sit(sweep)
    sitting.fill()
    sitting.step(sitting.workers[0])
    lines = [json.loads(line) for line in sitting.run.journal.path.read_text().splitlines()]
    (line,) = [number for number, each in enumerate(lines, start=1) if each["event"] == "decision"]
    lines[line - 1] |= change
    sitting.run.journal.path.write_text("".join(f"{json.dumps(each)}\n" for each in lines))
    with pytest.raises(RunError, match=rf"journal\.jsonl: the decision on .* in line {line} is not what its results"):
        sit(sweep, begin=False)


# A run that is extended


def drawn(run):
    return {each["config"]["id"]: each["config"] for each in events(run, "trial")}


def test_more_trials_are_those_that_a_larger_run_would_have_had(sit, tmp_path):
    sitting = sit(make_sweep(families={"lstm": 8}))
    sitting.run_to_end()
    before = sitting.run.journal.path.read_bytes()
    larger = sit(make_sweep(families={"lstm": 16}))
    assert not larger.driver.done
    larger.run_to_end()
    assert larger.run.journal.path.read_bytes().startswith(before)
    whole = Sitting(begin_run(tmp_path / "whole", make_sweep()), make_sweep(families={"lstm": 16}), room_for(1))
    whole.begin()
    whole.forget()
    assert drawn(larger.run) == drawn(whole.run)
    assert len(drawn(whole.run)) == 16
    assert Counter(each["trial"] for each in events(larger.run, "end")) == Counter(drawn(larger.run).keys())


@pytest.mark.parametrize("scheduler", ["asha", "median", "pbt", "none"])
def test_with_more_epochs_what_had_finished_goes_on_from_its_last_one(sit, scheduler):
    sitting = sit(make_sweep(families={"lstm": 6}, scheduler=scheduler))
    sitting.run_to_end()
    before, finished = sitting.run.journal.path.read_bytes(), ends(sitting.run)
    longer = sit(make_sweep(families={"lstm": 6}, scheduler=scheduler, max_epochs=9))
    longer.run_to_end()
    assert longer.run.journal.path.read_bytes().startswith(before)
    results = Counter((each["trial"], each["epoch"]) for each in events(longer.run, "result"))
    assert set(results.values()) == {1}
    longest = {trial: max(epoch for name, epoch in results if name == trial) for trial in finished}
    assert [trial for trial, status in finished.items() if status == "stopped" and longest[trial] > 3] == []
    went_on = [trial for trial, status in ends(longer.run).items() if status == "finished"]
    assert went_on
    assert {longest[trial] for trial in went_on} == {9}
    for trial, epochs in longest.items():
        assert sorted(epoch for name, epoch in results if name == trial) == list(range(1, epochs + 1))


def test_a_new_family_has_trials_and_a_scheduler_of_its_own(sit):
    sitting = sit(make_sweep(families={"lstm": 3}))
    sitting.run_to_end()
    before = sitting.run.journal.path.read_bytes()
    wider = sit(make_sweep(families={"lstm": 3, "gru": 2}))
    wider.run_to_end()
    assert wider.run.journal.path.read_bytes().startswith(before)
    assert list(ends(wider.run)) == ["lstm-0000", "lstm-0001", "lstm-0002", "gru-0000", "gru-0001"]
    (first, *_) = [each for each in events(wider.run, "decision") if each["family"] == "gru"]
    assert first["needed"] is None  # the other family's values are none of its business


def test_an_adaptive_search_goes_on_as_if_it_had_never_been_forgotten(tmp_path):
    pytest.importorskip("optuna")
    sweep = make_sweep(families={"lstm": 13}, searcher="tpe", max_epochs=1)
    undisturbed, run = begin_run(tmp_path / "one", sweep), begin_run(tmp_path / "other", sweep)
    sitting = Sitting(undisturbed, sweep, room_for(1))
    sitting.begin()
    sitting.run_to_end()
    sitting.forget()
    while not (sitting := Sitting(run, sweep, room_for(1))).driver.done:
        sitting.begin()
        sitting.fill()
        sitting.step(sitting.workers[0])
        sitting.forget()
    sitting.forget()
    assert list(drawn(run).values()) == list(drawn(undisturbed).values())
    assert len(drawn(run)) == 13


# Whatever happens


class CrashError(Exception):
    """The driver's process is gone."""


class World:
    """A sweep at which anything can happen, as a source of random numbers has it.

    Its driver is forgotten at any moment, with whatever part of what it was writing reached the disk; its workers die,
    or are believed to have died and end their epoch, or raise; results come in any order, some of them twice.
    """

    def __init__(self, path, sweep, room, random, mishaps):
        self.run = begin_run(path, sweep)
        self._sweep, self._room, self._random = sweep, room, random
        self._mishaps = mishaps
        self._cut_off = []
        """Workers in mid-epoch whose driver is gone, or does not believe in them any more."""
        self._told = None
        """The worker whose result the driver looks at; it waits to be told to go on."""
        self._crashes = 12
        self.live = {}
        """How driver and schedulers stood after each line of the journal, while they lived."""

    def chance(self, share):
        return self._random.random() < share

    def play(self):
        self.run.journal.path.touch()
        while True:
            sitting = Sitting(self.run, self._sweep, room_for(self._room))
            whole = self.run.journal.path.read_bytes()
            self._safe = self._written = len(whole)
            self._line = whole.count(b"\n")
            self.live = {line: stood for line, stood in self.live.items() if line < self._line}
            self._remember(sitting.driver)
            sitting.record.watchers.insert(0, self._maybe_crash)
            sitting.record.watchers.append(lambda _, driver=sitting.driver: self._follow(driver))
            try:
                self._sit(sitting)
            except CrashError:
                self._lose_what_was_being_written()
                self._cut_off += [worker for worker in sitting.workers if worker is not self._told]
            finally:
                sitting.forget()
            if sitting.driver.done:
                return sitting

    def _sit(self, sitting):
        self._told = None
        sitting.begin()
        while not sitting.driver.done:
            assert self._line < 2000, "it does not come to an end"
            self._told = None
            sitting.fill()
            if not sitting.workers:
                assert sitting.driver.stopping, "nothing runs, and nothing comes"
                return
            self._happen(sitting)

    def _happen(self, sitting):
        self._told = worker = self._random.choice(sitting.workers)
        mishap = self._random.choice(self._mishaps) if self.chance(0.2) else "none"
        match mishap:
            case "death":
                if self.chance(0.5):
                    worker.step()  # and nobody hears of it
                sitting.die(worker, counts=self.chance(0.7))
                self._cut_off.append(worker)
            case "failure":
                sitting.workers.remove(worker)
                sitting.driver.failed(worker.name, worker.number, "ValueError: no", "Traceback")
            case "stop" if not sitting.driver.stopping:
                sitting.driver.stop("SIGTERM")
            case "cut-off" if self._cut_off:
                self._hear_of_the_cut_off(sitting)
            case "twice":
                result = worker.step()
                if not sitting.driver.result(worker.name, worker.number, result):
                    sitting.workers.remove(worker)
                with nothing_changes(self.run):
                    goes_on = sitting.driver.result(worker.name, worker.number, result)
                assert goes_on == (worker in sitting.workers)
            case _:
                sitting.step(worker)

    def _hear_of_the_cut_off(self, sitting):
        worker = self._cut_off.pop(self._random.randrange(len(self._cut_off)))
        try:
            result = worker.step()
        except StorageError:  # its directory was cleared away
            return
        with nothing_changes(self.run):
            assert not sitting.driver.result(worker.name, worker.number, result)

    def _maybe_crash(self, _):
        size = self.run.journal.path.stat().st_size
        if size != self._written:
            self._safe, self._written = self._written, size
        if self._crashes and self.chance(0.06):
            self._crashes -= 1
            raise CrashError

    def _lose_what_was_being_written(self):
        content = self.run.journal.path.read_bytes()
        places = [self._safe, self._written, self._random.randint(self._safe, self._written)]
        self.run.journal.path.write_bytes(content[: self._random.choice(places)])

    def _follow(self, driver):
        self._line += 1
        self._remember(driver)

    def _remember(self, driver):
        self.live[self._line] = stand(driver)


def stand(driver):
    """How a driver and its schedulers stand, in every detail and order."""
    schedulers = {family: repr(vars(scheduler)) for family, scheduler in driver._schedulers.items()}
    return schedulers, list(driver._expected), dict(driver._to_end)


def rebuilt(path, run, sweep, lines):
    """How a driver stands that is built from the first lines of a run's journal."""
    copy = Run(path)
    journal = run.journal.path.read_bytes().splitlines(keepends=True)
    copy.journal.path.write_bytes(b"".join(journal[:lines]))
    sitting = Sitting(copy, sweep, room_for(1))
    sitting.forget()
    return stand(sitting.driver)


def assert_that_the_results_give_the_decisions(run, sweep):
    """Tell fresh schedulers everything in the journal's order."""
    schedulers = {family: make_scheduler(sweep, family) for family in sweep.families}
    configs = RunState.read(event for event in run.journal if event["event"] == "trial").trials
    expected = []
    for event in run.journal:
        name = event["config"]["id"] if event["event"] == "trial" else event.get("trial")
        scheduler = schedulers[configs[name].config.family] if name else None
        match event["event"]:
            case "trial":
                scheduler.add(configs[name].config)
            case "result":
                expected += scheduler.observe(name, event["epoch"], event[AUC])
            case "end" if event["status"] == "failed":
                expected += scheduler.drop(name)
            case "decision":
                recorded = {key: event[key] for key in asdict(expected[0])}
                assert recorded == json.loads(json.dumps(asdict(expected.pop(0))))
    assert expected == []


def outcome(run):
    """What of a run does not depend on how often somebody else went on with it: all but who waited for whom."""
    results = {(each["trial"], each["epoch"]): (each[AUC], each["best_epoch"]) for each in events(run, "result")}
    decisions = [
        {key: value for key, value in each.items() if key not in ("time", "generation")}
        for each in events(run, "decision")
        if each["action"] != "wait"
    ]
    ended = {each["trial"]: (each["status"], each["reason"]) for each in events(run, "end")}
    best = {name: int(read_best(run, name)) for name in ended}
    settings = {name: trial.config for name, trial in run.state().trials.items()}
    return results, decisions, ended, best, settings


def read_best(run, trial):
    arrays, _ = read_weights(run.best_path(trial))
    return arrays["epoch"]


@st.composite
def sweeps(draw):
    families = {name: draw(st.integers(1, 5)) for name in ["lstm", "gru"][: draw(st.integers(1, 2))]}
    most = draw(st.integers(1, 6))
    search = {"max_epochs": most, "grace_epochs": draw(st.integers(1, min(most, 3)))}
    scheduler = draw(st.sampled_from(["asha", "median", "none", "pbt"]))
    return {"families": families, "scheduler": scheduler, "reduction_factor": draw(st.integers(2, 3)), **search}


def folder():
    """A new folder, in memory where there is such a place: every line of a journal waits for the disk."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)


@settings(deadline=None, max_examples=50)
@given(sweeps(), st.integers(1, 4), st.integers(0, 2**32), st.integers(0, 2))
def test_whatever_happens_every_trial_ends_once_by_decisions_that_its_results_give(kind, room, seed, retries):
    sweep, random = make_sweep(**kind, retries=retries), Random(seed)
    with folder() as place:
        world = World(Path(place) / "run", sweep, room, random, ["death", "failure", "stop", "cut-off", "twice"])
        last = world.play()
        ended = Counter(each["trial"] for each in events(world.run, "end"))
        assert ended == Counter(
            {f"{name}-{k:04d}": 1 for name, count in kind["families"].items() for k in range(count)}
        )
        counted = Counter((each["trial"], each["epoch"]) for each in events(world.run, "result"))
        assert set(counted.values()) <= {1}
        assert_that_the_results_give_the_decisions(world.run, sweep)
        assert last.driver.state == world.run.state()
        for line in random.sample(sorted(world.live), min(12, len(world.live))):
            assert rebuilt(Path(place), world.run, sweep, line) == world.live[line]


@settings(deadline=None, max_examples=40)
@given(sweeps(), st.integers(0, 2**32))
def test_with_one_worker_a_run_that_was_forgotten_again_and_again_ends_as_one_that_never_was(kind, seed):
    sweep, random = make_sweep(**kind, retries=1000), Random(seed)
    with folder() as place:
        quiet = World(Path(place) / "quiet", sweep, 1, Random(0), ["none"])
        quiet._crashes = 0
        quiet.play()
        world = World(Path(place) / "run", sweep, 1, random, ["death", "stop", "cut-off", "twice"])
        world.play()
        undisturbed, disturbed = outcome(quiet.run), outcome(world.run)
        if kind["scheduler"] == "pbt":  # who comes last to an exchange goes on, or, if lost there, waits for its turn
            for each in (undisturbed, disturbed):
                each[1].sort(key=lambda decision: (decision["rung"], decision["trial"]))
        assert disturbed == undisturbed
