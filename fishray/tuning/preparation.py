"""What happens before a sweep starts: its store, and every check that needs data or machine."""

import json
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from fishray.config.sweep import Sweep
from fishray.config.tank import TankSettings
from fishray.errors import RecordingError, SettingError, StoreError
from fishray.ingest.writing import ingest
from fishray.predictors.baselines import Algorithm
from fishray.runs.lease import Holder
from fishray.sequences import Sequences
from fishray.sequences.recordings import find_recordings, taken_from
from fishray.sequences.splits import RATES_ALIKE, load_sequences
from fishray.simulate import simulate
from fishray.store import Recording, Store, annotate, fingerprint, open_store
from fishray.trackers import check_trackers
from fishray.tuning.node import Node, check_resources, this_node
from fishray.tuning.searchers import check_searcher, check_warm_start

SIMULATED = "simulated"
"""Attribute of a recording that holds the settings of its tank."""

MAKING, MAKER = ".tank-", "maker"
"""Folders in which tanks are made, and the file in them that says by whom."""

OnProgress = Callable[[str, int, int | None], None]
"""Told what is being made, how many frames are done and how many there are."""


@dataclass(frozen=True)
class Prepared:
    """A sweep that can start: its data is there, and what it is to run on can hold its trials."""

    sweep: Sweep
    node: Node
    """This machine, or any worker of a cluster."""
    recordings: tuple[Recording, ...]
    fingerprint: str
    sequences: Sequences
    """Speed alone."""
    notes: tuple[str, ...] = ()
    """What a person should know of its data, in words."""


def prepare(sweep: Sweep, on_progress: OnProgress, drawn: Collection[str] = (), node: Node | None = None) -> Prepared:
    """Make the store if the sweep says how, and refuse what could not run.

    Parameters
    ----------
    drawn
        Families of which its run has trials already: they need no earlier run to start from.
    node
        What every worker has; this machine when left out.

    Raises
    ------
    RecordingError, LabelError, ResourceError, SettingError, StoreError
        Saying what is wrong and what to do.
    """
    node = node or this_node()
    check_resources(sweep, node)
    check_trackers(sweep)
    check_searcher(sweep)
    if not sweep.families.keys() <= set(drawn):
        check_warm_start(sweep)
    _refuse_short_look_back(sweep)
    prepare_store(sweep, on_progress)
    found = find_recordings(sweep.data)
    sequences = load_sequences(found, sweep.data, sweep.labels)
    recordings = taken_from(found, sequences)
    _refuse_missing_frames(sweep, recordings)
    _refuse_estimates_beyond_train(recordings, sequences)
    notes = (*_on_rates(recordings), *_on_thresholds(sweep, sequences), *_on_estimates(recordings, sequences))
    return Prepared(sweep, node, recordings, fingerprint(recordings), sequences, notes)


def prepare_store(sweep: Sweep, on_progress: OnProgress) -> None:
    """Make the sweep's store from a simulated tank if it is missing and the sweep says so."""
    data = sweep.data
    if data.simulate and data.store.exists():
        _refuse_another_tank(open_store(data.store), data.simulate)
    elif data.simulate:
        _make_tank(data.store, data.simulate, on_progress)


def _make_tank(path: Path, settings: TankSettings, on_progress: OnProgress) -> None:
    """Simulate a tank and ingest it, whole or not at all; nobody sees the store before it is done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_unfinished_tanks(path.parent)
    with tempfile.TemporaryDirectory(prefix=MAKING, dir=path.parent) as folder:
        Path(folder, MAKER).write_text(json.dumps(asdict(Holder.this_process(0))))
        video, store = Path(folder) / f"{path.stem}.mp4", Path(folder) / path.name
        simulate(video, settings, lambda done, total: on_progress("simulating a tank", done, total))
        made = ingest(video, store, progress=lambda done, total: on_progress("ingesting it", done, total))
        annotate(store, made.name, **{SIMULATED: settings.model_dump()})
        try:
            store.rename(path)
        except OSError:
            if not path.exists():  # else another sweep was faster, and its tank is the same
                raise


def _remove_unfinished_tanks(folder: Path) -> None:
    """Remove what processes of this machine that died left behind."""
    for path in folder.glob(f"{MAKING}*"):
        with suppress(OSError, ValueError, TypeError):
            if Holder(**json.loads((path / MAKER).read_text())).has_died:
                shutil.rmtree(path)


def _refuse_another_tank(store: Store, wanted: TankSettings) -> None:
    """Refuse a store that was simulated with other settings; one that was not simulated is the user's choice."""
    for name in store.names:
        there = store.recording(name).attributes.get(SIMULATED)
        changed = [f"{key} {there.get(key)}, not {value}" for key, value in wanted if there and there.get(key) != value]
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


def _estimated(recording: Recording) -> int:
    """From how many of its first frames ingest estimated a background, a contrast, a grid of spikes; 0: nothing."""
    return int(recording.attributes.get("estimates", {}).get("frames", 0))


def _refuse_estimates_beyond_train(recordings: tuple[Recording, ...], sequences: Sequences) -> None:
    """Refuse a split by time whose validation or test begins within what a recording's estimates were taken from."""
    known = {recording.name: recording for recording in recordings}
    for split in ("validation", "test"):
        for sequence in sequences.split(split):
            recording = known[sequence.recording]
            share = 100 * sequence.start // recording.frame_count / 100
            if 0 < sequence.start < _estimated(recording):
                raise RecordingError(
                    f"{recording.name}: its {split} split begins at frame {sequence.start}, and its background, "
                    f"contrast, flicker or spikes were estimated from its first {_estimated(recording)} frames; ingest "
                    f"it again with --estimate-from {share:g}, or give train a larger share"
                )


def _on_estimates(recordings: tuple[Recording, ...], sequences: Sequences) -> Iterator[str]:
    held_out = {sequence.recording for sequence in (*sequences.validation, *sequences.test) if not sequence.start}
    names = [recording.name for recording in recordings if recording.name in held_out and _estimated(recording)]
    if names:
        yield (
            f"{', '.join(names)}: held out whole, and ingested by a background, contrast, flicker or spikes "
            "estimated from its own beginning: a statistic of frames that are held out, though of none of their labels"
        )


def _on_rates(recordings: Collection[Recording]) -> Iterator[str]:
    rates = sorted({recording.fps for recording in recordings})
    if rates[-1] > RATES_ALIKE * rates[0]:
        yield (
            f"recordings of {' and '.join(f'{rate:g}' for rate in rates)} fps: look_back, steps and speeds count "
            f"frames, which are not the same time in each; better ingest all at one rate"
        )


def _on_thresholds(sweep: Sweep, sequences: Sequences) -> Iterator[str]:
    thresholds = [fold.range_threshold for fold in sequences.parts if fold.range_threshold is not None]
    if thresholds and sweep.labels.range_threshold == "auto":
        yield (
            f"range_threshold auto: each fold has its own, from its own train ({min(thresholds):.3g} to "
            f"{max(thresholds):.3g}), so that labels differ a little from fold to fold"
        )
