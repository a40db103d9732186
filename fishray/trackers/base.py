"""What every tracker is told, and how that is written flat."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fishray.config.sweep import METRICS, Sweep
from fishray.config.trial import TrialConfig

VALUES = ("loss", *METRICS, "labels_per_s", "epoch_s")
"""What is tracked of every epoch; names and units are the journal's."""

Plain = str | int | float | bool


class Tracker(ABC):
    """A place to which the story of one sweep is told, in order, by one thread; what it raises switches it off.

    It is made, and its library imported, before the sweep starts: by then the run's directory need not exist.
    """

    def __init__(self, run_path: Path, sweep: Sweep):
        self.run_path = run_path.resolve()
        self.sweep = sweep

    @abstractmethod
    def start(self, facts: Mapping[str, Any], begun_s: float) -> None:
        """Begin, or go on: data and machine, and when the run was begun, whoever goes on with it [s since 1970]."""

    @abstractmethod
    def baseline(self, name: str, scores: Mapping[str, float]) -> None:
        """A baseline's scores on validation, under the names of `VALUES`; told again when the sweep is resumed."""

    @abstractmethod
    def trial(self, config: TrialConfig) -> None:
        """A trial runs. Its results are told from the first one on, even if they were told before it was resumed."""

    @abstractmethod
    def result(self, trial: str, epoch: int, values: Mapping[str, float], time_s: float) -> None:
        """One epoch of a trial that runs, with what there is of `VALUES`, and when it ended [s since 1970]."""

    @abstractmethod
    def end(self, trial: str, status: str, reason: str, best: float | None) -> None:
        """A trial has finished, was stopped or has failed; with the best value of the sweep's metric."""

    @abstractmethod
    def finish(self, status: str) -> None:
        """The last call: the sweep is finished, interrupted or failed."""

    def abandon(self) -> None:  # noqa: B027  (most have nothing that outlives their thread)
        """See that nothing of it keeps the process, from another thread: it hangs, or has failed."""

    def key(self, begun_s: float, trial: str = "") -> str:
        """Name a trial of this run, or the run itself, across all runs: equal after a resume, another in a new run."""
        return hashlib.sha256(f"{self.run_path}\n{begun_s}\n{trial}".encode()).hexdigest()[:16]


def trial_parameters(config: TrialConfig) -> dict[str, Plain]:
    """Family, seed and settings of a trial."""
    return flat({"family": config.family, "seed": config.seed, **config.settings.model_dump(mode="json")})


def sweep_facts(facts: Mapping[str, Any]) -> dict[str, Plain]:
    """What the journal says of data and machine, flat."""
    return flat({name: value for name, value in facts.items() if name not in ("time", "event", "generation")})


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Plain]:
    """Join nested names with a dot; lists become JSON, and what is not set is left out."""
    plain: dict[str, Plain] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            plain |= flat(value, f"{prefix}{name}.")
        elif value is not None:
            plain[f"{prefix}{name}"] = value if isinstance(value, Plain) else json.dumps(value)
    return plain
