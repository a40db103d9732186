"""From a source to a recording in a store."""

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fishray import __version__
from fishray.config.ingest import IngestSettings
from fishray.errors import RecordingError, SettingError, StoreError
from fishray.ingest.preprocess import resize_area, stored_size
from fishray.ingest.readers import FrameSource, Source, open_source
from fishray.ingest.series import SpeedSeries
from fishray.signals.speed import SpeedMeter
from fishray.store import CHUNK_FRAMES, Recording, RecordingWriter, existing_recording, new_recording, open_store

DEFAULTS = IngestSettings()
DEFAULT_FPS = 30.0  # for sources that state none; the rate of the published recordings

Progress = Callable[[int, int | None], None]
Notice = Callable[[str], None]


def silent(*_: object) -> None:
    """Take a progress or a notice and do nothing."""


def ingest(
    source: Path,
    store: Path,
    settings: IngestSettings = DEFAULTS,
    name: str | None = None,
    progress: Progress = silent,
    notice: Notice = silent,
) -> Recording:
    """Read a source into a store, as one recording.

    Parameters
    ----------
    source
        A video file, a folder of images, or a .npy or .csv series of speeds.
    store
        The store, made if it is missing.
    settings
        Size of the stored frames, frame rate, placeholder.
    name
        Name of the recording; by default that of the source.
    progress
        Is told the frames done and the number of all, if it is known.
    notice
        Is told what a person should know: an assumed frame rate, or that the recording was already there.

    Returns
    -------
    Recording
        The new recording, or the one that the same source and settings gave before, unchanged.

    Raises
    ------
    RecordingError
        Where the source cannot be used. The store is then as it was.
    SettingError
        Where a setting does not go with the source.
    StoreError
        Where the name is taken by another source or other settings, or the path holds no store.
    """
    reader = open_source(source)
    name = recording_name(source) if name is None else name
    there = existing_recording(store, name)
    attributes = _provenance(reader, settings)
    if there is not None:
        return _unchanged(there, store, attributes, notice)
    if isinstance(reader, SpeedSeries):
        _store_series(reader, store, name, attributes, settings)
    else:
        _store_frames(reader, store, name, attributes, settings, progress)
    if reader.fps is None and settings.fps is None:
        notice(f"{source} states no frame rate; {DEFAULT_FPS:g} frames per second assumed, another with --fps")
    return open_store(store).recording(name)


def recording_name(source: Path) -> str:
    """Name of a recording after its source: letters, digits, - and _."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", source.resolve().stem).strip("_") or "recording"


def _provenance(reader: Source, settings: IngestSettings) -> dict[str, Any]:
    return {
        "fps": settings.fps or reader.fps or DEFAULT_FPS,
        "source": reader.path.resolve().name,
        "source_sha256": reader.sha256(),
        "settings": settings.model_dump(mode="json"),
        "fishray": __version__,
    }


def _unchanged(there: Recording, store: Path, attributes: dict[str, Any], notice: Notice) -> Recording:
    # A setting that the recording's fishray did not know yet counts as left at its default.
    settings = DEFAULTS.model_dump(mode="json") | there.attributes["settings"]
    if settings != attributes["settings"] or there.attributes["source_sha256"] != attributes["source_sha256"]:
        raise StoreError(
            f"recording {there.name} is already there in {store}, from another source or with other settings; choose "
            "another with --name"
        )
    notice(f"recording {there.name} is already there in {store}, from the same source and settings; left unchanged")
    return there


def _store_series(
    reader: SpeedSeries, store: Path, name: str, attributes: dict[str, Any], settings: IngestSettings
) -> None:
    if settings.size is not None:
        raise SettingError(f"size does not go with {reader.path}, a series of speeds without frames; leave it out")
    speed = reader.speed(settings.drop_placeholder)
    with new_recording(store, name, attributes) as writer:
        writer.finish(speed)


def _store_frames(
    reader: FrameSource,
    store: Path,
    name: str,
    attributes: dict[str, Any],
    settings: IngestSettings,
    progress: Progress,
) -> None:
    if settings.drop_placeholder:
        raise SettingError(f"drop_placeholder does not go with {reader.path}, which has frames; leave it out")
    frames = reader.frames()
    first_hw = next(frames, None)
    if first_hw is None:
        raise RecordingError(f"{reader.path} holds no frames; give another video, or re-encode this one")
    size = stored_size((first_hw.shape[0], first_hw.shape[1]), settings.size)
    with new_recording(store, name, attributes) as writer:
        every = _same_size(itertools.chain([first_hw], frames), reader.path)
        speed = _write_frames(every, writer, size, lambda done: progress(done, reader.frame_count))
        if not len(speed):
            raise RecordingError(f"{reader.path} holds a single frame; a speed compares two")
        writer.finish(speed)


def _write_frames(
    frames: Iterator[NDArray[np.uint8]], writer: RecordingWriter, size: tuple[int, int], progress: Callable[[int], None]
) -> NDArray[np.float64]:
    meter = SpeedMeter()
    done = 0
    for frame_hw in frames:
        meter.see(frame_hw)  # at the resolution of the source: the stored size must not change the speed
        writer.append(resize_area(frame_hw, size)[None])
        done += 1
        if done % CHUNK_FRAMES == 0:
            progress(done)
    progress(done)
    return meter.speed


def _same_size(frames: Iterator[NDArray[np.uint8]], path: Path) -> Iterator[NDArray[np.uint8]]:
    size = None
    for position, frame_hw in enumerate(frames):
        size = size or frame_hw.shape
        if frame_hw.shape != size:
            raise RecordingError(
                f"{path}: frame {position} is {frame_hw.shape[1]}x{frame_hw.shape[0]} pixels, those before are "
                f"{size[1]}x{size[0]}; split it there into recordings of their own"
            )
        yield frame_hw
