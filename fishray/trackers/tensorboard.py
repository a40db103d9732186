"""TensorBoard: event files below the run, a directory for each trial and each baseline."""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fishray.config.sweep import Sweep
from fishray.config.trial import TrialConfig
from fishray.trackers.base import Tracker, sweep_facts, trial_parameters


class TensorboardTracker(Tracker):
    """Scalars by epoch, settings for the HParams page, baselines as level lines.

    The files follow from the journal alone, so a trial that is told again is written again. They are written without
    tensorboardX's SummaryWriter, which would hand every event to two more threads.
    """

    def __init__(self, run_path: Path, sweep: Sweep):
        super().__init__(run_path, sweep)
        from tensorboardX import summary
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event

        self._summary, self._events_writer, self._event = summary, EventsWriter, Event
        self._writers: dict[str, Any] = {}
        self._ends: dict[str, Any] = {}

    def start(self, facts: Mapping[str, Any], begun_s: float) -> None:
        """Write the facts as a text."""
        lines = [f"    {name}: {value}" for name, value in sweep_facts(facts).items()]
        self._open("sweep")
        self._write("sweep", self._summary.text("facts", "\n".join(lines)), 0, begun_s)
        self._close("sweep")

    def baseline(self, name: str, scores: Mapping[str, float]) -> None:
        """Draw a level line from the first epoch to the last."""
        self._open(name)
        for epoch in sorted({1, self.sweep.search.max_epochs}):
            for score, value in scores.items():
                self._write(name, self._summary.scalar(score, value), epoch, time.time())
        self._close(name)

    def trial(self, config: TrialConfig) -> None:
        """Write its settings."""
        self._open(config.id)
        metrics = {self.sweep.search.metric: 0.0, "loss": 0.0}  # names; the values are the scalars'
        experiment, start, self._ends[config.id] = self._summary.hparams(trial_parameters(config), metrics)
        for each in (experiment, start):
            self._write(config.id, each, 0, time.time())

    def result(self, trial: str, epoch: int, values: Mapping[str, float], time_s: float) -> None:
        """Write one point of each curve."""
        for name, value in values.items():
            self._write(trial, self._summary.scalar(name, value), epoch, time_s)
        self._writers[trial].flush()

    def end(self, trial: str, status: str, reason: str, best: float | None) -> None:
        """Write status and best value as a text and a single point."""
        self._write(trial, self._summary.text("status", f"{status}: {reason}" if reason else status), 0, time.time())
        if best is not None:
            self._write(trial, self._summary.scalar(f"best_{self.sweep.search.metric}", best), 0, time.time())
        if status != "failed":  # tensorboardX knows of success only; without an end, HParams says unknown
            self._write(trial, self._ends[trial], 0, time.time())
        self._close(trial)

    def finish(self, status: str) -> None:
        """Close what is open."""
        for name in list(self._writers):
            self._close(name)

    def _open(self, name: str) -> None:
        folder = self.run_path / "tensorboard" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._writers[name] = self._events_writer(str(folder / "events"))

    def _write(self, name: str, summary: Any, step: int, time_s: float) -> None:
        self._writers[name].write_event(self._event(wall_time=time_s, step=step, summary=summary))

    def _close(self, name: str) -> None:
        self._writers.pop(name).close()
