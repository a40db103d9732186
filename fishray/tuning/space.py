"""Draw the settings of trials: those of trial k depend on (seed, family, k) alone, each on its own name besides."""

import math
from typing import Any
from zlib import crc32

import numpy as np

from fishray.config.space import Distribution
from fishray.config.sweep import Family, Sweep
from fishray.config.trial import MODELS, TrialConfig


def planned_trials(sweep: Sweep) -> list[TrialConfig]:
    """Every trial of a sweep in the order in which they start: families spread evenly over it."""
    placed = [
        ((number + 0.5) / family.trials, draw_trial(sweep.seed, name, family, number))
        for name, family in sweep.families.items()
        for number in range(family.trials)
    ]
    return [config for _, config in sorted(placed, key=lambda pair: pair[0])]


def draw_trial(seed: int, name: str, family: Family, number: int) -> TrialConfig:
    """One trial's configuration; neither the number of trials nor other families change it."""
    drawn = {key: _draw(space, _rng(seed, name, number, key)) for key, space in family.space.items()}
    settings = MODELS[family.model].model_validate({**_tuples(family.fixed), **_tuples(drawn)})
    trial_seed = int(_rng(seed, name, number, "").integers(2**31))
    return TrialConfig(id=f"{name}-{number:04d}", family=name, number=number, seed=trial_seed, settings=settings)


def _rng(seed: int, name: str, number: int, key: str) -> np.random.Generator:
    return np.random.default_rng([seed, crc32(name.encode()), number, crc32(key.encode())])


def _draw(space: Distribution, rng: np.random.Generator) -> Any:
    if space.choice is not None:
        return space.choice[int(rng.integers(len(space.choice)))]
    if space.randint is not None:
        return int(rng.integers(space.randint[0], space.randint[1] + 1))
    if space.uniform is not None:
        return float(rng.uniform(*space.uniform))
    if space.loguniform is not None:
        low, high = space.loguniform
        return float(math.exp(rng.uniform(math.log(low), math.log(high))))
    raise ValueError("a distribution without a kind")


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    """Lists of YAML as the tuples that frozen settings hold."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
