"""Which trials go on at a rung: asynchronous successive halving (Li et al. 2020) within each family."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from fishray.config.sweep import SearchSettings
from fishray.tuning.recorder import Recorder

RESULT_FIELDS = (
    "epoch", "loss", "validation_auc", "validation_average_precision", "validation_youden_j", "best_epoch", "collapsed",
    "labels_per_s", "epoch_s", "attempt", "host", "pid",
)  # fmt: skip


@dataclass(frozen=True)
class Decision:
    """What was decided of a trial at a rung."""

    trial: str
    family: str
    rung: int
    action: str
    """continue, stop, or finish (the last epoch)."""
    value: float
    needed: float | None
    """The value that the best 1 / reduction_factor of earlier trials at this rung reach; None for the first one."""

    @property
    def reason(self) -> str:
        """In words, for the ranking."""
        if self.action == "finish":
            return f"ran all {self.rung} epochs"
        needed = "first at the rung" if self.needed is None else f"needed {self.needed:.3f}"
        return f"stopped at rung {self.rung} ({self.value:.3f}, {needed})"


class Asha:
    """The rungs of one family; a function of the order of results, so the journal rebuilds it."""

    def __init__(self, family: str, search: SearchSettings):
        self.family = family
        self._search = search
        self.rungs: dict[int, dict[str, float]] = {rung: {} for rung in search.rungs}

    def decide(self, trial: str, epoch: int, value: float) -> Decision | None:
        """Decide on a trial that has reached an epoch; None where it has passed the last rung up to there already.

        It goes on if it reaches the (1 - 1 / reduction_factor) quantile of those that were at the rung before it. Where
        the result at a rung was lost with a process, the next one stands for it.
        """
        reached = max((rung for rung in self.rungs if rung <= epoch), default=None)
        if reached is None or trial in self.rungs[reached]:
            return None
        rung = self.rungs[reached]
        quantile = 1 - 1 / self._search.reduction_factor
        needed = float(np.quantile(list(rung.values()), quantile)) if rung else None
        rung[trial] = value
        if reached == self._search.max_epochs:
            action = "finish"
        else:
            action = "stop" if needed is not None and value < needed else "continue"
        return Decision(trial, self.family, reached, action, value, needed)


class FamilyScheduler(FIFOScheduler):  # type: ignore[misc]
    """Gives each family of a sweep its own `Asha`; trials of different families never compete here.

    Parameters
    ----------
    record
        Writes an event to the journal; called before a decision takes effect.
    """

    def __init__(self, search: SearchSettings, families: list[str], record: Recorder):
        super().__init__()
        self._search = search
        self._asha = {family: Asha(family, search) for family in families}
        self._record = record

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Write down what an epoch gave and whether the trial goes on."""
        config = trial.config["trial"]
        if "failed" in result:
            trace = result["traceback"]
            self._record("end", trial=config["id"], status="failed", reason=result["failed"], traceback=trace)
            return str(TrialScheduler.STOP)
        scores = {key: result[key] for key in RESULT_FIELDS}
        self._record("result", trial=config["id"], cpus=trial.config["cpus"], gpus=trial.config["gpus"], **scores)
        decision = self._asha[config["family"]].decide(config["id"], result["epoch"], result[self._search.metric])
        if decision is None:
            return str(TrialScheduler.CONTINUE)
        self._record("decision", **asdict(decision))
        if decision.action == "continue":
            return str(TrialScheduler.CONTINUE)
        status = {"stop": "stopped", "finish": "finished"}[decision.action]
        self._record("end", trial=config["id"], status=status, reason=decision.reason)
        return str(TrialScheduler.STOP)
