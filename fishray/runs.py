"""The run directory: resolved sweep, journal, best weights, predictions. The journal is the truth of every view."""

import json
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from numpy.typing import NDArray
from ruamel.yaml import YAML
from safetensors import safe_open

import fishray
from fishray.config.loader import dump_sweep, nearest
from fishray.config.sweep import SPLITS, Sweep
from fishray.config.trial import TrialConfig
from fishray.errors import RunError

PACKAGES = ("torch", "torchvision", "ray", "zarr", "numpy", "scikit-learn")


class Journal:
    """Append-only events, one JSON object a line, each on disk before the next thing happens.

    A last line without its end (a crash in mid-write) is ignored; a damaged line elsewhere is an error.
    """

    def __init__(self, path: Path):
        self.path = path

    def append(self, event: str, **fields: Any) -> dict[str, Any]:
        """Write one event durably and return it as readers will see it."""
        record = {"time": round(time.time(), 3), "event": event, **fields}
        line = json.dumps(record, separators=(",", ":"), allow_nan=False, default=_plain_number)
        with self.path.open("ab") as file:
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        parsed: dict[str, Any] = json.loads(line)
        return parsed

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Every whole event, oldest first."""
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise RunError(f"{self.path} is damaged at line {number}: {line[:60]!r}") from error


@dataclass
class TrialState:
    """What the journal says of one trial."""

    config: TrialConfig
    status: str = "waiting"
    """waiting, running, finished, stopped (by the scheduler), failed."""
    reason: str = ""
    results: dict[int, dict[str, Any]] = field(default_factory=dict)
    """By epoch; an epoch that was run twice keeps its first result."""
    best_epoch: int | None = None
    collapsed: bool = False
    traceback: str = ""
    """Last words of a trial that failed, or could not be scored."""
    unscored: str = ""
    """Why a leader has no test score, if it failed there."""

    @property
    def epochs(self) -> int:
        """Epochs run."""
        return max(self.results, default=0)

    def best(self, metric: str) -> float | None:
        """Best value of a metric over the epochs run."""
        return max((result[metric] for result in self.results.values()), default=None)


@dataclass
class RunState:
    """The journal, folded: what live view, status and report show."""

    status: str = "starting"
    """starting, running, scoring, finished, interrupted, failed."""
    started_s: float = 0.0
    updated_s: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    trials: dict[str, TrialState] = field(default_factory=dict)
    rungs: dict[str, dict[int, int]] = field(default_factory=dict)
    """Trials that reached each rung, by family."""
    last: str = ""

    @classmethod
    def read(cls, journal: Journal) -> Self:
        """Fold a whole journal."""
        state = cls()
        for record in journal:
            state.apply(record)
        return state

    def ranked(self, metric: str) -> list[TrialState]:
        """Trials with at least one result, best validation value first, collapsed ones last; ties in order of id."""
        scored = [trial for trial in self.trials.values() if trial.results]
        return sorted(scored, key=lambda trial: (trial.collapsed, -(trial.best(metric) or 0.0), trial.config.id))

    def unfinished(self) -> list[TrialState]:
        """Trials that wait or run, or did when the journal ended."""
        return [trial for trial in self.trials.values() if trial.status in ("waiting", "running")]

    def apply(self, record: Mapping[str, Any]) -> None:
        """Fold one event; events of a later version are passed over."""
        self.updated_s = record["time"]
        self.started_s = self.started_s or record["time"]
        handler = getattr(self, f"_on_{record['event']}", None)
        if handler:
            handler(record)

    def _on_sweep(self, record: Mapping[str, Any]) -> None:
        self.facts = dict(record)

    def _on_baseline(self, record: Mapping[str, Any]) -> None:
        self.baselines[record["name"]] = dict(record["scores"])
        self.last = f"{record['name']} scored on validation"

    def _on_trial(self, record: Mapping[str, Any]) -> None:
        config = TrialConfig.model_validate_json(json.dumps(record["config"]))
        self.trials[config.id] = TrialState(config)

    def _on_attempt(self, record: Mapping[str, Any]) -> None:
        self.status = "running"
        self.trials[record["trial"]].status = "running"
        self.last = f"{record['trial']} started"

    def _on_result(self, record: Mapping[str, Any]) -> None:
        trial = self.trials[record["trial"]]
        trial.results.setdefault(record["epoch"], dict(record))
        trial.best_epoch = record["best_epoch"]
        trial.collapsed = trial.results[record["best_epoch"]]["collapsed"]

    def _on_decision(self, record: Mapping[str, Any]) -> None:
        family = self.rungs.setdefault(self.trials[record["trial"]].config.family, {})
        family[record["rung"]] = family.get(record["rung"], 0) + 1

    def _on_lost(self, record: Mapping[str, Any]) -> None:
        self.trials[record["trial"]].status = "waiting"
        self.last = f"{record['trial']} goes on from its last epoch: {record['reason']}"

    def _on_end(self, record: Mapping[str, Any]) -> None:
        trial = self.trials[record["trial"]]
        trial.status, trial.reason = record["status"], record["reason"]
        trial.traceback = record.get("traceback", "")
        failed = "failed: " if trial.status == "failed" else ""
        self.last = f"{record['trial']} {failed}{record['reason']}"

    def _on_scoring(self, record: Mapping[str, Any]) -> None:
        self.status = "scoring"
        self.last = f"scoring {record['what']}"

    def _on_unscored(self, record: Mapping[str, Any]) -> None:
        trial = self.trials[record["trial"]]
        trial.unscored, trial.traceback = record["reason"], record["traceback"]
        self.last = f"{record['trial']} could not be scored on test: {record['reason']}"

    def _on_finish(self, record: Mapping[str, Any]) -> None:
        self.status = record["status"]
        self.last = record.get("reason", "")
        for trial in self.unfinished():
            trial.status = "waiting"


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
    def create(cls, path: Path, sweep: Sweep, fingerprint: str) -> Self:
        """Make the directory of a new run.

        Raises
        ------
        RunError
            If there is one already.
        """
        cls.refuse_existing(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
        run = cls(path)
        provenance = {
            "fishray": fishray.__version__,
            "python": platform.python_version(),
            "packages": {name: version(name) for name in PACKAGES},
            "fingerprint": fingerprint,
        }
        dump_sweep(sweep, path / "sweep.yaml", provenance=provenance)
        return run

    @staticmethod
    def refuse_existing(path: Path) -> None:
        """Raise a RunError if a run, or anything else, is at a path."""
        if path.exists():
            raise RunError(
                f"a run is already at {path}; see it: fishray report {path}; start another: --set name={path.name}-2"
            )

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a run that exists.

        Raises
        ------
        RunError
            If there is none.
        """
        run = cls(path)
        if not run.journal.path.is_file():
            raise RunError(f"no run at {path}; make one: fishray tune sweeps/small.yaml")
        return run

    @property
    def journal(self) -> Journal:
        """The run's journal."""
        return Journal(self.path / "journal.jsonl")

    def state(self) -> RunState:
        """The journal, folded."""
        return RunState.read(self.journal)

    def resolved(self) -> tuple[Sweep, dict[str, Any]]:
        """The resolved sweep and its provenance."""
        data = YAML(typ="safe", pure=True).load((self.path / "sweep.yaml").read_text())
        provenance = data.pop("provenance")
        return Sweep.model_validate_json(json.dumps(data)), provenance

    def trial_path(self, trial_id: str) -> Path:
        """The directory of one trial."""
        return self.path / "trials" / trial_id

    def best_path(self, trial_id: str) -> Path:
        """The file with weights and settings of a trial's best validation epoch."""
        return self.trial_path(trial_id) / "best"

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
        """What a trial's best epoch gave for every valid validation frame; shape (N,)."""
        with safe_open(self.best_path(trial_id), "np") as file:
            array: NDArray[np.float32] = file.get_tensor("array.validation_probability")
        return array

    def write_predictions(self, splits: Mapping[str, Predictions]) -> None:
        """Write the predictions of every split, whole or not at all."""
        final, part = self.path / "predictions.zarr", self.path / "predictions.zarr.part"
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
        shutil.rmtree(final, ignore_errors=True)
        part.rename(final)

    def read_predictions(self) -> dict[str, Predictions]:
        """Predictions by split; empty while none are written."""
        path = self.path / "predictions.zarr"
        if not path.exists():
            return {}
        root = zarr.open_group(path, mode="r")
        return {split: _read_predictions(root[split]) for split in SPLITS if split in root}


def _read_predictions(group: Any) -> Predictions:
    matrix = group["probability"][:]
    return Predictions(
        label=group["label"][:],
        recording=tuple(group.attrs["recordings"]),
        recording_index=group["recording_index"][:],
        frame=group["frame"][:],
        probability=dict(zip(group.attrs["predictors"], matrix, strict=True)),
    )


def _plain_number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written to a journal")
