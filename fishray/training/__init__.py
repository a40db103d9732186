"""Train a trial, epoch by epoch: one network, or one for each fold. Knows nothing of Ray, stores or progress bars."""

from fishray.training.learner import class_weights
from fishray.training.trainer import Report, Score, Trainer, choose_device, fit, take_cpus

__all__ = ["Report", "Score", "Trainer", "choose_device", "class_weights", "fit", "take_cpus"]
