"""The run directory: resolved sweep, journal, attempts, best weights, predictions."""

import json
import platform
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from numpy.typing import NDArray
from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

import fishray
from fishray.config.data import SPLITS
from fishray.config.loader import dump_sweep, nearest
from fishray.config.sweep import Sweep
from fishray.errors import RunError, WeightsError
from fishray.files import previous, storage_errors, sync, written_aside
from fishray.runs.journal import Journal
from fishray.runs.lease import LEASE, Holder, is_alive, last_holder
from fishray.runs.state import RunState, TrialState
from fishray.weights import best_of, read_weights, write_weights

SWEEP, PREDICTIONS = "sweep.yaml", "predictions.zarr"
UMASKS = {"owner": 0o077, "group": 0o027}
"""Permissions that a run's files lack, by who may read them."""
CLUSTER = "cluster"
"""What belongs to a run's workers on a cluster."""
PACKAGES = ("torch", "torchvision", "ray", "zarr", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Predictions:
    """Probabilities of every ranked predictor on the valid frames of one split."""

    label: NDArray[np.int8]
    """Shape (N,): 0 or 1."""
    recording: tuple[str, ...]
    recording_index: NDArray[np.int32]
    """Shape (N,): index into `recording`."""
    frame: NDArray[np.int64]
    """Shape (N,): frame number within the recording."""
    probability: dict[str, NDArray[np.float32]]
    """Shape (N,) for each predictor."""


@dataclass(frozen=True)
class Run:
    """One sweep's results in a directory."""

    path: Path

    @classmethod
    def claim(cls, path: Path) -> Self:
        """Make a run's directory, or take the one that is there.

        Raises
        ------
        RunError
            If something else is there.
        """
        if path.exists() and not cls.is_at(path) and not _is_unused(path):
            raise RunError(f"{path} is there and is no run; choose another name: --set name=NAME")
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=0o700, exist_ok=True)
        return cls(path)

    @staticmethod
    def is_at(path: Path) -> bool:
        """Whether a run is at a path, be it one whose first process died before its first event."""
        return path.is_dir() and ((path / SWEEP).exists() or last_holder(path) is not None)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a run that exists.

        Raises
        ------
        RunError
            If there is none.
        """
        run = cls(path)
        if not (path / SWEEP).is_file():
            raise RunError(f"no run at {path}; make one: fishray tune sweeps/small.yaml")
        return run

    def write_sweep(self, sweep: Sweep, provenance: Mapping[str, Any]) -> None:
        """Write the resolved sweep, and what it was begun with."""
        with written_aside(self.path / SWEEP) as part:
            dump_sweep(sweep, part, provenance=dict(provenance))

    def holder(self) -> Holder | None:
        """The process that runs this run now; None if there is none."""
        last = last_holder(self.path)
        return last if last and is_alive(self.path, last) else None

    @property
    def journal(self) -> Journal:
        """The run's journal."""
        return Journal(self.path / "journal.jsonl")

    def state(self) -> RunState:
        """The journal, folded; empty while nothing is in it.

        Raises
        ------
        RunError
            If it is damaged, or has settings that this version does not know.
        """
        try:
            return RunState.read(self.journal)
        except ValidationError as error:
            raise _of_another_version(self.journal.path, error) from error

    def standing(self) -> RunState:
        """The journal, folded, and whether the run still runs."""
        holder = self.holder()  # first: who ends in between has written down that it ended
        state = self.state()
        if holder is None:
            state.mark_dead()
        return state

    def resolved(self) -> tuple[Sweep, dict[str, Any]]:
        """The resolved sweep and its provenance.

        Raises
        ------
        RunError
            If its file is missing or damaged, or has settings that this version does not know.
        """
        path = self.path / SWEEP
        try:
            data = YAML(typ="safe", pure=True).load(path.read_text())
            provenance = data.pop("provenance")
            return Sweep.model_validate_json(json.dumps(data)), provenance
        except ValidationError as error:
            raise _of_another_version(path, error) from error
        except (OSError, YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise RunError(f"{path} is missing or damaged ({type(error).__name__})") from error

    def trial_path(self, trial_id: str) -> Path:
        """The directory of one trial."""
        return self.path / "trials" / trial_id

    def best_path(self, trial_id: str) -> Path:
        """The file with weights and settings of a trial's best validation epoch."""
        return self.trial_path(trial_id) / "best"

    def weights_path(self, trial: TrialState) -> Path:
        """The file that holds a trial's best weights: its own if it has ended, else its checkpoint."""
        kept, checkpoint = self.best_path(trial.config.id), self.checkpoint_path(trial.config.id, trial.attempt)
        places = (kept, checkpoint) if trial.ended else (checkpoint, previous(checkpoint), kept)
        return next((path for path in places if path.exists()), checkpoint)

    def checkpoint_path(self, trial_id: str, attempt: int) -> Path:
        """The checkpoint of an attempt."""
        return self.trial_path(trial_id) / f"attempt-{attempt}" / "checkpoint"

    def prepare_attempt(self, trial_id: str, attempt: int, source: tuple[str, int] | None) -> Path:
        """Make an attempt's directory, and put the checkpoints there that it goes on from.

        It gets names of its own for the files of another attempt: whatever that one still does cannot change them.

        Parameters
        ----------
        source
            The trial and the attempt that it goes on from; None at a trial's beginning.

        Returns
        -------
        The path of its checkpoint, which is not there at the beginning.
        """
        checkpoint = self.checkpoint_path(trial_id, attempt)
        with storage_errors(checkpoint):
            shutil.rmtree(checkpoint.parent, ignore_errors=True)
            checkpoint.parent.mkdir(parents=True)
            if source:
                earlier = self.checkpoint_path(*source)
                _link(previous(earlier), previous(checkpoint))
                _link(earlier, checkpoint)
        return checkpoint

    def remove_attempts(self, trial_id: str, keep: int | None = None) -> None:
        """Remove the directories of a trial's attempts, but for one."""
        for path in self.trial_path(trial_id).glob("attempt-*"):
            if path.name != f"attempt-{keep}":
                shutil.rmtree(path, ignore_errors=True)

    def keep_best(self, trial_id: str, attempt: int) -> str:
        """Take a trial's best weights out of an attempt's checkpoint, to stay when the checkpoint goes.

        Returns
        -------
        What is wrong with the checkpoint, where the one before it had to stand in; empty if nothing is.

        Raises
        ------
        WeightsError
            If neither can be read.
        """
        checkpoint, fault = self.checkpoint_path(trial_id, attempt), ""
        try:
            found = read_weights(checkpoint)
        except WeightsError as error:
            if not previous(checkpoint).exists():
                raise
            found, fault = read_weights(previous(checkpoint)), str(error)
        arrays, metadata = best_of(*found)
        if arrays:
            write_weights(self.best_path(trial_id), arrays, metadata)
        return fault

    def trial(self, trial_id: str) -> TrialState:
        """Find what the journal says of one trial.

        Raises
        ------
        RunError
            If the run has no such trial.
        """
        trials = self.state().trials
        if trial_id not in trials:
            close = nearest(trial_id, list(trials))
            hint = f"; did you mean {close}?" if close else f"; see: fishray report {self.path} --all"
            raise RunError(f"{self.path} has no trial {trial_id}{hint}")
        return trials[trial_id]

    def best_trial(self) -> str:
        """Id of the best trial by validation.

        Raises
        ------
        RunError
            If no trial has a result yet.
        """
        ranked = self.state().ranked(self.resolved()[0].search.metric)
        if not ranked:
            raise RunError(f"no trial of {self.path} has a result yet; see: fishray status {self.path}")
        return ranked[0].config.id

    def validation_probability(self, trial_id: str) -> NDArray[np.float32]:
        """What a trial's best epoch gave for every valid validation frame; shape (N,).

        Raises
        ------
        WeightsError
            If its best weights are missing or damaged.
        """
        arrays, _ = read_weights(self.best_path(trial_id))
        return arrays["array.validation_probability"]

    def write_predictions(self, splits: Mapping[str, Predictions]) -> None:
        """Write the predictions of every split, whole or not at all."""
        final = self.path / PREDICTIONS
        part = final.with_name(f"{PREDICTIONS}.part")
        with storage_errors(final):
            self._write_predictions(part, splits)
            for path in (*part.rglob("*"), part):
                sync(path)
            if final.exists():
                shutil.rmtree(previous(final), ignore_errors=True)
                final.rename(previous(final))
            part.rename(final)
            sync(self.path)
            shutil.rmtree(previous(final), ignore_errors=True)

    @staticmethod
    def _write_predictions(part: Path, splits: Mapping[str, Predictions]) -> None:
        shutil.rmtree(part, ignore_errors=True)
        root = zarr.create_group(part, attributes={"format": "fishray-predictions/1"})
        for split, predictions in splits.items():
            attributes = {"recordings": list(predictions.recording), "predictors": list(predictions.probability)}
            group = root.create_group(split, attributes=attributes)
            for name in ("label", "recording_index", "frame"):
                group.create_array(name, data=getattr(predictions, name))
            matrix = np.stack(list(predictions.probability.values()))
            rows = max(1, min(len(matrix), 2**24 // max(1, matrix.shape[1])))
            group.create_array("probability", data=matrix, chunks=(rows, matrix.shape[1]))

    def read_predictions(self) -> dict[str, Predictions]:
        """Predictions by split; empty while none are written."""
        final = self.path / PREDICTIONS
        path = next((path for path in (final, previous(final)) if path.exists()), None)
        if path is None:
            return {}
        root = zarr.open_group(path, mode="r")
        return {split: _read_predictions(root[split]) for split in SPLITS if split in root}


def _is_unused(path: Path) -> bool:
    """Whether nothing is in a folder but what a process left before it had a lease."""
    return path.is_dir() and all(each.name == CLUSTER or each.name.startswith(LEASE) for each in path.iterdir())


def provenance(fingerprint: str) -> dict[str, Any]:
    """With what a run is made."""
    return {
        "fishray": fishray.__version__,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "fingerprint": fingerprint,
    }


def _of_another_version(path: Path, error: ValidationError) -> RunError:
    """What a person hears of a file whose settings are not ours."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return RunError(
        f"{path} has settings that fishray {fishray.__version__} does not take ({place}: {first['msg']}); "
        "it was written by another version: read it with that one"
    )


def _link(source: Path, target: Path) -> None:
    """Give a file another name, or copy it where the storage knows no second name; nothing where there is no file."""
    with suppress(FileNotFoundError):
        try:
            target.hardlink_to(source)
        except FileNotFoundError:
            raise
        except OSError:
            with written_aside(target) as part:
                shutil.copyfile(source, part)


def _read_predictions(group: Any) -> Predictions:
    matrix = group["probability"][:]
    return Predictions(
        label=group["label"][:],
        recording=tuple(group.attrs["recordings"]),
        recording_index=group["recording_index"][:],
        frame=group["frame"][:],
        probability=dict(zip(group.attrs["predictors"], matrix, strict=True)),
    )
