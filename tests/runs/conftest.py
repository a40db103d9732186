"""A run that has just begun."""

import json

import pytest

from fishray.config.sweep import Sweep
from fishray.runs import Run
from fishray.runs.directory import provenance

SWEEP = {
    "name": "mine",
    "seed": 5,
    "data": {"store": "tank.zarr"},
    "families": {"lstm": {"model": "lstm", "trials": 2, "space": {"learning_rate": {"loguniform": [0.01, 0.1]}}}},
}


@pytest.fixture
def sweep():
    return Sweep.model_validate_json(json.dumps(SWEEP))


@pytest.fixture
def run(tmp_path, sweep):
    begun = Run.claim(tmp_path / "runs" / "mine")
    begun.write_sweep(sweep, provenance("3f9a"))
    return begun
