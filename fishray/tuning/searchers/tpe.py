"""Tree-structured Parzen estimator (Bergstra et al. 2011) by Optuna: draws by the results so far."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fishray.config.space import Distribution
from fishray.config.trial import TrialConfig
from fishray.runs import TrialState
from fishray.tuning.searchers.base import Searcher
from fishray.tuning.space import as_tuple, draw_values, random_stream

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

STARTUP_TRIALS = 10
"""Random trials before the first that looks at results: Optuna's own default."""

Codes = dict[str, int | float]
"""A point of the space as Optuna holds it: numbers, and the index of a choice, whose values may be lists."""


class TpeSearch(Searcher):
    """Draws where good trials are dense and others are not.

    Nothing is kept between draws: a study is made of the history for each, so that a run that goes on after a crash
    draws as it would have.
    """

    adaptive = True

    def foreseen(self, family: str) -> list[TrialConfig]:
        """The random trials at the start."""
        trials = min(self.sweep.families[family].trials, STARTUP_TRIALS)
        return [self.draw(family, number, ()) for number in range(trials)]

    def values(self, family: str, number: int, history: Sequence[TrialState]) -> dict[str, Any]:
        """What a random search draws at first, then what Optuna asks for."""
        chosen, seed = self.sweep.families[family], self.sweep.seed
        if number < STARTUP_TRIALS:
            return draw_values(seed, family, chosen, number)
        space = dict(sorted(chosen.space.items()))
        sampler_seed = int(random_stream(seed, family, number, "tpe").integers(2**32))
        codes = ask_optuna(space, history, self.sweep.search.metric, sampler_seed)
        return {key: _decode(space[key], code) for key, code in codes.items()}


def ask_optuna(space: Mapping[str, Distribution], history: Sequence[TrialState], metric: str, seed: int) -> Codes:
    """Where to try next, given trials and what came of them."""
    import optuna

    with _quiet():
        sampler = optuna.samplers.TPESampler(
            seed=seed, multivariate=True, constant_liar=True, n_startup_trials=STARTUP_TRIALS
        )
        study = optuna.create_study(sampler=sampler, direction="maximize")
        distributions = {key: _to_optuna(distribution) for key, distribution in space.items()}
        for trial in history:
            codes = _encode(space, trial)
            if codes is not None:
                study.add_trial(_frozen(trial, metric, codes, distributions))
        return study.ask(distributions).params


def _frozen(
    trial: TrialState, metric: str, codes: Codes, distributions: dict[str, "BaseDistribution"]
) -> "FrozenTrial":
    """A trial as Optuna sees it; one without a result yet is running, so that no other is drawn beside it."""
    from optuna.trial import TrialState as State
    from optuna.trial import create_trial

    outcome: dict[str, Any] = {"state": State.RUNNING}
    if trial.status == "finished" and (best := trial.best(metric)) is not None:
        outcome = {"state": State.COMPLETE, "value": best}
    elif trial.status == "stopped":
        by_epoch = {epoch: result[metric] for epoch, result in trial.results.items()}
        outcome = {"state": State.PRUNED, "intermediate_values": by_epoch}
    elif trial.status in ("finished", "failed"):
        outcome = {"state": State.FAIL}
    return create_trial(params=codes, distributions=distributions, **outcome)


def _to_optuna(space: Distribution) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if space.choice is not None:
        return CategoricalDistribution(range(len(space.choice)))
    if space.randint is not None:
        return IntDistribution(*space.randint)
    if space.uniform is not None:
        return FloatDistribution(*space.uniform)
    if space.loguniform is not None:
        return FloatDistribution(*space.loguniform, log=True)
    raise ValueError("a distribution without a kind")


def _encode(space: Mapping[str, Distribution], trial: TrialState) -> Codes | None:
    """A trial's point of the space; None where it lies outside, as a warm start may: Optuna could not hold it."""
    codes: Codes = {}
    for key, distribution in space.items():
        code = _code(distribution, getattr(trial.config.settings, key))
        if code is None:
            return None
        codes[key] = code
    return codes


def _code(space: Distribution, value: Any) -> int | float | None:
    if space.choice is not None:
        choices = [as_tuple(choice) for choice in space.choice]
        return choices.index(value) if value in choices else None
    low, high = space.randint or space.uniform or space.loguniform or (math.nan, math.nan)
    whole = space.randint is None or value == int(value)
    return value if whole and low <= value <= high else None


def _decode(space: Distribution, code: int | float) -> Any:
    return code if space.choice is None else space.choice[int(code)]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna's own log, and that parts of it are experimental, from the terminal of a sweep."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
