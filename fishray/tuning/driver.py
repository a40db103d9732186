"""What the driver decides: which attempt of which trial comes next, and whether a trial goes on.

All of it is a function of the journal. A driver that starts folds the journal through the very code that it then goes
on with, so its schedulers stand where those of the last one stood. Nothing here knows Ray.
"""

import heapq
import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from fishray.config.sweep import Resources, SearchSettings, Sweep
from fishray.errors import RunError, WeightsError
from fishray.runs import Run, RunState, TrialState
from fishray.runs.journal import JournalReader
from fishray.tuning.recorder import Recorder
from fishray.tuning.schedulers import Decision, Scheduler, make_scheduler
from fishray.tuning.searchers import make_searcher
from fishray.tuning.seats import Seats
from fishray.tuning.space import plan_order, trial_id

EPOCH_MARGIN = 1.3
"""An epoch is given this many times as long as the one before it took."""

ENDS = {"stop": "stopped", "finish": "finished"}
"""What becomes of a trial by a decision."""


@dataclass(frozen=True)
class Attempt:
    """One stretch of a trial in one process, to be started."""

    trial: TrialState
    number: int
    checkpoint: Path
    """Where its checkpoints go, and are found if it does not start from nothing."""
    worker: str
    """Where it is to run."""


class Driver:
    """Decides what a sweep does next.

    Parameters
    ----------
    run, sweep
        The run and what it is to become; its journal may hold a smaller sweep of the same kind.
    record
        Writes its events.
    seats
        Where there is room for another trial. Attempts are handed out no earlier, so that one that was lost is the next
        to start.

    Raises
    ------
    RunError
        If the journal holds decisions that its results do not give.
    """

    def __init__(self, run: Run, sweep: Sweep, record: Recorder, seats: Seats):
        self.state = RunState()
        self.stopping = False
        """Whether nothing more is handed out, and every attempt ends with its epoch."""
        self._run = run
        self._sweep = sweep
        self._record = record
        self._seats = seats
        self._searcher = make_searcher(sweep)
        self._search = sweep.search
        """As it was when the last driver in the journal began, once one has."""
        self._schedulers: dict[str, Scheduler] = {}
        self._expected: deque[Decision] = deque()
        """Decisions that follow from what is in the journal, and are not in it yet."""
        self._to_end: dict[str, Decision] = {}
        """Trials whose end is decided and not written down."""
        self._last_ended = ""
        """The last trial that ended, whose end may have been cut short."""
        order = plan_order(sweep)
        self._place = {name_number: place for place, name_number in enumerate(order)}
        self._undrawn: deque[tuple[str, int]] = deque()
        self._ready: dict[str, list[tuple[int, str]]] = {family: [] for family in sweep.families}
        """Trials that wait for a place, by family; heaps in the order of the plan."""
        self._queued: set[str] = set()
        self._journal = JournalReader(run.journal.path)
        for event in self._journal.read():
            self._follow(event)
        self._undrawn.extend(each for each in order if trial_id(*each) not in self.state.trials)
        record.watchers.insert(0, self._follow)

    @property
    def done(self) -> bool:
        """Whether every trial has ended."""
        return not self._undrawn and self.state.all_ended

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Write down that a driver starts, and what follows from what the last one left undone."""
        self._record("sweep", **facts, search=self._sweep.search.model_dump(mode="json", exclude_none=True))
        self._settle()
        for trial in self.state.unfinished():
            self._inherit(trial)
        if self._last_ended:
            self._tidy(self._last_ended)

    def draw_planned(self) -> None:
        """Draw every trial whose settings depend on no result."""
        if not self._searcher.adaptive:
            configs = [self._searcher.draw(family, number, ()) for family, number in self._undrawn]
            self._record.all([("trial", {"config": config.model_dump(mode="json")}) for config in configs])
            self._undrawn.clear()
        for trial in self.state.unfinished():
            self._enqueue(trial)

    def stop(self, signal: str) -> None:
        """Hand out nothing more, and end every attempt with its epoch."""
        self.stopping = True
        self._record("stopping", reason=f"{signal}: it stops when the running epochs have ended; again: at once")

    def next_attempt(self) -> Attempt | None:
        """Hand out the next attempt that there is room for; None if there is none now."""
        if self.stopping:
            return None
        trial, worker = self._next_ready() or self._draw_next() or (None, "")
        if trial is None:
            return None
        name = trial.config.id
        self._seats.take(name, worker, self._resources(trial.config.family))
        number = trial.attempt + 1
        self._record.check()
        if not trial.donor:  # else it has them already
            self._run.prepare_attempt(name, number, (name, trial.attempt) if trial.attempt else None)
        return Attempt(trial, number, self._run.checkpoint_path(name, number), worker)

    def demand(self) -> Iterator[Resources]:
        """What trials ask for that run or wait for a place, in no particular order."""
        for trial in self.state.unfinished():
            if trial.config.id in self._seats or not (trial.held or self.stopping):
                yield self._resources(trial.config.family)
        for family, _ in () if self.stopping else self._undrawn:
            yield self._resources(family)

    def take_back(self, trial: str) -> None:
        """An attempt that was handed out has not started, and will not: its worker is gone."""
        if trial in self._seats:
            self._leave(trial)

    def started(self, trial: str, attempt: int) -> None:
        """An attempt runs."""
        self._record("attempt", trial=trial, attempt=attempt, worker=self._seats.worker_of(trial))
        self._run.remove_attempts(trial, keep=attempt)

    def result(self, trial: str, attempt: int, result: Mapping[str, Any]) -> bool:
        """Take what an epoch gave; says whether the attempt goes on.

        An epoch that the journal knows counts once; one of an attempt that does not count, never.
        """
        state = self.state.trials[trial]
        if not self._counts(trial, attempt):
            return False
        if result["epoch"] not in state.results:
            self._record("result", trial=trial, attempt=attempt, **result)
            self._settle()
        if state.status == "running" and not self.stopping:
            return True
        self._leave(trial)
        return False

    def left(self, trial: str, attempt: int, reason: str) -> None:
        """A trial has given up its place behind an epoch, and goes on elsewhere."""
        if self._counts(trial, attempt):
            self._record("left", trial=trial, attempt=attempt, reason=reason)
            self._leave(trial)

    def notice(self, trial: str, text: str) -> None:
        """Write down what there is to say of a trial."""
        self._record("notice", trial=trial, text=text)

    def failed(self, trial: str, attempt: int, reason: str, words: str) -> None:
        """A trial has raised: it would do so again."""
        if self._counts(trial, attempt):
            self._end(trial, "failed", reason, words)
            self._settle()
            self._leave(trial)

    def lost(self, trial: str, attempt: int, reason: str, words: str, *, counts: bool = True) -> None:
        """A trial's process has died: it is tried again, as often as its family's resources say.

        Parameters
        ----------
        counts
            Whether it was the process that died, rather than its machine.
        """
        state = self.state.trials[trial]
        if trial not in self._seats or state.attempt > attempt:
            return
        retries = self._resources(state.config.family).retries
        if counts and state.deaths >= retries and not self.stopping:
            times = f"{state.deaths + 1} times" if state.deaths else "once, and it is not to be tried again"
            self._end(trial, "failed", f"{reason} ({times})", words)
            self._settle()
        else:
            counts = counts and not self.stopping
            self._record("lost", trial=trial, attempt=attempt, reason=reason, traceback=words, counts=counts)
        self._leave(trial)

    def _counts(self, trial: str, attempt: int) -> bool:
        state = self.state.trials[trial]
        return state.status == "running" and state.attempt == attempt

    def _leave(self, trial: str) -> None:
        """An attempt is over; the trial waits for the next one, unless it has ended or waits for others."""
        self._seats.leave(trial)
        state = self.state.trials[trial]
        if state.status == "running":  # it was told to stop with its epoch
            state.status = "waiting"
        self._enqueue(state)

    def _enqueue(self, trial: TrialState) -> None:
        name, family = trial.config.id, trial.config.family
        if trial.status == "waiting" and not trial.held and name not in self._seats and name not in self._queued:
            self._queued.add(name)
            heapq.heappush(self._ready[family], (self._place[family, trial.config.number], name))

    def _next_ready(self) -> tuple[TrialState, str] | None:
        """The first in the order of the plan that there is room for, and where."""
        fronts = sorted((queue[0], family) for family, queue in self._ready.items() if queue)
        for (_, name), family in fronts:
            if worker := self._seats.find(self._resources(family), self._next_epoch_s(name)):
                heapq.heappop(self._ready[family])
                self._queued.remove(name)
                return self.state.trials[name], worker
        return None

    def _draw_next(self) -> tuple[TrialState, str] | None:
        """Draw a trial whose settings depend on results, once there is room for it."""
        for family, number in self._undrawn:
            if worker := self._seats.find(self._resources(family)):
                trials = (trial for trial in self.state.trials.values() if trial.config.family == family)
                history = sorted(trials, key=lambda trial: trial.config.number)
                config = self._searcher.draw(family, number, history)
                self._record("trial", config=config.model_dump(mode="json"))
                self._undrawn.remove((family, number))
                return self.state.trials[config.id], worker
        return None

    def _next_epoch_s(self, trial: str) -> float:
        """What another epoch of a trial may take [s]; 0 as long as nobody knows."""
        results = self.state.trials[trial].results
        return float(results[max(results)].get("epoch_s", 0.0)) * EPOCH_MARGIN if results else 0.0

    def _resources(self, family: str) -> Resources:
        return self._sweep.families[family].resources

    def _inherit(self, trial: TrialState) -> None:
        """Put a donor's checkpoint where a trial that takes it over finds it, before the donor goes on."""
        name, number = trial.config.id, trial.attempt + 1
        if trial.donor and not self._run.checkpoint_path(name, number).exists():
            self._run.prepare_attempt(name, number, trial.donor)

    def _settle(self) -> None:
        """Write down every decision that is due, and do what it says."""
        while self._expected or self._to_end:
            decisions = list(self._expected)
            self._record.all([("decision", asdict(decision)) for decision in decisions])
            for trial in (self.state.trials[decision.trial] for decision in decisions):
                self._inherit(trial)
                if trial.config.id not in self._to_end:
                    self._enqueue(trial)
            for name, decision in list(self._to_end.items()):
                self._end(name, ENDS[decision.action], decision.reason)

    def _end(self, trial: str, status: str, reason: str, words: str = "") -> None:
        """Keep a trial's best weights, write down its end, and remove what it will not need again."""
        state = self.state.trials[trial]
        self._record.check()
        if state.best(self._search.metric) is not None:
            try:
                if fault := self._run.keep_best(trial, state.attempt):
                    self.notice(trial, f"{fault}; its best weights are those of the checkpoint before it")
            except WeightsError as error:
                self.notice(trial, f"its best weights are lost: {error}")
        last_words = {"traceback": words} if words else {}
        self._record("end", trial=trial, status=status, reason=reason, **last_words)
        self._tidy(trial)

    def _tidy(self, trial: str) -> None:
        """Remove what a trial that has ended will not need again; the checkpoint of a finished one may go on."""
        state = self.state.trials[trial]
        if state.ended:
            self._run.remove_attempts(trial, keep=state.attempt if state.status == "finished" else None)

    def _follow(self, event: Mapping[str, Any]) -> None:
        """Fold one event of the journal, whether it was read or has just been written."""
        known = event["event"] == "result" and event["epoch"] in self.state.trials[event["trial"]].results
        self.state.apply(event)
        match event["event"]:
            case "sweep":
                self._extend(SearchSettings.model_validate_json(json.dumps(event["search"])))
            case "trial":
                config = self.state.trials[event["config"]["id"]].config
                self._scheduler(config.family).add(config)
            case "result" if not known:
                trial = self.state.trials[event["trial"]].config
                value = event[self._search.metric]
                self._expected += self._scheduler(trial.family).observe(trial.id, event["epoch"], value)
            case "decision":
                self._take_decision(event)
            case "end":
                self._last_ended = event["trial"]
                self._to_end.pop(event["trial"], None)
                if event["status"] == "failed":
                    trial = self.state.trials[event["trial"]].config
                    self._expected += self._scheduler(trial.family).drop(trial.id)

    def _take_decision(self, event: Mapping[str, Any]) -> None:
        """See that a decision is the one that is due."""
        decision = self._expected.popleft() if self._expected else None
        recorded = {key: event.get(key) for key in (each.name for each in fields(Decision))}
        if decision is None or asdict(decision) != recorded:
            where = f"{self._run.journal.path}: the decision on {event['trial']} in line {self._journal.line}"
            raise RunError(
                f"{where} is not what its results give here; another version of fishray made it: go on with that one, "
                f"or start over: --fresh"
            )
        if decision.action in ENDS:
            self._to_end[decision.trial] = decision

    def _extend(self, search: SearchSettings) -> None:
        """Let every scheduler know how long the search is now."""
        for scheduler in self._schedulers.values():
            self._expected += scheduler.extend(search) if search.max_epochs > self._search.max_epochs else []
        self._search = search

    def _scheduler(self, family: str) -> Scheduler:
        if family not in self._schedulers:
            self._schedulers[family] = make_scheduler(self._sweep.model_copy(update={"search": self._search}), family)
        return self._schedulers[family]
