"""The ways of the original project, written from its published description, to be measured against.

Its frames are image files; what they are needed for decodes them, each time anew. Its network gives one probability for
each clip.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

WHITE = 255


def png_frames(folder: Path, count: int, size: tuple[int, int], start: int = 0) -> NDArray[np.uint8]:
    """Frames, shape (count, *size); made smaller by the nearest pixel, as Keras does unless told otherwise."""
    frames_thw = np.empty((count, *size), np.uint8)
    for index in range(count):
        image = Image.open(folder / f"{start + index}.png")
        frames_thw[index] = np.asarray(image.resize(size[::-1], Image.Resampling.NEAREST))
    return frames_thw


def png_clip(folder: Path, start: int, length: int, size: tuple[int, int]) -> NDArray[np.float32]:
    """A clip as a network reads it, shape (length, *size), in [0, 1]."""
    return png_frames(folder, length, size, start).astype(np.float32) / WHITE


def frame_speed_loop(folder: Path, count: int, size: tuple[int, int]) -> list[float]:
    """Speed ỹ frame by frame, from two images each; summed as integers, so that it can be equal bit for bit."""
    speeds = []
    for index in range(count - 1):
        earlier_hw, later_hw = png_frames(folder, 2, size, index).astype(np.int64)
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


class NaiveConvLstm(nn.Module):
    """A convolutional LSTM, each step one convolution of [x, h]; the maximum over the last map goes to a head."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.filters = filters
        self.cell = nn.Conv2d(channels + filters, 4 * filters, 3, padding="same")
        self.head = nn.Linear(filters, 1)

    def forward(self, clips_bschw: Tensor) -> Tensor:
        """Logits, shape (b,)."""
        batch, _, _, height, width = clips_bschw.shape
        hidden = cell = clips_bschw.new_zeros(batch, self.filters, height, width)
        for step_bchw in clips_bschw.unbind(1):
            driven = self.cell(torch.cat([step_bchw, hidden], dim=1))
            admit, keep, new, emit = driven.chunk(4, dim=1)
            cell = torch.sigmoid(keep) * cell + torch.sigmoid(admit) * torch.tanh(new)
            hidden = torch.sigmoid(emit) * torch.tanh(cell)
        logits: Tensor = self.head(hidden.amax((2, 3)))[:, 0]
        return logits
