"""Population based training (Jaderberg et al. 2017), in step."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np

from fishray.config.space import Distribution
from fishray.config.sweep import Family, SearchSettings
from fishray.config.trial import MODELS, TrialConfig, TrialSettings
from fishray.tuning.schedulers.base import Decision, Scheduler
from fishray.tuning.space import draw

CHANGEABLE = (
    "augment", "batch_size", "class_weight", "clip_norm", "dropout", "ema_decay", "learning_rate", "noise",
    "weight_decay",
)  # fmt: skip
"""What may change between two epochs: no weight changes its shape, and no input its meaning. `steps_per_epoch` and
`judged_frames` would fit too, but an epoch would no longer be as long as that of the others it is compared with."""

TRUNCATED_SHARE = 0.25
"""How many of a cohort exploit, and how many are taken as donors: Ray's default, where the paper has a fifth."""

FACTORS = (0.8, 1.2)
"""Jaderberg et al. 2017, section 4.1."""

REDRAWN_SHARE = 0.25
"""How often a setting is drawn anew rather than perturbed; Ray's default, the paper gives none."""


@dataclass
class Cohort:
    """Trials that began together and meet at every exchange."""

    numbers: dict[str, int] = field(default_factory=dict)
    """Of the trials that are still in it."""
    begun: bool = False
    exchange: int = 0
    """The epoch of the latest one that a trial has come to."""
    waiting: dict[str, float] = field(default_factory=dict)
    """Value of each trial that has come there, until all have."""

    def arrive(self, trial: str, epoch: int, value: float) -> None:
        """Let a trial wait at an exchange."""
        self.exchange = epoch
        self.waiting[trial] = value


class PopulationBasedTraining(Scheduler):
    """Lets the worst quarter of a cohort go on from the weights of the best, with their settings perturbed.

    In the paper each trial exchanges when it gets there, with whatever the others have by then. Here they wait for each
    other every `grace_epochs` epochs, so that a sweep gives the same whatever the number of workers and their speed. A
    waiting trial must therefore give up its place where there are fewer places than trials.

    Trials that are added before the first result form a cohort; those added later form one of their own, for they could
    never catch up.

    Parameters
    ----------
    family, search
        As every scheduler's.
    settings
        The family's; only what stands in its `space` is perturbed, and only what is `CHANGEABLE`.
    seed
        Of the sweep.
    """

    rule = "pbt"

    def __init__(self, family: str, search: SearchSettings, settings: Family, seed: int):
        super().__init__(family, search)
        self._model = MODELS[settings.model]
        # in order of their names: the order in which a sweep file gives them changes nothing
        self._space = {key: settings.space[key] for key in sorted(settings.space) if key in CHANGEABLE}
        self._seed = seed
        self._cohorts: list[Cohort] = []
        self._cohort_of: dict[str, Cohort] = {}
        self._settings: dict[str, TrialSettings] = {}

    def add(self, config: TrialConfig) -> None:
        """Let it join the latest cohort, or found one where that has begun."""
        if not self._cohorts or self._cohorts[-1].begun:
            self._cohorts.append(Cohort())
        cohort = self._cohorts[-1]
        cohort.numbers[config.id] = config.number
        self._cohort_of[config.id] = cohort
        self._settings[config.id] = config.settings

    def observe(self, trial: str, epoch: int, value: float) -> list[Decision]:
        """Wait at an exchange for the rest of the cohort; the last to come gets everyone's decisions."""
        cohort = self._cohort_of[trial]
        cohort.begun = True
        if epoch == self._search.max_epochs:
            return [self._finish(trial, value)]
        if epoch % self._search.grace_epochs:
            return []
        cohort.arrive(trial, epoch, value)
        return self._exchange(cohort) or [self._decision(trial, epoch, "wait", value)]

    def drop(self, trial: str) -> list[Decision]:
        """Wait for it no longer."""
        super().drop(trial)
        cohort = self._cohort_of[trial]
        del cohort.numbers[trial]
        cohort.waiting.pop(trial, None)
        return self._exchange(cohort)

    def _go_on(self, epoch: int, finished: dict[str, float]) -> list[Decision]:
        """Where the last epoch has become an exchange, they wait there for those that are still on their way."""
        if epoch % self._search.grace_epochs:
            return [self._decision(trial, epoch, "continue", value) for trial, value in finished.items()]
        for trial, value in finished.items():
            self._cohort_of[trial].arrive(trial, epoch, value)
        return [decision for cohort in self._cohorts for decision in self._exchange(cohort)]

    def _exchange(self, cohort: Cohort) -> list[Decision]:
        """Decide on a whole cohort, in order of the trials' numbers, once all are there."""
        if len(cohort.waiting) < len(cohort.numbers):
            return []
        values, cohort.waiting = cohort.waiting, {}
        numbered = sorted(values, key=lambda trial: cohort.numbers[trial])
        ranked = sorted(numbered, key=lambda trial: -values[trial])  # a stable sort: a tie keeps the lower number
        unequal = len(set(values.values())) > 1
        count = max(1, int(TRUNCATED_SHARE * len(ranked))) if unequal else 0
        donors, exploiting = ranked[:count], ranked[len(ranked) - count :]
        decisions = []
        for trial in numbered:
            others = sorted(values[other] for other in values if other != trial)
            needed = others[count - 1] if count else None  # with so many below it, it is not among the worst
            if trial in exploiting:
                exploit = self._exploit(trial, cohort.numbers[trial], cohort.exchange, donors)
                decisions.append(self._decision(trial, cohort.exchange, "exploit", values[trial], needed, **exploit))
            else:
                decisions.append(self._decision(trial, cohort.exchange, "continue", values[trial], needed))
        return decisions

    def _exploit(self, trial: str, number: int, epoch: int, donors: Sequence[str]) -> dict[str, Any]:
        """Draw a donor and perturb its settings; what is drawn depends on no earlier draw."""
        rng = np.random.default_rng([self._seed, crc32(self.family.encode()), number, epoch])
        donor = donors[int(rng.integers(len(donors)))]
        settings = self._settings[donor].model_dump()
        perturbed = {key: perturb(settings[key], drawn, rng) for key, drawn in self._space.items()}
        self._settings[trial] = self._model.model_validate(settings | perturbed)
        return {"donor": donor, "settings": self._settings[trial].model_dump(mode="json")}


def perturb(value: Any, distribution: Distribution, rng: np.random.Generator) -> Any:
    """A setting near its value: times 0.8 or 1.2, or a neighbouring choice; sometimes one drawn anew.

    Numbers stay within the distribution's bounds, at which they may stand still; an integer moves by at least one
    unless a bound is in its way.
    """
    choices = list(dict.fromkeys(distribution.choice or ()))  # what stands twice is one neighbour
    unknown = bool(choices) and value not in choices  # of a trial that was started from elsewhere
    if rng.random() < REDRAWN_SHARE or unknown:
        return draw(distribution, rng)
    up = bool(rng.integers(2))
    if choices:
        place = choices.index(value)
        neighbours = [*choices[:place][-1:], *choices[place + 1 :][:1]] or [value]
        return neighbours[-1 if up else 0]
    low, high = distribution.extremes[0], distribution.extremes[-1]
    moved = value * FACTORS[up]
    if distribution.randint is not None:
        moved = max(round(moved), value + 1) if up else min(round(moved), value - 1)
    return min(max(moved, low), high)
