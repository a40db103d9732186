"""W&B: a run for each trial, in a group with the name of the sweep."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fishray.config.sweep import Sweep
from fishray.config.trackers import WandbSettings
from fishray.config.trial import TrialConfig
from fishray.trackers.base import Tracker, flat, sweep_facts, trial_parameters


class WandbTracker(Tracker):
    """As many runs at once as there are trials that run, under ids that a resume gives again.

    Offline, a run cannot be gone on with: each process writes a file of its own, and W&B would be sent both. So the
    file of a trial that is told again is written again, in place of the earlier one. Online, W&B says how many steps
    it has, and only later ones are sent.
    """

    def __init__(self, run_path: Path, sweep: Sweep):
        super().__init__(run_path, sweep)
        os.environ.setdefault("WANDB_SILENT", "true")
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self._settings = sweep.trackers.wandb or WandbSettings()
        if self._settings.mode == "online" and wandb.api.api_key is None:
            raise PermissionError("no API key; type: wandb login")  # else it would ask on the terminal
        self._wandb = wandb
        self._shared: dict[str, Any] = {"sweep": {}, "baseline": {}}
        self._runs: dict[str, Any] = {}

    def start(self, facts: Mapping[str, Any], begun_s: float) -> None:
        """Keep the facts for every run's config: the sweep has no run of its own."""
        self._begun_s = begun_s
        self._shared["sweep"] = sweep_facts(facts)

    def baseline(self, name: str, scores: Mapping[str, float]) -> None:
        """Keep the scores for every run's config."""
        self._shared["baseline"][name] = dict(scores)

    def trial(self, config: TrialConfig) -> None:
        """Open the trial's run."""
        key = self.key(self._begun_s, config.id)
        offline = self._settings.mode == "offline"
        if offline:
            for earlier in (self.run_path / "wandb").glob(f"offline-run-*-{key}"):
                shutil.rmtree(earlier)
        self._runs[config.id] = self._wandb.init(
            project=self._settings.project,
            entity=self._settings.entity,
            mode=self._settings.mode,
            id=key,
            resume=None if offline else "allow",
            reinit="create_new",
            dir=self.run_path,
            group=self.sweep.name,
            name=config.id,
            job_type=config.family,
            config=trial_parameters(config) | flat(self._shared),
            allow_val_change=True,
            settings=self._silent(),
        )

    def result(self, trial: str, epoch: int, values: Mapping[str, float], time_s: float) -> None:
        """Write one step, but for one that W&B has."""
        run = self._runs[trial]
        if epoch >= run.starting_step:
            run.log(dict(values), step=epoch, commit=True)

    def end(self, trial: str, status: str, reason: str, best: float | None) -> None:
        """Write status and best value, and close the run."""
        run = self._runs.pop(trial)
        run.summary.update({"status": status, "reason": reason, f"best_{self.sweep.search.metric}": best})
        run.finish(exit_code=int(status == "failed"))

    def finish(self, status: str) -> None:
        """Close the runs of trials that did not end, and stop W&B's own process."""
        for trial in list(self._runs):
            self.end(trial, "interrupted", "", None)
        self._wandb.teardown()

    def abandon(self) -> None:
        """Take back W&B's exit hook, which would wait for its own process for ever; that one ends when ours is gone.

        W&B offers no public way to it.
        """
        connection = getattr(self._wandb.setup(), "_connection", None)
        take_back = getattr(connection, "_cleanup", None)
        if take_back:
            take_back()

    def _silent(self) -> Any:
        return self._wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, save_code=False,
            disable_job_creation=True, x_disable_stats=True, x_disable_meta=True, x_disable_machine_info=True,
            x_save_requirements=False,
        )  # fmt: skip
