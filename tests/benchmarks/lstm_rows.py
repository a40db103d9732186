"""Training an LSTM on speed: a loss at every step of a crop, against one label for each window of 120 frames."""

import numpy as np
from measuring import Goal, Plan, Row, measure

from fishray.config.trial import LstmSettings, TrialConfig
from fishray.sequences import Sequence, Sequences
from fishray.signals.targets import burst_labels
from fishray.training import Trainer, choose_device, take_cpus

FRAMES, LOOK_BACK = 14_400, 120
"""Eight minutes, as in the demo."""
BATCHES = (8, 64)
"""Crops or windows at a time: the default, and so many that more are hardly faster."""


def dense(plan: Plan) -> list[Row]:
    """Labels that are trained on in a second."""
    take_cpus(1)
    return [_dense(plan, size) for size in BATCHES]


def _dense(plan: Plan, size: int) -> Row:
    steps = 2 if plan.quick else 20
    crops, windows = (
        learner(LstmSettings(mode=mode, batch_size=size, steps_per_epoch=steps)) for mode in ("dense", "clip")
    )
    found = measure(
        {"dense": lambda: crops.train_epoch(1)[1], "windows": lambda: windows.train_epoch(1)[1]}, plan.rounds
    )
    what = f"labels of a dense LSTM in training, {size} crops at a time"
    return Row(what, "labels/s", found["dense"], Goal(">=", 80), found["windows"], "windows of 120 frames")


def learner(settings: LstmSettings):
    """A network that has not learnt yet, on a speed of random bursts."""
    rng = np.random.default_rng(0)
    speed = rng.gamma(2, 5e-4, FRAMES - 1)
    piece = Sequence("random", 0, 30.0, speed, burst_labels(speed, 45), None, LOOK_BACK)
    config = TrialConfig(id="lstm-0000", family="lstm", number=0, seed=0, settings=settings)
    return Trainer(config, Sequences((piece,), (piece,)), choose_device(0)).learners[0]
