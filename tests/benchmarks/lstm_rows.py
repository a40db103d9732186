"""Training an LSTM on speed: a loss at every step of a crop, against one label for each window of 120 frames."""

import numpy as np
import torch
from measuring import Goal, Plan, Row, measure

from fishray.config.trial import LstmSettings, TrialConfig
from fishray.sequences import Sequence, Sequences
from fishray.signals.targets import burst_labels
from fishray.training import Trainer, choose_device

FRAMES, LOOK_BACK = 14_400, 120
"""Eight minutes, as in the demo."""
WINDOWS = 64
"""Windows in a batch: more give each step of the optimiser more labels, and more than these are hardly faster."""


def dense(plan: Plan) -> list[Row]:
    """Labels that are trained on in a second."""
    torch.set_num_threads(1)
    steps = 2 if plan.quick else 20
    dense_learner = learner(LstmSettings(mode="dense", steps_per_epoch=steps))
    windows = learner(LstmSettings(mode="clip", batch_size=WINDOWS, steps_per_epoch=steps))
    found = measure(
        {"dense": lambda: dense_learner.train_epoch(1)[1], "windows": lambda: windows.train_epoch(1)[1]}, plan.rounds
    )
    return [
        Row("labels of a dense LSTM in training", "labels/s", found["dense"], Goal(">=", 80), found["windows"],
            "windows of 120 frames")
    ]  # fmt: skip


def learner(settings: LstmSettings):
    """A network that has not learnt yet, on a speed of random bursts."""
    rng = np.random.default_rng(0)
    speed = rng.gamma(2, 5e-4, FRAMES - 1)
    piece = Sequence("random", 0, 30.0, speed, burst_labels(speed, 45), None, LOOK_BACK)
    config = TrialConfig(id="lstm-0000", family="lstm", number=0, seed=0, settings=settings)
    return Trainer(config, Sequences((piece,), (piece,)), choose_device(0)).learners[0]
