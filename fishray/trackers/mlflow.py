"""MLflow: a run for the sweep, and one below it for each trial."""

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fishray.config.sweep import Sweep
from fishray.config.trackers import MlflowSettings
from fishray.config.trial import TrialConfig
from fishray.trackers.base import Tracker, sweep_facts, trial_parameters

KEY = "fishray.key"
"""Tag by which a run is found again after a resume."""
STATUS = {"finished": "FINISHED", "stopped": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class MlflowTracker(Tracker):
    """Writes through MLflow's client alone; its active run, and with it whatever else uses MLflow, is left alone.

    Without a uri the store is a SQLite database below the run: MLflow keeps its older store of files for those who
    have one, and no longer develops it.
    """

    def __init__(self, run_path: Path, sweep: Sweep):
        super().__init__(run_path, sweep)
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
        import mlflow
        from mlflow.entities import Metric, Param, RunTag

        for name in ("mlflow", "alembic", "urllib3"):  # a live view is on the terminal
            logging.getLogger(name).setLevel(logging.ERROR)
        self._mlflow, self._metric, self._param, self._tag = mlflow, Metric, Param, RunTag
        self._settings = sweep.trackers.mlflow or MlflowSettings()
        self._runs: dict[str, str] = {}
        """MLflow's run of each trial that runs, and of the sweep under an empty name."""
        self._written: dict[str, set[tuple[str, int]]] = {}
        """What a run that was found held already: metrics and steps."""
        self._epoch: dict[str, int] = {}

    def start(self, facts: Mapping[str, Any], begun_s: float) -> None:
        """Open the store and the sweep's run."""
        self._begun_s = begun_s
        folder = self.run_path / "mlflow"
        artifacts = None
        if self._settings.uri is None:
            folder.mkdir(exist_ok=True)
            artifacts = (folder / "artifacts").as_uri()
        self._client = self._mlflow.MlflowClient(self._settings.uri or f"sqlite:///{folder / 'mlflow.db'}")
        experiment = self._client.get_experiment_by_name(self._settings.experiment)
        self._experiment = (
            experiment.experiment_id
            if experiment
            else self._client.create_experiment(self._settings.experiment, artifact_location=artifacts)
        )
        self._open("", self.sweep.name, sweep_facts(facts), {"fishray.run": str(self.run_path)})

    def baseline(self, name: str, scores: Mapping[str, float]) -> None:
        """Write the scores as metrics of the sweep's run."""
        self._write("", 0, {f"{name}/{score}": value for score, value in scores.items()}, time.time())

    def trial(self, config: TrialConfig) -> None:
        """Open the trial's run below the sweep's."""
        tags = {"mlflow.parentRunId": self._runs[""], "fishray.family": config.family}
        self._open(config.id, config.id, trial_parameters(config), tags)

    def result(self, trial: str, epoch: int, values: Mapping[str, float], time_s: float) -> None:
        """Write one step of each metric, but for those that are there."""
        self._epoch[trial] = epoch
        self._write(trial, epoch, values, time_s)

    def end(self, trial: str, status: str, reason: str, best: float | None) -> None:
        """Write status and best value, and close the run."""
        if best is not None:
            self._write(trial, self._epoch[trial], {f"best_{self.sweep.search.metric}": best}, time.time())
        self._close(trial, status, reason)

    def finish(self, status: str) -> None:
        """Close what is open: trials that did not end, then the sweep."""
        for name in reversed(list(self._runs)):
            self._close(name, status if name == "" else "interrupted")

    def _open(self, name: str, title: str, parameters: Mapping[str, Any], tags: dict[str, str]) -> None:
        """Find the run that an earlier process made, or make it; add the parameters that it lacks."""
        key = self.key(self._begun_s, name)
        found = self._client.search_runs([self._experiment], f"tags.`{KEY}` = '{key}'", max_results=1)
        if found:
            run = found[0]
            self._client.update_run(run.info.run_id, status="RUNNING")
        else:
            run = self._client.create_run(self._experiment, tags={KEY: key, **tags}, run_name=title)
        self._runs[name] = run.info.run_id
        self._written[name] = {
            (metric, point.step)
            for metric in run.data.metrics
            for point in self._client.get_metric_history(run.info.run_id, metric)
        }
        lacking = [self._param(key, str(value)) for key, value in parameters.items() if key not in run.data.params]
        for first in range(0, len(lacking), 100):  # MLflow takes no more at once
            self._client.log_batch(run.info.run_id, params=lacking[first : first + 100])

    def _write(self, name: str, step: int, values: Mapping[str, float], time_s: float) -> None:
        metrics = [
            self._metric(metric, value, round(time_s * 1000), step)
            for metric, value in values.items()
            if (metric, step) not in self._written[name]
        ]
        if metrics:
            self._client.log_batch(self._runs[name], metrics=metrics)

    def _close(self, name: str, status: str, reason: str = "") -> None:
        run = self._runs.pop(name)
        del self._written[name]
        tags = [self._tag("fishray.status", status), self._tag("fishray.reason", reason)]
        self._client.log_batch(run, tags=tags)
        self._client.set_terminated(run, STATUS[status])
