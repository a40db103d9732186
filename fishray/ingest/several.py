"""Several recordings at once: which, and what became of each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fishray.config.ingest import IngestEntry, IngestFile, IngestSettings
from fishray.errors import FishrayError, SettingError
from fishray.ingest.writing import recording_name
from fishray.store import Recording


@dataclass(frozen=True)
class Planned:
    """A recording to be ingested."""

    source: Path
    name: str
    settings: IngestSettings


@dataclass(frozen=True)
class Outcome:
    """What became of a planned recording: the recording, or why there is none."""

    planned: Planned
    recording: Recording | None = None
    error: FishrayError | None = None


def plan(
    file: IngestFile, sources: Sequence[Path] = (), overrides: Mapping[str, Any] | None = None, name: str | None = None
) -> tuple[Planned, ...]:
    """Say what to ingest and how.

    Parameters
    ----------
    file
        Settings of all recordings, and those of its own for each that it lists.
    sources
        What to ingest; all that the file lists when left out. One that the file lists has the settings and the names
        that it has there.
    overrides
        Settings that replace the file's, for every recording.
    name
        Name of the only recording.

    Raises
    ------
    SettingError
        Where there is nothing to ingest, where two recordings would have one name, or several the one that is given.
    """
    listed = file.recordings or ()
    if sources:
        entries = [
            entry
            for source in sources
            for entry in [each for each in listed if each.source == source] or [IngestEntry(source=source)]
        ]
    else:
        entries = list(listed)
    if not entries:
        raise SettingError("nothing to ingest; give a video, or a settings file that lists recordings")
    if name is not None and len(entries) > 1:
        raise SettingError(
            f"name {name} is for one recording, and there are {len(entries)}; name them in a settings file"
        )
    planned = tuple(
        Planned(entry.source, name or entry.name or recording_name(entry.source), _merged(file, entry, overrides or {}))
        for entry in entries
    )
    _refuse_same_names(planned)
    return planned


def ingest_each(planned: Sequence[Planned], ingest: Callable[[Planned], Recording]) -> Iterator[Outcome]:
    """Ingest one after another; one that fails does not keep the others from it."""
    for each in planned:
        try:
            yield Outcome(each, recording=ingest(each))
        except FishrayError as error:
            yield Outcome(each, error=error)


def _merged(file: IngestFile, entry: IngestEntry, overrides: Mapping[str, Any]) -> IngestSettings:
    given = file.model_dump(exclude_unset=True) | entry.model_dump(exclude_unset=True) | dict(overrides)
    return IngestSettings(**{key: value for key, value in given.items() if key in IngestSettings.model_fields})


def _refuse_same_names(planned: Sequence[Planned]) -> None:
    first: dict[str, Path] = {}
    for each in planned:
        if each.name in first:
            raise SettingError(
                f"{first[each.name]} and {each.source} would both be the recording {each.name}; name them in a "
                "settings file, or ingest one at a time with --name"
            )
        first[each.name] = each.source
