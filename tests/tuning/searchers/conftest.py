"""Sweeps of one small space, and searches that are played through without training."""

import json
from collections.abc import Callable

import pytest

from fishray.config.sweep import Sweep
from fishray.runs import TrialState

SPACE = {
    "hidden": {"randint": [8, 11]},
    "cell": {"choice": ["lstm", "gru"]},
    "layers": {"choice": [1, 2, 4]},
}


@pytest.fixture
def make_sweep() -> Callable[..., Sweep]:
    """Make a sweep of one family, with settings of its search and more families."""

    def make(
        searcher="random", space=None, trials=20, name="lstm", model="lstm", fixed=None, seed=0, more=None, **search
    ):
        family = {"model": model, "trials": trials, "space": SPACE if space is None else space, "fixed": fixed or {}}
        sweep = {
            "name": "mine",
            "seed": seed,
            "data": {"store": "tank.zarr"},
            "families": {**(more or {}), name: family},
            "search": {"searcher": searcher, **search},
        }
        return Sweep.model_validate_json(json.dumps(sweep))

    return make


@pytest.fixture
def ended() -> Callable[..., TrialState]:
    """Make a trial that has ended, with its values by epoch."""

    def make(config, *values, status="finished"):
        results = {epoch: {"validation_auc": value} for epoch, value in enumerate(values, start=1)}
        return TrialState(config, status, results=results)

    return make
