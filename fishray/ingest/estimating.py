"""What is estimated from a recording's beginning, in bounded memory: mean level, polarity, background, contrast."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fishray.config.ingest import IngestSettings
from fishray.errors import SettingError
from fishray.ingest.preprocess import WHITE, Estimates, Preprocessor

SAMPLE_FRAMES = 51
SAMPLE_BYTES = 256 * 2**20
BAND_BYTES = 8 * 2**20


def needs_estimates(settings: IngestSettings) -> bool:
    """Whether anything is to be taken from the frames before they are written."""
    polarity = settings.invert == "auto"
    return settings.normalise_flicker or polarity or settings.background != "none" or settings.contrast is not None


def estimated_frames(frame_count: int, share: float) -> int:
    """How many frames, from the first on, everything is estimated from."""
    return max(1, math.floor(share * frame_count + 1e-9))


def sample_positions(frame_count: int, frame_bytes: int) -> NDArray[np.int64]:
    """Evenly spaced positions among the first `frame_count` frames, an odd number of them where there are enough."""
    most = min(SAMPLE_FRAMES, max(3, SAMPLE_BYTES // frame_bytes))
    most -= 1 - most % 2
    count = min(most, frame_count)
    return (2 * np.arange(count) + 1) * frame_count // (2 * count)


def pick(
    frames: Iterator[NDArray[np.uint8]], positions: NDArray[np.int64], progress: Callable[[int], None]
) -> list[NDArray[np.uint8]]:
    """Read as far as the last of these positions and keep the frames there."""
    wanted = set(positions.tolist())
    sample = []
    for position, frame_hw in enumerate(frames):
        if position in wanted:
            sample.append(frame_hw)
            progress(position + 1)
        if position >= positions[-1]:
            break
    return sample


def estimate(sample: Sequence[NDArray[np.uint8]], preprocessor: Preprocessor) -> Estimates:
    """Estimate what the settings ask for from frames of the source.

    Parameters
    ----------
    sample : each of shape (H, W)
        Frames as the source gives them.
    preprocessor
        One that knows no estimates yet.

    Raises
    ------
    SettingError
        Where the percentiles of `contrast` are one grey level.
    """
    settings = preprocessor.settings
    if settings.normalise_flicker:
        mean_level = float(np.mean([preprocessor.prepare(frame_hw).mean() for frame_hw in sample]))
        preprocessor = preprocessor.given(mean_level=mean_level or None)
    inverted = settings.invert == "yes"
    background_hw = None
    if settings.invert == "auto" or settings.background != "none":
        levelled = [preprocessor.prepare(frame_hw) for frame_hw in sample]
        background_hw = median_frame(levelled)
        inverted = inverted or (settings.invert == "auto" and moves_dark(levelled, background_hw))
    preprocessor = preprocessor.given(inverted=inverted)
    if background_hw is not None and settings.background != "none":
        preprocessor = preprocessor.given(background_hw=~background_hw if inverted else background_hw)
    if settings.contrast is not None:
        finished = (preprocessor.finish(preprocessor.prepare(frame_hw)) for frame_hw in sample)
        preprocessor = preprocessor.given(contrast=_percentile_levels(finished, settings.contrast))
    return preprocessor.estimates


def median_frame(frames: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Median of each pixel over frames of shape (H, W); of an even number of frames the lower of the middle two."""
    height, width = frames[0].shape
    middle = (len(frames) - 1) // 2
    rows = max(1, BAND_BYTES // (len(frames) * width))
    bands = []
    for top in range(0, height, rows):
        band_thw = np.stack([frame_hw[top : top + rows] for frame_hw in frames])
        bands.append(np.partition(band_thw, middle, axis=0)[middle])
    return np.concatenate(bands)


def moves_dark(frames: Sequence[NDArray[np.uint8]], background_hw: NDArray[np.uint8]) -> bool:
    """Whether what differs from the background is darker than it, each pixel by its squared difference."""
    darker = brighter = 0
    for frame_hw in frames:
        darker += _squares(background_hw - np.minimum(frame_hw, background_hw))
        brighter += _squares(frame_hw - np.minimum(frame_hw, background_hw))
    return darker > brighter


def _squares(differences_hw: NDArray[np.uint8]) -> int:
    return int(np.square(differences_hw, dtype=np.uint32).sum(dtype=np.uint64))


def _percentile_levels(frames: Iterator[NDArray[np.uint8]], percentiles: Sequence[float]) -> tuple[int, int]:
    """The lowest grey levels that at least these shares of all pixels do not exceed."""
    counts = np.zeros(WHITE + 1, np.int64)
    for frame_hw in frames:
        counts += np.bincount(frame_hw.ravel(), minlength=WHITE + 1)
    below = counts.cumsum()
    black, white = (int(np.searchsorted(below, max(1, share * below[-1] / 100))) for share in percentiles)
    if black == white:
        low, high = percentiles
        raise SettingError(
            f"contrast {low:g},{high:g}: both percentiles are grey level {black}, so that nothing lies between; take "
            "wider ones"
        )
    return black, white
