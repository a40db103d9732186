"""Turn a journal into what a tracker is told: every epoch of every trial once, whatever happened to the sweep."""

from collections.abc import Iterable, Mapping
from typing import Any

from fishray.runs import RunState, TrialState
from fishray.trackers.base import VALUES, Tracker


class Teller:
    """Tells one tracker.

    A trial is told from its first attempt on: those that only wait are not. One that goes on after the tracker was
    told its end, or after a resume, is told again from its first epoch, which trackers do not write twice.

    Parameters
    ----------
    past
        The journal so far; empty for a new run.
    """

    def __init__(self, tracker: Tracker, past: Iterable[Mapping[str, Any]]):
        self._tracker = tracker
        self._metric = tracker.sweep.search.metric
        self._state = RunState()
        self._begun_s: float | None = None
        self._told: set[str] = set()
        """Trials whose end has not been told."""
        for record in past:
            self._fold(record)
        if self._begun_s is not None:
            self._tell_past()

    def tell(self, record: Mapping[str, Any]) -> None:
        """Tell what follows from one more event."""
        state, trial = self._state, record.get("trial")
        if trial is not None and trial not in state.trials:
            return  # the queue was full when it was drawn
        begun = self._begun_s is not None
        is_new = not (trial and record.get("epoch") in state.trials[trial].results)
        named = record.get("name") in state.baselines
        self._fold(record)
        match record["event"]:
            case "sweep" if not begun:
                self._tell_past()
            case "baseline" if not named:
                self._tell_baseline(record["name"])
            case "attempt" | "result" | "end" if trial not in self._told:
                self._tell_trial(state.trials[str(trial)])
            case "result" if is_new:
                self._tell_result(str(trial), record)
            case "end":
                self._tell_end(state.trials[str(trial)])

    def finish(self) -> None:
        """Tell how the sweep ended; one that left no word was interrupted."""
        if self._begun_s is not None:
            status = self._state.status
            self._tracker.finish(status if status in ("finished", "failed") else "interrupted")

    def _fold(self, record: Mapping[str, Any]) -> None:
        self._state.apply(record)
        if record["event"] == "sweep" and self._begun_s is None:
            self._begun_s = record["time"]

    def _tell_past(self) -> None:
        self._tracker.start(self._state.facts, self._begun_s or 0.0)
        for name in self._state.baselines:
            self._tell_baseline(name)
        for trial in self._state.trials.values():
            if trial.results or trial.status != "waiting":
                self._tell_trial(trial)

    def _tell_baseline(self, name: str) -> None:
        scores = self._state.baselines[name]
        self._tracker.baseline(name, {f"validation_{score}": value for score, value in scores.items()})

    def _tell_trial(self, trial: TrialState) -> None:
        self._told.add(trial.config.id)
        self._tracker.trial(trial.config)
        for epoch in sorted(trial.results):
            self._tell_result(trial.config.id, trial.results[epoch])
        if trial.ended:
            self._tell_end(trial)

    def _tell_result(self, trial: str, record: Mapping[str, Any]) -> None:
        values = {name: float(record[name]) for name in VALUES if name in record}
        self._tracker.result(trial, record["epoch"], values, record["time"])

    def _tell_end(self, trial: TrialState) -> None:
        self._told.discard(trial.config.id)
        self._tracker.end(trial.config.id, trial.status, trial.reason, trial.best(self._metric))
