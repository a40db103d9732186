"""Experiment trackers (TensorBoard, MLflow, W&B) that are told what the journal says, and never harm the sweep."""

from fishray.trackers.feed import Trackers, check_trackers, open_trackers

__all__ = ["Trackers", "check_trackers", "open_trackers"]
