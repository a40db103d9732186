"""From a source of frames to the frames and speed of a recording, in memory that does not grow with its length."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fishray.config.ingest import IngestSettings
from fishray.errors import RecordingError
from fishray.ingest.estimating import estimate, estimated_frames, needs_estimates, pick, sample_positions
from fishray.ingest.preprocess import Estimates, Preprocessor
from fishray.ingest.readers import FrameSource
from fishray.ingest.selection import Selection
from fishray.runs.lease import Lease
from fishray.signals.speed import SpeedMeter
from fishray.store import CHUNK_FRAMES, RecordingWriter

Progress = Callable[[int, int | None], None]


def write_frames(
    reader: FrameSource,
    selection: Selection,
    settings: IngestSettings,
    writer: RecordingWriter,
    lease: Lease,
    progress: Progress,
    looking: Progress,
) -> None:
    """Write the selected frames, and the speeds between them, from where the writer was stopped.

    Parameters
    ----------
    progress
        Is told the frames done and the number of all, if it is known.
    looking
        Is told the frames looked at for the estimates, and how many there are.

    Raises
    ------
    RecordingError
        Where the source is damaged, changes its size, or holds fewer than two frames.
    SettingError
        Where a setting does not go with the size of its frames.
    """
    estimates = _estimates(reader, selection, settings, writer, looking)
    total, begun = selection.frame_count(reader.frame_count), writer.frame_count
    first = max(0, begun - 1)  # the last one that is written, for the speed from it to the next
    frames = _same_size(reader, selection, first)
    first_hw = next(frames)
    preprocessor = Preprocessor(settings, estimates, (first_hw.shape[0], first_hw.shape[1]))
    meter = SpeedMeter()
    position = first
    for position, frame_hw in enumerate(itertools.chain([first_hw], frames), start=first):
        prepared_hw = preprocessor.prepare(frame_hw)
        speed = meter.see(prepared_hw)  # before it is made smaller: the stored size must not change the speed
        if position >= begun:
            writer.append(preprocessor.finish(prepared_hw)[None], speed)
        if (position + 1) % CHUNK_FRAMES == 0:
            lease.check()
            progress(position + 1, total)
    progress(position + 1, total)
    if not position:
        raise RecordingError(f"{reader.path} holds a single frame; a speed compares two")
    _refuse_estimates_too_far(reader.path, writer, settings, position + 1)
    if selection.times_s is not None:
        writer.add_array("times", selection.times_s)


def _estimates(
    reader: FrameSource, selection: Selection, settings: IngestSettings, writer: RecordingWriter, looking: Progress
) -> Estimates:
    """What is estimated from the first frames: looked up where the writer goes on, else made and noted."""
    if not needs_estimates(settings):
        return Estimates(inverted=settings.invert == "yes")
    subtracts = settings.background != "none"
    known = writer.attributes.get("estimates")
    if known is not None:
        return Estimates.of_attributes(known, writer.read_array("background") if subtracts else None)
    total = selection.frame_count(reader.frame_count)
    if total is None:
        total = sum(1 for _ in selection.frames(reader))
    frames = _same_size(reader, selection, 0)
    first_hw = next(frames)
    preprocessor = Preprocessor(settings, Estimates(), (first_hw.shape[0], first_hw.shape[1]))
    within = estimated_frames(total, settings.estimate_from)
    positions = sample_positions(within, first_hw.nbytes)
    sample = pick(itertools.chain([first_hw], frames), positions, lambda seen: looking(seen, int(positions[-1]) + 1))
    estimates = estimate(sample, preprocessor)
    if estimates.background_hw is not None:
        writer.add_array("background", estimates.background_hw)
    writer.annotate(estimates={"frames": within, **estimates.to_attributes()})
    return estimates


def _refuse_estimates_too_far(path: Path, writer: RecordingWriter, settings: IngestSettings, frame_count: int) -> None:
    """Refuse estimates from frames that turn out to lie behind their share, for a source that misstates its length."""
    within = estimated_frames(frame_count, settings.estimate_from)
    looked_at = writer.attributes.get("estimates", {}).get("frames", 0)
    if looked_at > within:
        raise RecordingError(
            f"{path} has fewer frames than it states, so that its first {looked_at} were looked at and {within} should "
            "have been; state where it ends: --stop, in frames of the source"
        )


def _same_size(reader: FrameSource, selection: Selection, first: int) -> Iterator[NDArray[np.uint8]]:
    size = None
    for position, frame_hw in enumerate(selection.frames(reader, first), start=selection.source_frame(first)):
        size = size or frame_hw.shape
        if frame_hw.shape != size:
            raise RecordingError(
                f"{reader.path}: frame {position} is {frame_hw.shape[1]}x{frame_hw.shape[0]} pixels, those before are "
                f"{size[1]}x{size[0]}; split it there into recordings of their own"
            )
        yield frame_hw
    if size is None:
        raise RecordingError(f"{reader.path} holds no frames there; give another source, or re-encode this one")
