"""kill -9 at random moments of an ingest: the second call completes it, byte for byte."""

import numpy as np
import pytest
from ingesting import SHARD_FRAMES, Bench

pytestmark = pytest.mark.slow

KILLS = 5


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("kills"))


@pytest.mark.parametrize("number", range(KILLS))
def test_a_killed_ingest_is_completed_byte_for_byte(bench, number):
    """One in each fifth of an ingest's life, so that it strikes while it looks, writes and finishes."""
    rng = np.random.default_rng(number)
    store = f"killed-{number}.zarr"
    bench.kill_one(store, (number + rng.uniform()) / KILLS)
    assert bench.complete(store) == bench.undisturbed


def test_ctrl_c_is_no_loss_either(bench):
    store = "interrupted.zarr"
    assert bench.interrupt_one(store, frames=3 * SHARD_FRAMES) == 130
    assert "Stopped; what is on disk is kept. Go on: fishray ingest" in bench.log()
    assert bench.complete(store) == bench.undisturbed


def test_a_recording_is_completed_however_often_it_is_killed(bench):
    rng = np.random.default_rng(99)
    for _ in range(3):
        bench.kill_one("often.zarr", rng.uniform(0.2, 0.6))
    assert bench.complete("often.zarr") == bench.undisturbed
    assert bench.left_behind() == []
