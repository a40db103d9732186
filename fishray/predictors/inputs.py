"""What networks read of a sequence, as tensors on their device, in physical units.

Shape suffixes: b batch, t time in frames, s time in steps, c channel, h height, w width.
"""

import warnings
from collections.abc import Sequence as Collection
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fishray.sequences import Sequence
from fishray.sequences.sequence import UnreadFrames

GREY, DIFFERENCE = 0, 1
BLOCK_FRAMES = 64  # fits a core's cache at common frame sizes


class Inputs(NamedTuple):
    """Crops of equal length."""

    speed_bt: Tensor
    """Last known speed ỹ_{t-1} at each frame [grey level / 255 per frame]; not a number where it is unknown."""
    pixels_btchw: Tensor | None
    """Grey level and absolute difference to the frame before, both in [0, 1]; None for networks on speed alone."""


class Scale(nn.Module):
    """Standardises by statistics of the train split, which are saved with the weights; what is unknown becomes 0."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))

    def set(self, mean: float, std: float) -> None:
        """Take the statistics."""
        self.mean.fill_(mean)
        self.std.fill_(max(std, 1e-12))

    def forward(self, values: Tensor) -> Tensor:
        """Return (values - mean) / std, and 0 where a value is not a number."""
        return torch.nan_to_num((values - self.mean) / self.std, nan=0.0)


class SequenceInputs:
    """One sequence on a device, from which crops are taken.

    Frames are area-averaged by `downsample`, and differences are taken before that; their mean over a frame is then the
    speed (where `downsample` divides the frame size; a rest at the right and lower rim is left out). Averages are kept
    as exact integer sums.

    Parameters
    ----------
    sequence
        Where it reads frames, `sequence.frames` must be there.
    downsample
        None for networks that read no frames.
    """

    def __init__(self, sequence: Sequence, downsample: int | None, device: torch.device):
        self.frame_count = sequence.frame_count
        self._device = device
        self._speed_t = torch.from_numpy(sequence.known_speed).float().to(device)
        self._frames_thw: Tensor | None = None
        self._sums_tchw: Tensor | None = None
        self._unread: UnreadFrames | None = None
        self._downsample = downsample or 1
        self._full_scale = 255.0 * self._downsample**2
        if downsample is not None:
            if sequence.frames is None:
                raise ValueError(f"{sequence.recording} was loaded without frames")
            if isinstance(sequence.frames, UnreadFrames):
                self._unread = sequence.frames
            elif downsample == 1:
                self._frames_thw = _as_tensor(sequence.frames).to(device)
            else:
                self._sums_tchw = _pooled_sums(_as_tensor(sequence.frames), downsample, device)

    @property
    def own_bytes(self) -> int:
        """What it holds by itself on its device; frames in this machine's memory are shared with others [bytes]."""
        copied = self._frames_thw is not None and self._device.type != "cpu"
        held = (self._speed_t, self._sums_tchw, self._frames_thw if copied else None)
        return sum(tensor.nbytes for tensor in held if tensor is not None)

    def take(self, start: int, length: int, fresh: bool = True) -> Inputs:
        """A batch of one crop.

        Parameters
        ----------
        start, length
            In frames; what lies beyond the end of the sequence is zero.
        fresh
            Whether nothing before `start` is known: then the first speed is not a number and the first difference zero.
        """
        stop = min(start + length, self.frame_count)
        speed_t = self._speed_t[start:stop].clone()
        pixels_tchw = self._pixels(start, stop)
        if fresh:
            speed_t[0] = torch.nan
            if pixels_tchw is not None:
                pixels_tchw[0, DIFFERENCE] = 0
        missing = start + length - stop
        if missing:
            speed_t = functional.pad(speed_t, (0, missing))
            if pixels_tchw is not None:
                pixels_tchw = functional.pad(pixels_tchw, (0, 0, 0, 0, 0, 0, 0, missing))
        return Inputs(speed_t[None], None if pixels_tchw is None else pixels_tchw[None])

    def _pixels(self, start: int, stop: int) -> Tensor | None:
        if self._sums_tchw is not None:
            return self._sums_tchw[start:stop].float() / self._full_scale
        before = max(start - 1, 0)
        if self._unread is not None:
            read_thw = _as_tensor(np.asarray(self._unread[before:stop])).to(self._device)
            if self._downsample > 1:
                sums_tchw = _pooled_sums(read_thw, self._downsample, self._device)
                return sums_tchw[start - before :].float() / self._full_scale
            frames_thw = read_thw.float() / self._full_scale
        elif self._frames_thw is not None:
            frames_thw = self._frames_thw[before:stop].float() / self._full_scale
        else:
            return None
        return torch.stack([frames_thw, _differences(frames_thw)], dim=1)[start - before :]


def stack(crops: Collection[Inputs]) -> Inputs:
    """One batch of several crops."""
    pixels = [crop.pixels_btchw for crop in crops if crop.pixels_btchw is not None]
    return Inputs(torch.cat([crop.speed_bt for crop in crops]), torch.cat(pixels) if pixels else None)


def _as_tensor(frames_thw: NDArray[np.uint8]) -> Tensor:
    """The same memory as a tensor; it may be mapped read-only, of which torch warns, and nothing here writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(frames_thw)


def _differences(frames_thw: Tensor) -> Tensor:
    """Absolute difference to the frame before; zero at the first frame; shape (T, H, W)."""
    return functional.pad(frames_thw.diff(dim=0).abs_(), (0, 0, 0, 0, 1, 0))


def _pooled_sums(frames_thw: Tensor, factor: int, device: torch.device) -> Tensor:
    """Sums of grey levels and of absolute differences over squares of `factor` pixels; shape (T, 2, H / f, W / f)."""
    fits_int16 = 255 * factor**2 < 2**15
    count, height, width = frames_thw.shape
    sums_tchw = torch.empty(
        (count, 2, height // factor, width // factor),
        dtype=torch.int16 if fits_int16 else torch.int32,
        device=device,
    )
    for start in range(0, count, BLOCK_FRAMES):
        before = max(start - 1, 0)
        block_thw = frames_thw[before : start + BLOCK_FRAMES].to(device).float()
        channels = [_square_sums(block_thw, factor), _square_sums(_differences(block_thw), factor)]
        pooled = torch.stack(channels, dim=1)
        sums_tchw[start : start + BLOCK_FRAMES] = pooled[start - before :].to(sums_tchw.dtype)
    return sums_tchw


def _square_sums(values_thw: Tensor, factor: int) -> Tensor:
    """Sums over squares; rows first, which adds whole lines at once."""
    count, height, width = values_thw.shape
    rows, columns = height // factor, width // factor
    whole = values_thw[:, : rows * factor, : columns * factor]
    lines = whole.reshape(count, rows, factor, columns * factor).sum(2)
    return lines.view(count, rows, columns, factor).sum(3)
