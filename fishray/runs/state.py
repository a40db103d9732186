"""The journal, folded: how a run and its trials stand."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from fishray.config.trial import MODELS, TrialConfig

GOING_ON = ("starting", "running", "stopping", "scoring")
"""How a run stands while a driver is at it; afterwards it is finished, interrupted, failed, or died without a word."""

ENDED = ("finished", "stopped", "failed")
"""What becomes of a trial in the end."""


@dataclass(slots=True)
class TrialState:
    """What the journal says of one trial."""

    config: TrialConfig
    """Settings as they are now: an exchange with another trial changes them."""
    status: str = "waiting"
    """waiting, running, finished, stopped (by the scheduler), failed."""
    reason: str = ""
    results: dict[int, dict[str, Any]] = field(default_factory=dict)
    """By epoch; an epoch that was run twice keeps its first result."""
    best_epoch: int | None = None
    collapsed: bool = False
    attempt: int = 0
    """Number of the attempt that counts; 0 before the first."""
    worker: str | None = None
    """Where that attempt was started."""
    deaths: int = 0
    """How often its process has died."""
    held: bool = False
    """Whether it waits for others of its family, rather than for a free place."""
    since: int = 0
    """The epoch at which it took over another trial's weights; what it was before then no longer counts."""
    donor: tuple[str, int] | None = None
    """The trial and its attempt whose weights it takes over with its next attempt."""
    notices: list[str] = field(default_factory=list)
    traceback: str = ""
    """Last words of a trial that failed, or could not be scored."""
    unscored: str = ""
    """Why a leader has no test score, if it failed there."""

    @property
    def epochs(self) -> int:
        """Epochs run."""
        return max(self.results, default=0)

    @property
    def ended(self) -> bool:
        """Whether it will not go on, unless the run is extended."""
        return self.status in ENDED

    def best(self, metric: str) -> float | None:
        """Best value of a metric over the epochs run with the weights that it has."""
        return max((result[metric] for epoch, result in self.results.items() if epoch > self.since), default=None)


@dataclass
class RunState:
    """The journal, folded: what live view, status and report show, and what the driver goes on from."""

    status: str = "starting"
    """starting, running, stopping, scoring, finished, interrupted, failed, died."""
    session_s: float = 0.0
    """When the driver started that wrote last [s since 1970]."""
    earlier_s: float = 0.0
    """How long earlier drivers ran."""
    updated_s: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    baseline_folds: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    """Their scores in each fold, where there are folds."""
    trials: dict[str, TrialState] = field(default_factory=dict)
    workers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The latest of each worker of a cluster: its state, the reason, its node."""
    last: str = ""
    _unfinished: dict[str, TrialState] = field(default_factory=dict, repr=False)
    """Kept beside all trials: a driver asks after every result, and must not look through tens of thousands for it."""

    @classmethod
    def read(cls, journal: Iterable[Mapping[str, Any]]) -> Self:
        """Fold a whole journal."""
        state = cls()
        for record in journal:
            state.apply(record)
        return state

    @property
    def started_s(self) -> float:
        """When the run would have started, had it never been interrupted [s since 1970]."""
        return self.session_s - self.earlier_s

    def ranked(self, metric: str) -> list[TrialState]:
        """Trials with at least one result, best validation value first, collapsed ones last; ties in order of id."""
        scored = [(trial, value) for trial in self.trials.values() if (value := trial.best(metric)) is not None]
        ordered = sorted(scored, key=lambda pair: (pair[0].collapsed, -pair[1], pair[0].config.id))
        return [trial for trial, _ in ordered]

    def leaders(self, metric: str, count: int) -> list[TrialState]:
        """The best trials, and the best of each family, in the order of their rank."""
        ranked = self.ranked(metric)
        first_of_family = {trial.config.family: trial for trial in reversed(ranked)}
        chosen = [*ranked[:count], *first_of_family.values()]
        return [trial for trial in ranked if any(trial is leader for leader in chosen)]

    def unfinished(self) -> list[TrialState]:
        """Trials that wait or run, or did when the journal ended."""
        return list(self._unfinished.values())

    @property
    def all_ended(self) -> bool:
        """Whether no trial waits or runs."""
        return not self._unfinished

    def apply(self, record: Mapping[str, Any]) -> None:
        """Fold one event; events of a later version are passed over."""
        handler = getattr(self, f"_on_{record['event']}", None)
        if handler:
            handler(record)
        if trial := self.trials.get(record.get("trial", "")):
            self._sort_in(trial)
        self.updated_s = record["time"]
        self.session_s = self.session_s or record["time"]

    def _on_sweep(self, record: Mapping[str, Any]) -> None:
        if self.session_s:
            self.earlier_s += self.updated_s - self.session_s
        self.session_s = record["time"]
        self.facts = dict(record)
        self.status = "starting"
        self.workers = {}
        self._put_back()

    def _on_baseline(self, record: Mapping[str, Any]) -> None:
        self.baselines[record["name"]] = dict(record["scores"])
        self.baseline_folds[record["name"]] = list(record.get("folds", []))
        self.last = f"{record['name']} scored on validation"

    def _on_trial(self, record: Mapping[str, Any]) -> None:
        config = TrialConfig.model_validate_json(json.dumps(record["config"]))
        self.trials[config.id] = TrialState(config)
        self._sort_in(self.trials[config.id])

    def _on_attempt(self, record: Mapping[str, Any]) -> None:
        self.status = "running"
        trial = self.trials[record["trial"]]
        trial.status, trial.attempt, trial.donor = "running", record["attempt"], None
        trial.worker = record.get("worker")
        self.last = f"{record['trial']} started"

    def _on_result(self, record: Mapping[str, Any]) -> None:
        trial = self.trials[record["trial"]]
        trial.results.setdefault(record["epoch"], dict(record))
        best = trial.results.get(record["best_epoch"])
        if best:
            trial.best_epoch, trial.collapsed = record["best_epoch"], best["collapsed"]

    def _on_notice(self, record: Mapping[str, Any]) -> None:
        self.trials[record["trial"]].notices.append(record["text"])
        self.last = f"{record['trial']}: {record['text']}"

    def _on_decision(self, record: Mapping[str, Any]) -> None:
        trial = self.trials[record["trial"]]
        match record["action"]:
            case "wait":
                trial.status, trial.held = "waiting", True
            case "continue" if trial.held or trial.ended:
                trial.status, trial.held, trial.reason = "waiting", False, ""
            case "exploit":
                trial.status, trial.held, trial.reason = "waiting", False, ""
                trial.since = record["rung"]
                trial.best_epoch, trial.collapsed = None, False
                trial.donor = (record["donor"], self.trials[record["donor"]].attempt)
                settings = MODELS[trial.config.settings.model].model_validate_json(json.dumps(record["settings"]))
                trial.config = trial.config.model_copy(update={"settings": settings})
                self.last = f"{record['trial']} goes on with the weights of {record['donor']}"

    def _on_lost(self, record: Mapping[str, Any]) -> None:
        trial = self.trials[record["trial"]]
        trial.status = "waiting"
        trial.deaths += record.get("counts", True)
        self.last = f"{record['trial']} goes on from its last epoch: {record['reason']}"

    def _on_left(self, record: Mapping[str, Any]) -> None:
        self.trials[record["trial"]].status = "waiting"
        self.last = f"{record['trial']} goes on elsewhere: {record['reason']}"

    def _on_worker(self, record: Mapping[str, Any]) -> None:
        self.workers[record["worker"]] = dict(record)

    def _on_end(self, record: Mapping[str, Any]) -> None:
        trial = self.trials[record["trial"]]
        trial.status, trial.reason = record["status"], record["reason"]
        trial.traceback = record.get("traceback", "")
        failed = "failed: " if trial.status == "failed" else ""
        self.last = f"{record['trial']} {failed}{record['reason']}"

    def _on_stopping(self, record: Mapping[str, Any]) -> None:
        self.status = "stopping"
        self.last = record["reason"]

    def _on_scoring(self, record: Mapping[str, Any]) -> None:
        self.status = "scoring"
        for trial in self.trials.values():
            trial.unscored = ""
        self.last = f"scoring {record['what']}"

    def _on_unscored(self, record: Mapping[str, Any]) -> None:
        trial = self.trials[record["trial"]]
        trial.unscored, trial.traceback = record["reason"], record["traceback"]
        self.last = f"{record['trial']} could not be scored on test: {record['reason']}"

    def _on_finish(self, record: Mapping[str, Any]) -> None:
        self.status = record["status"]
        self.last = record.get("reason", "")
        self._put_back()

    def mark_dead(self) -> None:
        """Note that the driver is gone, where the journal does not know it."""
        if self.status in GOING_ON:
            self.status = "died"
            self._put_back()

    def _sort_in(self, trial: TrialState) -> None:
        """Note whether a trial has ended; an extension lets one that had go on."""
        if trial.ended:
            self._unfinished.pop(trial.config.id, None)
        else:
            self._unfinished[trial.config.id] = trial

    def _put_back(self) -> None:
        """What ran when a driver ended waits for the next one."""
        for trial in self.trials.values():
            if trial.status == "running":
                trial.status = "waiting"
