"""From a source to a recording in a store."""

import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fishray import __version__
from fishray.config.ingest import IngestSettings
from fishray.errors import SettingError, StoreError
from fishray.ingest.estimating import estimated_frames
from fishray.ingest.frames import Progress, write_frames
from fishray.ingest.readers import Source, open_source
from fishray.ingest.selection import DEFAULT_FPS, Selection, select
from fishray.ingest.series import SpeedSeries
from fishray.ingest.unfinished import tidy, under_way
from fishray.signals.artefacts import find_spikes, repair_spikes
from fishray.store import Recording, RecordingWriter, existing_recording, open_store

DEFAULTS = IngestSettings()
FOR_SERIES = {"fps", "repair_spikes", "estimate_from", "drop_placeholder"}
"""Settings that mean something where there are no frames."""

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
    looking: Progress = silent,
) -> Recording:
    """Read a source into a store, as one recording; go on with it where that was stopped before.

    Parameters
    ----------
    source
        A video file, a folder of images, or a .npy or .csv series of speeds.
    store
        The store, made if it is missing.
    settings
        What is taken of the source, and what is done to it.
    name
        Name of the recording; by default that of the source.
    progress
        Is told the frames done and the number of all, if it is known.
    notice
        Is told what a person should know: an assumed frame rate, what was estimated, or that the recording was already
        there.
    looking
        Is told the frames looked at before, where something is estimated from them, and how many there are.

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
        Where the name is taken by another source or other settings, another process writes the same recording, the
        store cannot be written, or the path holds no store.
    """
    reader = open_source(source)
    name = recording_name(source) if name is None else name
    _refuse_unfit(reader, settings)
    attributes = _provenance(reader, settings)
    there = existing_recording(store, name)
    if there is not None:
        tidy(store, name)
        return _unchanged(there, store, attributes, notice)
    with under_way(store, name, attributes) as (writer, lease):
        _tell_begun(writer, name, notice)
        if isinstance(reader, SpeedSeries):
            speed = reader.speed(settings.drop_placeholder)
        else:
            selection = select(reader, settings)
            _tell_rate(name, selection, notice)
            write_frames(reader, selection, settings, writer, lease, progress, looking)
            speed = writer.speed
        if settings.repair_spikes:
            speed = _repaired(writer, speed, settings.estimate_from, notice)
        writer.finish(speed)
    recording = open_store(store).recording(name)
    if settings.invert == "auto":
        _tell_polarity(recording, notice)
    if reader.fps is None and settings.fps is None:
        notice(f"{source} states no frame rate; {DEFAULT_FPS:g} frames per second assumed, another with --fps")
    return recording


def recording_name(source: Path) -> str:
    """Name of a recording after its source: letters, digits, - and _."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", source.resolve().stem).strip("_") or "recording"


def _refuse_unfit(reader: Source, settings: IngestSettings) -> None:
    """Refuse settings that mean nothing for a kind of source."""
    if not isinstance(reader, SpeedSeries):
        if settings.drop_placeholder:
            raise SettingError(f"drop_placeholder does not go with {reader.path}, which has frames; leave it out")
        return
    unfit = [key for key, value in settings if key not in FOR_SERIES and value != getattr(DEFAULTS, key)]
    if unfit:
        plural = len(unfit) > 1
        raise SettingError(
            f"{', '.join(unfit)} {'do' if plural else 'does'} not go with {reader.path}, a series of speeds without "
            f"frames; leave {'them' if plural else 'it'} out"
        )


def _provenance(reader: Source, settings: IngestSettings) -> dict[str, Any]:
    return {
        "fps": (settings.fps or DEFAULT_FPS) if isinstance(reader, SpeedSeries) else select(reader, settings).fps,
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


def _tell_begun(writer: RecordingWriter, name: str, notice: Notice) -> None:
    if writer.replaced:
        notice(f"{name} had been begun from another source, with other settings or by another fishray; begun anew")
    elif writer.frame_count:
        notice(f"{name}: going on after its first {writer.frame_count:,} frames, which are there")


def _tell_rate(name: str, selection: Selection, notice: Notice) -> None:
    if selection.fps > selection.source_fps:
        notice(
            f"{name}: {selection.fps:g} frames per second are more than the source's {selection.source_fps:g}; frames "
            "are repeated, and between them the speed is 0"
        )
    if selection.times_s is not None:
        gaps_ms = 1000 * np.diff(selection.times_s)
        notice(
            f"{name}: its frames are not evenly spaced, {gaps_ms.min():.0f} to {gaps_ms.max():.0f} ms apart; their "
            "times are kept, but speeds and horizons count frames: better bring it to a constant rate, "
            f"--resample {selection.fps:.0f}"
        )


def _tell_polarity(recording: Recording, notice: Notice) -> None:
    inverted = recording.attributes["estimates"]["inverted"]
    found = "darker than what it moves over: inverted" if inverted else "brighter than what it moves over: not inverted"
    notice(f"{recording.name}: what moves is {found}")


def _repaired(
    writer: RecordingWriter, speed: NDArray[np.float64], estimate_from: float, notice: Notice
) -> NDArray[np.float64]:
    """The speed without the spikes of key frames, whose places are found in its beginning."""
    within = estimated_frames(len(speed) + 1, estimate_from)
    grid = find_spikes(speed[: within - 1])
    known = writer.attributes.get("estimates", {"frames": within})
    writer.annotate(estimates=known | {"spikes": None if grid is None else asdict(grid)})
    if grid is None:
        notice(f"no key-frame spikes found in the first {within:,} frames; the speed is left as it is")
        return speed
    repaired = repair_spikes(speed, grid)
    changed = int((repaired != speed).sum())
    notice(f"key-frame spikes every {grid.period:g} frames: {changed:,} of {len(speed):,} speeds cut down")
    return repaired
