"""What every scheduler is told and what it decides; the plainest one, which stops nothing."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from fishray.config.sweep import SearchSettings
from fishray.config.trial import TrialConfig

Action = Literal["continue", "stop", "finish", "wait", "exploit"]
Rule = Literal["asha", "median", "pbt", "none"]

WORDS: dict[Rule, tuple[str, str]] = {
    "asha": ("rung", "needed"),
    "median": ("epoch", "median of the others"),
    "pbt": ("epoch", "needed"),
    "none": ("epoch", "needed"),
}
"""Under each rule: what a rung is called, and the value that was needed there."""


@dataclass(frozen=True)
class Decision:
    """What was decided of a trial; as a line of JSON and back it is equal."""

    trial: str
    family: str
    rung: int
    """The epoch at which it was taken."""
    action: Action
    """continue, stop, finish (the last epoch), wait (until the others have come), or exploit."""
    value: float
    needed: float | None
    """The value that would have been enough; None where there was nothing to compare with."""
    donor: str | None = None
    """exploit: whose weights it goes on with."""
    settings: dict[str, Any] | None = None
    """exploit: all its settings from now on, as plain JSON values."""
    rule: Rule = "asha"

    @property
    def reason(self) -> str:
        """In words, for the ranking."""
        rung, measure = WORDS[self.rule]
        where = f"{rung} {self.rung}"
        needed = "nothing to compare with" if self.needed is None else f"{measure} {self.needed:.3f}"
        compared = f"{self.value:.3f}, {needed}"
        match self.action:
            case "finish":
                return f"ran all {self.rung} epochs"
            case "wait":
                return f"waits at {where} for the others"
            case "exploit":
                return f"took over {self.donor} at {where} ({compared})"
            case "stop":
                return f"stopped at {where} ({compared})"
            case "continue":
                return f"went on at {where} ({compared})"


class Scheduler(ABC):
    """Decides on the trials of one family.

    It is told everything in an order that the journal keeps, and decides by that order alone: told the same calls, a
    fresh one decides the same.

    Parameters
    ----------
    family
        Its name in the sweep.
    search
        With the first and the last epoch at which it decides.
    """

    rule: ClassVar[Rule]

    def __init__(self, family: str, search: SearchSettings):
        self.family = family
        self._search = search
        self._finished: dict[str, float] = {}
        """Value at the last epoch of each trial that has come that far, in the order in which they came."""

    @abstractmethod
    def add(self, config: TrialConfig) -> None:
        """Let a trial join; told before any result of it."""

    @abstractmethod
    def observe(self, trial: str, epoch: int, value: float) -> list[Decision]:
        """Take note of a result and decide.

        Parameters
        ----------
        trial
            One that was added, and neither stopped nor dropped.
        epoch
            1, 2, 3, ... for each trial, none left out and none twice.
        value
            The metric of the sweep; more is better.

        Returns
        -------
        Decisions in the order in which they take effect, on this trial or on others; none between rungs.
        """

    def drop(self, trial: str) -> list[Decision]:
        """Leave out a trial that has failed for good; decides on those that waited for it."""
        self._finished.pop(trial, None)
        return []

    def extend(self, search: SearchSettings) -> list[Decision]:
        """Let the search go on to a later last epoch.

        Parameters
        ----------
        search
            As it was, with more `max_epochs`.

        Returns
        -------
        Decisions on the trials that had finished, in the order in which they did.

        Raises
        ------
        ValueError
            Where anything else differs, or where it became shorter.
        """
        before = self._search
        if search != before.model_copy(update={"max_epochs": max(search.max_epochs, before.max_epochs)}):
            raise ValueError(f"{self.family}: only max_epochs can change, and only grow")
        if search.max_epochs == before.max_epochs:
            return []
        self._search = search
        finished, self._finished = self._finished, {}
        return self._go_on(before.max_epochs, finished)

    @abstractmethod
    def _go_on(self, epoch: int, finished: dict[str, float]) -> list[Decision]:
        """Decide on those that had finished at what was the last epoch."""

    def _finish(self, trial: str, value: float, needed: float | None = None) -> Decision:
        self._finished[trial] = value
        return self._decision(trial, self._search.max_epochs, "finish", value, needed)

    def _decision(
        self, trial: str, epoch: int, action: Action, value: float, needed: float | None = None, **exploit: Any
    ) -> Decision:
        return Decision(trial, self.family, epoch, action, value, needed, **exploit, rule=self.rule)


class NoStopping(Scheduler):
    """Every trial runs to the last epoch."""

    rule = "none"

    def add(self, config: TrialConfig) -> None:
        """Nothing to note: no trial is compared with another."""

    def observe(self, trial: str, epoch: int, value: float) -> list[Decision]:
        """Decide at the last epoch alone."""
        return [self._finish(trial, value)] if epoch == self._search.max_epochs else []

    def _go_on(self, epoch: int, finished: dict[str, float]) -> list[Decision]:
        return [self._decision(trial, epoch, "continue", value) for trial, value in finished.items()]
