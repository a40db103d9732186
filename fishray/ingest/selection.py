"""Which frames of a source make the recording, and when they were taken."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fishray.config.ingest import IngestSettings
from fishray.errors import SettingError
from fishray.ingest.readers import FrameSource

DEFAULT_FPS = 30.0  # for sources that state none; the rate of the published recordings
SLACK_S = 1e-3
"""How much later than a tick a frame may stand and still count as at it: containers round times to a millisecond."""
SLACK_FRAMES = 0.25
"""The same in frames, for cameras so fast that a millisecond is a frame."""


@dataclass(frozen=True)
class Selection:
    """The frames of a source that make a recording, one after another.

    Attributes
    ----------
    fps
        Frame rate of the recording [frames per second]; the mean one where `times_s` vary.
    start, stop
        First frame of the source, and the first one left out; None where the source ends the recording.
    source_fps
        Frame rate of the source [frames per second].
    source_times_s
        When the chosen frames of the source were taken [s] from the first; None where they are evenly spaced.
    resampled
        Whether frames are taken at the ticks of `fps`.
    """

    fps: float
    start: int
    stop: int | None
    source_fps: float
    source_times_s: NDArray[np.float64] | None
    resampled: bool

    @property
    def times_s(self) -> NDArray[np.float64] | None:
        """When the recording's frames were taken [s] from the first; None where they are evenly spaced."""
        return None if self.resampled else self.source_times_s

    @property
    def _slack_s(self) -> float:
        return _slack_s(self.source_fps)

    def frame_count(self, source_count: int | None) -> int | None:
        """Number of frames that it has of a source with so many; None where that is not known."""
        ends = [end for end in (source_count, self.stop) if end is not None]
        if not ends:
            return None
        chosen = max(0, min(ends) - self.start)
        if not self.resampled or not chosen:
            return chosen
        if self.source_times_s is not None:
            return math.floor((float(self.source_times_s[-1]) + self._slack_s) * self.fps) + 1
        return math.ceil((chosen / self.source_fps - self._slack_s) * self.fps)

    def source_frame(self, position: int) -> int:
        """The frame of the source that a frame of the recording is."""
        if not self.resampled:
            return self.start + position
        tick_s = position / self.fps + self._slack_s
        if self.source_times_s is None:
            return self.start + math.floor(tick_s * self.source_fps)
        return self.start + int(np.searchsorted(self.source_times_s, tick_s, "right")) - 1

    def frames(self, reader: FrameSource, first: int = 0) -> Iterator[NDArray[np.uint8]]:
        """The recording's frames from `first` on, each of shape (H, W), as the source gives them."""
        count = self.frame_count(len(self.source_times_s) + self.start) if self.source_times_s is not None else None
        source_position = self.source_frame(first)
        for frame_hw in reader.frames(source_position):
            if self.stop is not None and source_position >= self.stop:
                return
            while self.source_frame(first) == source_position and first != count:
                yield frame_hw
                first += 1
            source_position += 1


def select(reader: FrameSource, settings: IngestSettings) -> Selection:
    """Choose the frames of a source that the settings ask for.

    Raises
    ------
    SettingError
        Where that leaves no two frames.
    """
    source_fps = settings.fps or reader.fps or DEFAULT_FPS
    times_s = None if settings.fps else reader.times_s
    start = _frame_at(settings.start, source_fps, times_s) or 0
    stop = _frame_at(settings.stop, source_fps, times_s)
    ends = [end for end in (reader.frame_count, stop) if end is not None]
    if ends and (settings.start is not None or settings.stop is not None) and min(ends) - start < 2:
        has = f", which has {reader.frame_count} frames" if reader.frame_count else ""
        raise SettingError(
            f"start {start} and stop {'at the end' if stop is None else stop} leave no two frames of "
            f"{reader.path}{has}; choose others"
        )
    if times_s is not None:
        times_s = times_s[start:stop]
        times_s = times_s - times_s[0]
    rate = source_fps if times_s is None or not times_s[-1] else (len(times_s) - 1) / float(times_s[-1])
    return Selection(settings.resample or rate, start, stop, rate, times_s, settings.resample is not None)


def _frame_at(moment: int | str | None, fps: float, times_s: NDArray[np.float64] | None) -> int | None:
    """The frame of a number, or the first frame that is not before a time."""
    if moment is None or isinstance(moment, int):
        return moment
    seconds = float(moment.removesuffix("s")) - _slack_s(fps)
    if times_s is None:
        return max(0, math.ceil(seconds * fps))
    return int(np.searchsorted(times_s, seconds))


def _slack_s(fps: float) -> float:
    return min(SLACK_S, SLACK_FRAMES / fps)
