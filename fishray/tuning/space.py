"""Trials at random and the order in which they start: trial k's settings depend on (seed, family, k) alone."""

import math
from collections.abc import Mapping
from typing import Any
from zlib import crc32

import numpy as np

from fishray.config.space import Distribution
from fishray.config.sweep import Family, Sweep
from fishray.config.trial import MODELS, TrialConfig


def plan_order(sweep: Sweep) -> list[tuple[str, int]]:
    """Family and number of every trial in the order in which they start: families spread evenly over the sweep.

    Another family changes nothing in the order of the trials beside it, nor do more trials where every family grows in
    proportion; where one grows alone, its trials move forward between those of the others.
    """
    placed = [
        ((number + 0.5) / family.trials, (name, number))
        for name, family in sweep.families.items()
        for number in range(family.trials)
    ]
    return [trial for _, trial in sorted(placed, key=lambda pair: pair[0])]


def trial_id(family: str, number: int) -> str:
    """Name of a trial."""
    return f"{family}-{number:04d}"


def draw_trial(seed: int, name: str, family: Family, number: int) -> TrialConfig:
    """One trial's configuration at random; neither the number of trials nor other families change it."""
    return make_trial(seed, name, family, number, draw_values(seed, name, family, number))


def draw_values(seed: int, name: str, family: Family, number: int) -> dict[str, Any]:
    """What one trial draws at random, by setting; each setting on its own name besides."""
    return {key: draw(space, random_stream(seed, name, number, key)) for key, space in family.space.items()}


def make_trial(seed: int, name: str, family: Family, number: int, values: Mapping[str, Any]) -> TrialConfig:
    """One trial's configuration from the values of its family's space, wherever they come from."""
    chosen = {key: as_tuple(value) for key, value in {**family.fixed, **values}.items()}
    settings = MODELS[family.model].model_validate(chosen)
    trial_seed = int(random_stream(seed, name, number, "").integers(2**31))
    return TrialConfig(id=trial_id(name, number), family=name, number=number, seed=trial_seed, settings=settings)


def random_stream(seed: int, name: str, number: int, purpose: str) -> np.random.Generator:
    """Random numbers of one trial for one purpose: the name of a setting, or another word."""
    return np.random.default_rng([seed, crc32(name.encode()), number, crc32(purpose.encode())])


def as_tuple(value: Any) -> Any:
    """A list of YAML as the tuple that frozen settings hold; any other value as it is."""
    return tuple(value) if isinstance(value, list) else value


def draw(space: Distribution, rng: np.random.Generator) -> Any:
    """One value of a distribution."""
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
