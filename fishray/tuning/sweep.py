"""Run a whole sweep: check, plan, train in parallel with Ray Tune, score on test."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune

from fishray.config.sweep import Sweep
from fishray.config.trial import TrialConfig
from fishray.evaluation.metrics import scores
from fishray.evaluation.scoring import predict_split
from fishray.predictors.baselines import BASELINES, Baseline
from fishray.runs import Run
from fishray.scratch import remove_stale_scratch
from fishray.sequences import Sequences, valid_labels
from fishray.sequences.cache import FrameCache
from fishray.tuning.local_ray import ray_on_this_node
from fishray.tuning.node import Node, trials_at_once
from fishray.tuning.preparation import Prepared
from fishray.tuning.recorder import OnEvent, Recorder
from fishray.tuning.scheduler import FamilyScheduler
from fishray.tuning.scoring import score_on_test
from fishray.tuning.searcher import PlannedTrials
from fishray.tuning.space import planned_trials
from fishray.tuning.trainable import TrialTrainable, cache_key, trial_arguments

MAX_PROCESS_DEATHS = 3


def run_sweep(prepared: Prepared, run_path: Path, on_event: OnEvent) -> Run:
    """Run a prepared sweep to its predictions.

    Parameters
    ----------
    run_path
        The run's directory, which must not exist.
    on_event
        Told every event of the journal once it is on disk.

    Returns
    -------
    The run; its journal says whether it finished or was interrupted.
    """
    sweep, node, sequences = prepared.sweep, prepared.node, prepared.sequences
    run = Run.create(run_path, sweep, prepared.fingerprint)
    remove_stale_scratch()

    record = Recorder(run.journal, on_event)
    with _early_end_recorded(record):
        record("sweep", **_facts(prepared))
        baselines = {name: fit(sequences.train) for name, fit in BASELINES.items()}
        _score_baselines(baselines, sequences, record)
        plan = planned_trials(sweep)
        for config in plan:
            record("trial", config=config.model_dump(mode="json"))
        with FrameCache(cache_key(run)), ray_on_this_node(node):  # Ray's workers leave the cache before we do
            _train_and_score(prepared, run, plan, baselines, record)
    return run


@contextmanager
def _early_end_recorded(record: Recorder) -> Iterator[None]:
    """Write down that a sweep ended before its end, so that no view takes it for one that goes on."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # SIGTERM is a SystemExit once Ray runs
        record("finish", status="interrupted", reason="stopped by the user")
        raise
    except BaseException as error:
        record("finish", status="failed", reason=f"{type(error).__name__}: {error}")
        raise


def _train_and_score(
    prepared: Prepared, run: Run, plan: list[TrialConfig], baselines: dict[str, Baseline], record: Recorder
) -> None:
    sweep = prepared.sweep
    _train(sweep, run, plan, prepared.node, record)
    state = run.state()
    if state.unfinished():
        record("finish", status="interrupted", reason="stopped by the user")
    elif not state.ranked(sweep.search.metric):
        record("finish", status="failed", reason="every trial failed")
    else:
        score_on_test(prepared, run, state, baselines, record)
        record("finish", status="finished", reason="")


def _facts(prepared: Prepared) -> dict[str, Any]:
    """What views say about data and machine."""
    sweep, sequences, node, recordings = prepared.sweep, prepared.sequences, prepared.node, prepared.recordings
    labels = {split: valid_labels(sequences.split(split)) for split in sweep.data.split.parts}
    return {
        "name": sweep.name,
        "seed": sweep.seed,
        "store": sweep.data.store.name,
        "fingerprint": prepared.fingerprint,
        "recordings": [{"name": r.name, "fps": r.fps, "frames": r.frame_count} for r in recordings],
        "duration_s": sum(r.frame_count / r.fps for r in recordings),
        "positives": float(np.concatenate(list(labels.values())).mean()),
        "valid_frames": {split: len(label) for split, label in labels.items()},
        "cpus": node.cpus,
        "usable_cpus": max(
            trials_at_once(each.resources, node) * each.resources.cpus for each in sweep.families.values()
        ),
        "gpus": len(node.gpu_names),
        "gpu_name": node.gpu_names[0] if node.gpu_names else "",
    }


def _score_baselines(baselines: dict[str, Baseline], sequences: Sequences, record: Recorder) -> None:
    label = valid_labels(sequences.validation)
    for name, baseline in baselines.items():
        record("baseline", name=name, scores=scores(label, predict_split(baseline, sequences.validation)))


class ProcessWatch(tune.Callback):  # type: ignore[misc]
    """Writes down when a trial starts on a worker, when its process dies, and whether it is tried again."""

    def __init__(self, record: Recorder):
        self._record = record
        self._attempts: dict[str, int] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Count an attempt."""
        name = trial.config["trial"]["id"]
        self._attempts[name] = self._attempts.get(name, 0) + 1
        self._record("attempt", trial=name, attempt=self._attempts[name])

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say that it is tried again."""
        words = _last_words(trial)
        reason = f"its process died: {words.splitlines()[-1]}"
        self._record("lost", trial=trial.config["trial"]["id"], reason=reason, traceback=words)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say that it is given up."""
        words = _last_words(trial)
        reason = f"its process died: {words.splitlines()[-1]}"
        self._record("end", trial=trial.config["trial"]["id"], status="failed", reason=reason, traceback=words)


class CheckpointSweeper(tune.Callback):  # type: ignore[misc]
    """Removes the checkpoints of trials that will not go on; their best weights stay."""

    def __init__(self, run: Run):
        self._run = run

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Clear up behind a trial that ended."""
        for attempt in self._run.trial_path(trial.config["trial"]["id"]).glob("attempt-*"):
            shutil.rmtree(attempt, ignore_errors=True)

    on_trial_error = on_trial_complete


def _last_words(trial: Any) -> str:
    path = trial.error_file
    text = Path(path).read_text().strip() if path and Path(path).exists() else ""
    return text or "it left no word"


def _train(sweep: Sweep, run: Run, plan: list[TrialConfig], node: Node, record: Recorder) -> None:
    """Run the planned trials to the end, or until the user stops them."""
    configs = [trial_arguments(sweep, run, config, node) for config in plan]
    tuner = tune.Tuner(
        tune.with_resources(TrialTrainable, lambda config: {"cpu": config["cpus"], "gpu": config["gpus"]}),
        tune_config=tune.TuneConfig(
            search_alg=PlannedTrials(configs),
            scheduler=FamilyScheduler(sweep.search, list(sweep.families), record),
            num_samples=len(configs),
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.config["trial"]["id"]),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(run.path.resolve()),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=MAX_PROCESS_DEATHS),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # the trainable keeps its own
            callbacks=[ProcessWatch(record), CheckpointSweeper(run)],
        ),
    )
    try:
        tuner.fit()
    finally:
        shutil.rmtree(run.path / "tune", ignore_errors=True)
