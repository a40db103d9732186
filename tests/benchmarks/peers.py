"""The ways of the original project, written from its published description, to be measured against."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WHITE = 255


def png_clip(folder: Path, start: int, length: int) -> NDArray[np.float32]:
    """A clip, shape (length, H, W), in [0, 1]: each of its frames is an image file, decoded anew for every clip."""
    clip_thw = [np.asarray(Image.open(folder / f"{index}.png")) for index in range(start, start + length)]
    return np.stack(clip_thw).astype(np.float32) / WHITE


def frame_speed_loop(folder: Path, count: int) -> list[float]:
    """Speed ỹ frame by frame, from two image files each; summed as integers, so that it can be equal bit for bit."""
    speeds = []
    for index in range(count - 1):
        earlier_hw = np.asarray(Image.open(folder / f"{index}.png")).astype(np.int64)
        later_hw = np.asarray(Image.open(folder / f"{index + 1}.png")).astype(np.int64)
        speeds.append(float(np.abs(later_hw - earlier_hw).sum() / (WHITE * later_hw.size)))
    return speeds


def burst_labels_loop(speed: NDArray[np.float64], horizon: int, low_fraction: float, threshold: float) -> list[int]:
    """Labels frame by frame: range and minimum of each horizon on their own."""
    labels = []
    for index in range(len(speed) - horizon):
        coming = speed[index : index + horizon + 1]
        lowest, highest = np.min(coming), np.max(coming)
        spread = highest - lowest
        labels.append(int(spread >= threshold and speed[index] <= lowest + low_fraction * spread))
    return labels
