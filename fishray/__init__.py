"""Forecast bursts of motion in video of animal groups, and find the model that does it best."""

__version__ = "0.1.0"
