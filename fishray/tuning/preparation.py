"""What happens before a sweep starts: its store, and every check that needs data or machine."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fishray.config.sweep import Sweep
from fishray.config.tank import TankSettings
from fishray.errors import RecordingError, SettingError, StoreError
from fishray.ingest.writing import ingest
from fishray.predictors.baselines import Algorithm
from fishray.sequences import Sequences
from fishray.sequences.splits import load_sequences
from fishray.simulate import simulate
from fishray.store import Recording, Store, annotate, open_store
from fishray.tuning.node import Node, check_resources, this_node

SIMULATED = "simulated"
"""Attribute of a recording that holds the settings of its tank."""

OnProgress = Callable[[str, int, int | None], None]
"""Told what is being made, how many frames are done and how many there are."""


@dataclass(frozen=True)
class Prepared:
    """A sweep that can start: its data is there, and this machine can run its trials."""

    sweep: Sweep
    node: Node
    recordings: tuple[Recording, ...]
    fingerprint: str
    sequences: Sequences
    """Speed alone."""


def prepare(sweep: Sweep, on_progress: OnProgress) -> Prepared:
    """Make the store if the sweep says how, and refuse what could not run.

    Raises
    ------
    RecordingError, LabelError, ResourceError, SettingError, StoreError
        Saying what is wrong and what to do.
    """
    node = this_node()
    check_resources(sweep, node)
    _refuse_short_look_back(sweep)
    store = prepare_store(sweep, on_progress)
    sequences = load_sequences(store, sweep.data, sweep.labels)
    pieces = [piece for split in sweep.data.split.parts for piece in sequences.split(split)]
    names = tuple(dict.fromkeys(piece.recording for piece in pieces))
    recordings = tuple(store.recording(name) for name in names)
    _refuse_missing_frames(sweep, recordings)
    return Prepared(sweep, node, recordings, store.fingerprint(names), sequences)


def prepare_store(sweep: Sweep, on_progress: OnProgress) -> Store:
    """Open the sweep's store; make it from a simulated tank first if it is missing and the sweep says so."""
    data = sweep.data
    if data.simulate and data.store.exists():
        _refuse_another_tank(open_store(data.store), data.simulate)
    elif data.simulate:
        data.store.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=data.store.parent) as folder:
            video = Path(folder) / f"{data.store.stem}.mp4"
            simulate(video, data.simulate, lambda done, total: on_progress("simulating a tank", done, total))
            made = ingest(video, data.store, progress=lambda done, total: on_progress("ingesting it", done, total))
        annotate(data.store, made.name, **{SIMULATED: data.simulate.model_dump()})
    return open_store(data.store)


def _refuse_another_tank(store: Store, wanted: TankSettings) -> None:
    """Refuse a store that was simulated with other settings; one that was not simulated is the user's choice."""
    for name in store.names:
        there = store.recording(name).attributes.get(SIMULATED)
        changed = [f"{key} {there[key]}, not {value}" for key, value in wanted if there and there[key] != value]
        if changed:
            raise StoreError(
                f"{store.path} holds a tank simulated with other settings ({'; '.join(changed)}); make another: "
                f"--set data.store={store.path.with_stem(store.path.stem + '-2')}"
            )


def _refuse_short_look_back(sweep: Sweep) -> None:
    needed = Algorithm().reads.look_back
    if sweep.data.look_back < needed:
        raise SettingError(
            f"data.look_back: {sweep.data.look_back} frames are fewer than the {needed} that the published algorithm "
            f"looks at, and every trial is judged against it; raise it: --set data.look_back={needed}"
        )


def _refuse_missing_frames(sweep: Sweep, recordings: tuple[Recording, ...]) -> None:
    reading = [name for name, family in sweep.families.items() if family.model == "convlstm"]
    for recording in recordings:
        if reading and recording.frame_size is None:
            raise RecordingError(
                f"{recording.name} holds speed alone, but {', '.join(reading)} reads frames; ingest its video, or "
                f"leave the family out"
            )
