import json

import pytest

from fishray.config.sweep import Sweep
from fishray.config.trial import LstmSettings, TrialConfig
from fishray.tuning import forecast as module
from fishray.tuning.forecast import forecast
from fishray.tuning.node import Node
from fishray.tuning.probing import Model, Probed

WEIGHTS, FRAMES = 100, 1000


@pytest.fixture(autouse=True)
def nothing_between(monkeypatch):
    """Only what follows from epochs: no start, no gaps, no allowance."""
    monkeypatch.setattr(module, "START_S", (0.0, 0.0))
    monkeypatch.setattr(module, "BETWEEN_S", (0.0, 0.0))
    monkeypatch.setattr(module, "SLOWED", 1.0)


def model(number, work):
    config = TrialConfig(id=f"lstm-{number:04d}", family="lstm", number=number, seed=0, settings=LstmSettings())
    return Model(config, WEIGHTS, work)


def probed(of, epoch_s):
    return Probed(of, labels_per_s=1.0, epoch_s=epoch_s, loading_s=0.0, waiting=0.0, memory_bytes=1)


def foretold(trials, works=(1.0,), times=(10.0,), node=None, gpus=0, **search):
    """Forecast of a sweep of one family whose models have these works, the ends of which took these times [s]."""
    family = {"model": "lstm", "trials": trials, "resources": {"gpus": gpus}}
    written = {"name": "small", "data": {"store": "tank.zarr"}, "families": {"lstm": family}, "search": search}
    models = [model(number, work) for number, work in enumerate(works)]
    ends = (models[0], models[-1]) if len(times) > 1 else models[:1]
    measured = [probed(end, epoch_s) for end, epoch_s in zip(ends, times, strict=True)]
    sweep = Sweep.model_validate_json(json.dumps(written))
    return forecast(sweep, node or Node(2, ()), {"lstm": models}, measured, FRAMES)


def test_without_early_stopping_every_trial_runs_to_the_last_epoch():
    found = foretold(6, scheduler="none", max_epochs=3)
    assert (found.cpu_hours.low, found.cpu_hours.high) == pytest.approx((6 * 3 * 10 / 3600,) * 2)
    assert found.cpu_hours == found.full_cpu_hours
    assert (found.wall_s.low, found.wall_s.high) == pytest.approx((90, 90))  # on two CPUs


def test_asha_lets_a_third_past_each_rung_at_best_and_more_as_it_cannot_wait():
    found = foretold(9, max_epochs=9, reduction_factor=3)
    # 9 trials of 1 epoch, 3 of 2 more, 1 of 6 more
    assert found.cpu_hours.low == pytest.approx((9 + 3 * 2 + 1 * 6) * 10 / 3600)
    # of trials in random order 1 + 1/2 + 4/9 + … = 4.3 pass, with a deviation of 1.4: 6; of these 3.4 and 1.1: 5
    assert found.cpu_hours.high == pytest.approx((9 + 6 * 2 + 5 * 6) * 10 / 3600)
    assert found.full_cpu_hours.high == pytest.approx(9 * 9 * 10 / 3600)


def test_models_between_the_smallest_and_the_largest_take_what_lies_between_and_either_may_go_on():
    found = foretold(3, works=(1.0, 2.0, 3.0), times=(10.0, 30.0), max_epochs=3, reduction_factor=3)
    assert found.cpu_hours.low == pytest.approx((10 + 20 + 30 + 2 * 10) / 3600)  # the smallest one goes on
    # 1 + 1/2 + 4/9 = 1.9 pass, with a deviation of 0.7: all three
    assert found.cpu_hours.high == pytest.approx((10 + 20 + 30) * 3 / 3600)


def test_no_sweep_is_shorter_than_its_longest_trial():
    assert foretold(2, node=Node(64, ()), scheduler="none", max_epochs=9).wall_s.low == pytest.approx(90)


def test_trials_that_share_a_gpu_cost_their_share_of_it():
    found = foretold(8, node=Node(16, ("A100",)), gpus=0.25, scheduler="none", max_epochs=1)
    assert found.gpu_hours.low == pytest.approx(8 * 10 / 4 / 3600)
    assert found.wall_s.low == pytest.approx(20)  # four at a time


def test_workers_of_a_cluster_may_be_many_or_one():
    found = foretold(12, node=Node(2, (), most_workers=3), scheduler="none", max_epochs=1)
    assert (found.wall_s.low, found.wall_s.high) == pytest.approx((20, 60))


def test_half_of_the_trials_or_none_stop_by_the_median():
    found = foretold(4, scheduler="median", grace_epochs=2, max_epochs=4)
    assert (found.cpu_hours.low, found.cpu_hours.high) == pytest.approx(
        ((4 * 2 + 2 * 2) * 10 / 3600, 4 * 4 * 10 / 3600)
    )


def test_a_trial_keeps_its_best_and_one_that_finished_two_checkpoints():
    found = foretold(3, scheduler="none", max_epochs=1)
    best = 4 * (WEIGHTS + FRAMES)
    assert found.disk_bytes.high == 3 * best + 3 * 2 * (best + 16 * WEIGHTS)
    assert found.files.high == 3 * 2 + 3 * 4 + module.OTHER_FILES
