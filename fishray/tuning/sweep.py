"""Run a whole sweep: check, plan, train in parallel with Ray Tune, score on test."""

import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray import tune
from ray.tune.search import Searcher

from fishray.config.sweep import Sweep
from fishray.config.trial import ConvLstmSettings, TrialConfig
from fishray.evaluation.metrics import scores
from fishray.evaluation.scoring import gather, predict_split
from fishray.predictors.baselines import BASELINES, Baseline
from fishray.runs import Run, RunState, TrialState
from fishray.scratch import Scratch, remove_stale_scratch
from fishray.sequences import Sequences
from fishray.sequences.cache import FrameCache
from fishray.sequences.splits import valid_labels
from fishray.tuning.node import Node, gpu_share
from fishray.tuning.preparation import Prepared
from fishray.tuning.recorder import OnEvent, Recorder
from fishray.tuning.scheduler import FamilyScheduler
from fishray.tuning.space import planned_trials
from fishray.tuning.trainable import Host, TrialTrainable, cache_key

MAX_PROCESS_DEATHS = 3
OBJECT_STORE_BYTES = 100 * 2**20
"""Trials share frames through the cache, not through Ray; this is room for messages."""


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
        with _ray_on_this_node(node), FrameCache(cache_key(run)):
            _train_and_score(prepared, run, plan, baselines, record)
    return run


@contextmanager
def _early_end_recorded(record: Recorder) -> Iterator[None]:
    """Write down that a sweep ended before its end, so that no view takes it for one that goes on."""
    try:
        yield
    except KeyboardInterrupt:
        record("finish", status="interrupted", reason="stopped by the user")
        raise
    except Exception as error:
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
        _score(prepared, run, state, baselines, record)
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
        "gpus": len(node.gpu_names),
        "gpu_name": node.gpu_names[0] if node.gpu_names else "",
    }


def _score_baselines(baselines: dict[str, Baseline], sequences: Sequences, record: Recorder) -> None:
    label = valid_labels(sequences.validation)
    for name, baseline in baselines.items():
        record("baseline", name=name, scores=scores(label, predict_split(baseline, sequences.validation)))


@contextmanager
def _ray_on_this_node(node: Node) -> Iterator[None]:
    """A Ray of our own: on loopback, with a token, its files in a private directory that is gone afterwards."""
    with Scratch(f"ray-{secrets.token_hex(3)}") as scratch:
        token = scratch.path / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
        logging.getLogger("ray").setLevel(logging.CRITICAL)
        ray.init(
            address="local",
            num_cpus=node.cpus,
            num_gpus=len(node.gpu_names),
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=str(scratch.path),
        )
        try:
            yield
        finally:
            ray.shutdown()


class PlannedTrials(Searcher):  # type: ignore[misc]
    """Hands out the planned trials in their order."""

    def __init__(self, configs: list[dict[str, Any]]):
        super().__init__()
        self._remaining = list(reversed(configs))

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next trial."""
        return self._remaining.pop() if self._remaining else str(Searcher.FINISHED)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Settings do not depend on results."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal holds the plan."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal holds the plan."""


class AttemptRecorder(tune.Callback):  # type: ignore[misc]
    """Writes down when a trial starts on a worker, and clears up behind those that were stopped."""

    def __init__(self, run: Run, record: Recorder):
        self._run = run
        self._record = record
        self._attempts: dict[str, int] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Count an attempt."""
        name = trial.config["trial"]["id"]
        self._attempts[name] = self._attempts.get(name, 0) + 1
        self._record("attempt", trial=name, attempt=self._attempts[name])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Remove the checkpoints of a trial that will not go on."""
        for attempt in self._run.trial_path(trial.config["trial"]["id"]).glob("attempt-*"):
            shutil.rmtree(attempt, ignore_errors=True)


def _train(sweep: Sweep, run: Run, plan: list[TrialConfig], node: Node, record: Recorder) -> None:
    """Run the planned trials to the end, or until the user stops them."""
    configs = [_tune_config(sweep, run, config, node) for config in plan]
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
            callbacks=[AttemptRecorder(run, record)],
        ),
    )
    tuner.fit()
    shutil.rmtree(run.path / "tune", ignore_errors=True)


def _tune_config(sweep: Sweep, run: Run, config: TrialConfig, node: Node) -> dict[str, Any]:
    resources = sweep.families[config.family].resources
    return {
        "run": str(run.path.resolve()),
        "trial": config.model_dump(mode="json"),
        "cpus": resources.cpus,
        "gpus": gpu_share(resources, node),
    }


def _score(prepared: Prepared, run: Run, state: RunState, baselines: dict[str, Baseline], record: Recorder) -> None:
    """Keep every ranked predictor's validation predictions, and score leaders and baselines on test."""
    sweep, sequences = prepared.sweep, prepared.sequences
    ranked = state.ranked(sweep.search.metric)
    kept = {trial.config.id: run.validation_probability(trial.config.id).astype(np.float64) for trial in ranked}
    kept |= {name: predict_split(baseline, sequences.validation) for name, baseline in baselines.items()}
    splits = {"validation": gather(sequences.validation, kept)}
    if sequences.test:
        leaders = [trial.config for trial in leaders_of(state, sweep)]
        record("scoring", what=f"{len(leaders)} leaders and {len(baselines)} baselines on test")
        judged = _predict_test(sweep, run, leaders, prepared.node)
        found = dict(zip([leader.id for leader in leaders], judged, strict=True))
        found |= {name: predict_split(baseline, sequences.test) for name, baseline in baselines.items()}
        splits["test"] = gather(sequences.test, found)
    run.write_predictions(splits)


def leaders_of(state: RunState, sweep: Sweep) -> list[TrialState]:
    """The best trials by validation, and the best of each family."""
    ranked = state.ranked(sweep.search.metric)
    first_of_family = {trial.config.family: trial for trial in reversed(ranked)}
    chosen = ranked[: sweep.report.leaders] + list(first_of_family.values())
    return [trial for trial in ranked if any(trial is leader for leader in chosen)]


def _predict_test(sweep: Sweep, run: Run, leaders: list[TrialConfig], node: Node) -> list[NDArray[np.float64]]:
    """Each leader where models run: in a process of its own with its family's resources."""
    pending = []
    for leader in leaders:
        config = _tune_config(sweep, run, leader, node)
        task = ray.remote(_predict_leader).options(num_cpus=config["cpus"], num_gpus=config["gpus"])
        pending.append(task.remote(config))
    results: list[NDArray[np.float64]] = ray.get(pending)
    return results


def _predict_leader(config: dict[str, Any]) -> NDArray[np.float64]:
    from fishray.predictors.network import NetworkPredictor
    from fishray.training import choose_device

    run = Run(Path(config["run"]))
    host = Host(run, config["cpus"])
    predictor = NetworkPredictor.load(run.best_path(config["trial"]["id"]))
    predictor.network.to(choose_device(config["gpus"]))
    data = host.data(frames=isinstance(predictor.settings, ConvLstmSettings))
    try:
        return predict_split(predictor, data.test)
    finally:
        host.close()
