"""A picture of a recording: frames as they were and as they are stored, and the speed with its labels."""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fishray.config.ingest import IngestSettings
from fishray.config.sweep import LabelSettings
from fishray.errors import FishrayError
from fishray.ingest.estimating import pick
from fishray.ingest.readers import open_source
from fishray.ingest.selection import select
from fishray.ingest.series import SpeedSeries
from fishray.signals.targets import burst_labels
from fishray.store import Recording

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

MOMENTS = 6
WITHIN_S = 600.0
"""Moments are taken from the first ten minutes, so that of hours of video little is decoded again."""
CALM, FAST = 0.1, 0.99
"""Quantiles of the speed in its part of the recording, at which a moment is taken in turn."""
CLOSE_UP_S = 20.0
CURVE_BINS = 1200
CELL_WIDTH = 1.95
"""Of a picture [inch]."""
BLUE, ORANGE, GREY = "#0072B2", "#E69F00", "0.4"
"""Told apart by every eye, and in grey (Okabe & Ito 2008)."""
SPEED_TITLE = "speed ỹ\n[grey level / 255\nper frame]"

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class RawFrames:
    """Frames of the source at the moments of a sheet, or why there are none."""

    frames: Sequence[NDArray[np.uint8]] = ()
    missing: str = ""


def moments(speed: NDArray[np.float64], fps: float) -> NDArray[np.int64]:
    """Frames to show: calm and fast ones in turn, one from each part of the beginning; shape (at most 6,)."""
    within = min(len(speed), max(MOMENTS, int(WITHIN_S * fps)))
    parts = [part for part in np.array_split(np.arange(within), MOMENTS) if len(part)]
    chosen = []
    for number, part in enumerate(parts):
        wanted = np.quantile(speed[part], CALM if number % 2 == 0 else FAST)
        chosen.append(int(part[np.abs(speed[part] - wanted).argmin()]))
    return np.array(chosen, np.int64)


def raw_frames(
    recording: Recording, places: Sequence[Path], positions: NDArray[np.int64], progress: Progress
) -> RawFrames:
    """Decode frames of a recording's source again.

    Parameters
    ----------
    places
        Where the source may lie; the first that holds what the recording was made from is read.
    positions
        Frames of the recording, ascending.
    progress
        Is told the frames read and how many are to be read.
    """
    name = recording.attributes.get("source", "its source")
    if recording.frame_size is None or not len(positions):
        return RawFrames(missing=f"{name} is a series of speeds")
    there = [place for place in places if place.exists()]
    if not there:
        return RawFrames(missing=f"{name} is not there; say where it is with --source")
    try:
        for place in there:
            reader = open_source(place)
            if isinstance(reader, SpeedSeries) or reader.sha256() != recording.attributes.get("source_sha256"):
                continue
            settings = IngestSettings.model_validate_json(json.dumps(recording.attributes["settings"]))
            frames = select(reader, settings).frames(reader)
            return RawFrames(pick(frames, positions, lambda done: progress(done, int(positions[-1]) + 1)))
    except FishrayError as error:
        return RawFrames(missing=str(error))
    return RawFrames(missing=f"{there[0]} is not what this recording was made from; say where that is with --source")


def draw_sheet(
    path: Path,
    recording: Recording,
    labels: LabelSettings,
    range_threshold: float,
    raw: RawFrames,
    positions: NDArray[np.int64],
) -> None:
    """Draw frames of a recording at some positions, and its speed with its labels, into an image file.

    Parameters
    ----------
    labels, range_threshold
        The rule, and its threshold where it has ``auto``.
    raw
        Frames of the source at `positions`.
    """
    from matplotlib.figure import Figure

    speed = recording.speed
    label = burst_labels(speed, labels.horizon_frames(recording.fps), labels.low_fraction, range_threshold)
    rows = _image_rows(recording, raw, positions)
    height, width = recording.frame_size or (0, 1)
    image_height = len(rows) * (CELL_WIDTH * height / width + 0.1) + 0.4
    figure = Figure(figsize=(13, image_height + 5.6), dpi=110, layout="constrained")
    figure.suptitle(_title(recording), fontsize=13)
    if rows:
        grid = figure.add_gridspec(2, 1, height_ratios=[image_height, 5])
        upper, lower = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
        _draw_frames(upper, rows, _captions(positions, speed, recording.fps))
    else:
        lower = figure.add_subfigure(figure.add_gridspec(1, 1)[0])
    _draw_speeds(lower, speed, label, recording.fps, range_threshold)
    if raw.missing and rows:
        figure.supxlabel(f"The source's own frames are not shown: {raw.missing}", fontsize=8, color=GREY)
    figure.savefig(path)


def _title(recording: Recording) -> str:
    size = "speed alone" if recording.frame_size is None else "stored at {}x{}".format(*recording.frame_size)
    return f"{recording.name} · {recording.frame_count:,} frames at {recording.fps:g} fps, {size}"


def _captions(positions: NDArray[np.int64], speed: NDArray[np.float64], fps: float) -> list[str]:
    kinds = ("calm", "fast")
    return [
        f"{kinds[number % 2]} · {_clock(position / fps)}\nỹ = {speed[position]:.1e}"
        for number, position in enumerate(positions)
    ]


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


def _image_rows(
    recording: Recording, raw: RawFrames, positions: NDArray[np.int64]
) -> list[tuple[str, list[NDArray[Any]]]]:
    """Rows of pictures with their names: source, stored, difference to the next frame."""
    if recording.frame_size is None:
        return []
    pairs = [recording.read_frames(position, position + 2).astype(np.int16) for position in positions]
    rows: list[tuple[str, list[NDArray[Any]]]] = []
    if raw.frames:
        rows.append(("source", list(raw.frames)))
    rows.append(("stored", [pair[0] for pair in pairs]))
    rows.append(("change to the\nnext frame", [np.abs(pair[1] - pair[0]) for pair in pairs]))
    return rows


def _draw_frames(part: "SubFigure", rows: list[tuple[str, list[NDArray[Any]]]], captions: list[str]) -> None:
    axes = part.subplots(len(rows), len(captions), squeeze=False)
    for row, (name, pictures) in enumerate(rows):
        changes = row == len(rows) - 1
        top = max(8.0, *(float(np.quantile(picture, 0.999)) for picture in pictures)) if changes else 255
        for axis, picture in zip(axes[row], pictures, strict=True):
            # Change is dark on white, so that it is seen in print.
            shown = axis.imshow(picture, cmap="gray_r" if changes else "gray", vmin=0, vmax=top)
            axis.set_xticks([])
            axis.set_yticks([])
        axes[row][0].set_ylabel(f"{name}\n{pictures[0].shape[0]}x{pictures[0].shape[1]}", fontsize=10)
        bar = part.colorbar(shown, ax=list(axes[row]), fraction=0.02, pad=0.01)
        bar.set_label("grey levels", fontsize=9)
        bar.ax.tick_params(labelsize=8)
    for axis, caption in zip(axes[0], captions, strict=True):
        axis.set_title(caption, fontsize=10)


def _draw_speeds(
    part: "SubFigure", speed: NDArray[np.float64], label: NDArray[np.int8], fps: float, range_threshold: float
) -> None:
    """The whole speed above, the share of positives below it, and the liveliest seconds from near."""
    whole, share, near = part.subplots(3, 1, height_ratios=[3, 1, 3])
    share.sharex(whole)
    unit, in_seconds = ("min", 60.0) if len(speed) / fps > 150 else ("s", 1.0)
    bins = _bins(len(speed))
    time = np.array([bin_.start for bin_ in bins]) / fps / in_seconds
    if len(bins) < len(speed):
        low, high = (np.array([fold(speed[bin_]) for bin_ in bins]) for fold in (np.min, np.max))
        whole.set_title("median of each moment, and from its lowest to its highest", loc="left", fontsize=9)
        whole.fill_between(time, low, high, color=BLUE, alpha=0.35, linewidth=0)
    whole.plot(time, [np.median(speed[bin_]) for bin_ in bins], color=BLUE, linewidth=0.8)
    whole.set_ylabel(SPEED_TITLE, fontsize=9)
    whole.set_ylim(0, None)
    whole.tick_params(labelbottom=False)
    coarse = _bins(len(speed), 100)
    edges = np.array([bin_.start for bin_ in coarse] + [len(speed)]) / fps / in_seconds
    shares = [float((label[bin_] == 1).mean()) for bin_ in coarse]
    share.stairs(100 * np.array(shares), edges, fill=True, color=ORANGE)
    share.set_ylabel("positive\n[%]", fontsize=9)
    share.set_ylim(0, None)
    share.set_xlim(0, edges[-1])
    share.set_xlabel(f"time [{unit}]")
    _draw_near(near, speed, label, fps, range_threshold)


def _draw_near(
    axis: "Axes", speed: NDArray[np.float64], label: NDArray[np.int8], fps: float, range_threshold: float
) -> None:
    start, stop = _liveliest(label[:-1], int(CLOSE_UP_S * fps))
    time = np.arange(start, stop) / fps
    shown, positive = speed[start:stop], label[start:stop] == 1
    for first, last in _runs(positive):
        axis.axvspan(time[first], time[last - 1] + 1 / fps, color=ORANGE, alpha=0.45, linewidth=0)
    axis.plot(time, shown, color=BLUE, linewidth=1.2)
    base = float(shown.min())
    axis.plot(
        [time[0]] * 2, [base, base + range_threshold], color="black", linewidth=6, solid_capstyle="butt", clip_on=False
    )
    axis.set_title(f"bar at the left: range_threshold {range_threshold:.1e}", loc="left", fontsize=9)
    axis.set_ylabel(SPEED_TITLE, fontsize=9)
    axis.set_xlabel(f"time [s] · the liveliest {len(shown) / fps:.0f} s from near; shaded frames are labelled positive")
    axis.set_xlim(time[0], time[-1] + 1 / fps)


def _bins(count: int, most: int = CURVE_BINS) -> list[slice]:
    borders = np.linspace(0, count, min(most, count) + 1).astype(int)
    return [slice(int(start), int(stop)) for start, stop in itertools.pairwise(borders)]


def _liveliest(label: NDArray[np.int8], length: int) -> tuple[int, int]:
    """Where most runs of positives begin within `length` frames."""
    length = max(1, min(length, len(label)))
    begins = np.diff((label == 1).astype(np.int64), prepend=0) == 1
    total = np.concatenate([[0], np.cumsum(begins)])
    start = int((total[length:] - total[:-length]).argmax())
    return start, start + length


def _runs(flags: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First and end of each run of true flags."""
    borders = np.flatnonzero(np.diff(np.pad(flags.astype(np.int8), 1)))
    return zip(borders[::2].tolist(), borders[1::2].tolist(), strict=True)
