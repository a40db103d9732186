"""Settings of an ingest: how a source becomes a recording, and a file of them."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt, Strict

from fishray.config.base import Settings

CLOCK = re.compile(r"(?:(?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>\d+(?:\.\d+)?)|(?P<alone>\d+(?:\.\d+)?) ?s")


def _moment(value: Any) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str):
        if value.isdecimal():
            return int(value)
        if clock := CLOCK.fullmatch(value.strip()):
            minutes = 60 * int(clock["hours"] or 0) + int(clock["minutes"] or 0)
            seconds = 60 * minutes + float(clock["seconds"] or clock["alone"])
            return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    raise ValueError(f"{value!r}: must be a frame (1200) or a time (40s, 1:30, 1:02:30)")


def _region(value: tuple[int, ...]) -> tuple[int, ...]:
    if len(value) != 4 or not all(value[2:]):
        raise ValueError("must be left edge, top edge, width and height in pixels, such as [0, 0, 640, 480]")
    return value


def _size(value: tuple[int, ...]) -> tuple[int, ...]:
    if len(value) != 2:
        raise ValueError("must be height and width in pixels, such as [120, 160]")
    return value


def _percentiles(value: tuple[float, ...]) -> tuple[float, ...]:
    if len(value) != 2 or not 0 <= value[0] < value[1] <= 100:
        raise ValueError("must be two percentiles, the lower one first, such as [0.5, 99.5]")
    return value


Moment = Annotated[Any, AfterValidator(_moment)]
"""A frame of the source, counted from 0, or a time from its first frame, kept as ``90s``."""


class IngestSettings(Settings):
    """How a source becomes a recording; equal settings on an equal source give an equal recording.

    They are applied in the order of this list. The speed is measured after `background`, at the resolution of the
    source; what comes later changes the stored frames alone, except for the repair of the speed itself.

    Attributes
    ----------
    fps
        Frame rate [frames per second] in place of what the source says; its frames then count as evenly spaced.
    start, stop
        The first frame, and the first one left out: a frame's number or a time. None: the whole source.
    resample
        Constant frame rate [frames per second] to bring the recording to: at each tick stands the nearest earlier
        frame of the source. None: every frame once, with its true time where they are not evenly spaced.
    region
        Left edge, top edge, width and height of the part of the picture to keep [pixels].
    normalise_flicker
        Whether every frame is scaled to the same mean grey level.
    invert
        Whether dark becomes bright, so that animals are bright on black; auto: where what moves is darker than what
        it moves over.
    background
        What is taken from each frame: none; difference: the absolute difference to the background; brighter: how much
        it is above the background. The background is the median of up to 51 frames.
    repair_spikes
        Whether the speed's spikes at the codec's key frames are cut down to the speeds before them.
    size
        Height and width of a stored frame [pixels]. None: the shorter side becomes 120, the aspect is kept, both are
        rounded to multiples of 4, and nothing is enlarged.
    interpolation
        How frames are made smaller: area averages what each pixel covers; nearest takes the pixel at its middle, as
        the published frames were made.
    contrast
        Two percentiles of grey levels, which become black and white in the stored frames.
    estimate_from
        The share of the recording, from its first frame on, that everything is estimated from: mean grey level,
        polarity, background, percentiles, spikes. No larger than the train part of a split, so that nothing is known
        of the frames that judge.
    drop_placeholder
        Whether to drop the 0 that a published series carries at its end for want of a next frame.
    """

    fps: PositiveFloat | None = None
    start: Moment | None = None
    stop: Moment | None = None
    resample: PositiveFloat | None = None
    region: Annotated[tuple[NonNegativeInt, ...], Strict(False), AfterValidator(_region)] | None = None
    normalise_flicker: bool = False
    invert: Literal["no", "yes", "auto"] = "no"
    background: Literal["none", "difference", "brighter"] = "none"
    repair_spikes: bool = False
    size: Annotated[tuple[PositiveInt, ...], Strict(False), AfterValidator(_size)] | None = None
    interpolation: Literal["area", "nearest"] = "area"
    contrast: Annotated[tuple[float, ...], Strict(False), AfterValidator(_percentiles)] | None = None
    estimate_from: Annotated[float, Field(gt=0, le=1)] = 0.6
    drop_placeholder: bool = False


class IngestEntry(IngestSettings):
    """One recording of a settings file: its source, its name, and what differs from the file's settings."""

    source: Path
    name: str | None = None


def _some(entries: tuple[IngestEntry, ...]) -> tuple[IngestEntry, ...]:
    if not entries:
        raise ValueError("is empty; give at least one, or leave it out")
    return entries


class IngestFile(IngestSettings):
    """A settings file: settings of all recordings, and perhaps the store and the recordings themselves.

    Paths count from where the command is given, as those of a sweep do.
    """

    store: Path | None = None
    recordings: Annotated[tuple[IngestEntry, ...], AfterValidator(_some)] | None = None
