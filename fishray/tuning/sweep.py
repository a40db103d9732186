"""Run a whole sweep, or what is left of one: train in parallel with Ray Tune, score on test."""

import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from fishray.errors import ResourceError, RunError, StorageError
from fishray.evaluation.metrics import mean_scores, scores
from fishray.evaluation.scoring import predict_held_out
from fishray.files import umask
from fishray.predictors.baselines import BASELINES
from fishray.runs import Run, leased
from fishray.runs.directory import SWEEP, UMASKS, provenance
from fishray.runs.state import GOING_ON
from fishray.sequences import Sequences, valid_labels
from fishray.sequences.cache import FrameCache
from fishray.tuning.continuation import growth, refuse_other_data
from fishray.tuning.crew import Crew
from fishray.tuning.driver import Attempt, Driver
from fishray.tuning.interruption import Interruption
from fishray.tuning.node import trials_at_once
from fishray.tuning.preparation import Prepared
from fishray.tuning.ray_tune import train_all
from fishray.tuning.recorder import OnEvent, Recorder
from fishray.tuning.scoring import Baselines, score_on_test
from fishray.tuning.seats import Seats
from fishray.tuning.trainable import attempt_arguments, cache_key
from hpc.cluster import Cluster, OneMachine
from hpc.errors import HpcError
from hpc.scratch import remove_stale_scratch

NOTHING_TO_RANK = {"status": "failed", "reason": "every trial failed"}


def run_sweep(
    prepared: Prepared,
    run_path: Path,
    watchers: Sequence[OnEvent],
    interruption: Interruption,
    command: str = "",
    cluster: Cluster | None = None,
) -> Run:
    """Run a prepared sweep to its predictions; a run that is there goes on.

    Parameters
    ----------
    run_path
        The run's directory.
    watchers
        Told every event of the journal once it is on disk.
    interruption
        Says when to stop.
    command
        What to type to go on with this run.
    cluster
        Where trials run; this machine alone when left out.

    Returns
    -------
    The run; its journal says whether it finished or was interrupted.

    Raises
    ------
    RunError
        If the run belongs to another process, or was begun with other settings or on other data.
    StorageError
        If the run's directory can no longer be written.
    ResourceError, HpcError
        If no worker can run its trials, or if none can be had.
    """
    cluster = cluster or OneMachine(prepared.node.cpus, len(prepared.node.gpu_names))
    run = Run.claim(run_path)
    with umask(UMASKS[prepared.sweep.access]), leased(run_path) as lease:
        run.path.chmod(0o777 & ~UMASKS[prepared.sweep.access])
        _settle_what_it_is(run, prepared)
        remove_stale_scratch()
        for stale in run_path.glob("tune-*"):
            shutil.rmtree(stale, ignore_errors=True)
        record = Recorder(run.journal, lease)
        driver = Driver(run, prepared.sweep, record, Seats(cluster.joined))
        record.watchers.extend(watchers)
        with _early_end_recorded(driver, record, interruption):
            driver.begin(_facts(prepared, command))
            folds = prepared.sequences.folds
            baselines = {name: [fit(fold.train) for fold in folds] for name, fit in BASELINES.items()}
            _score_baselines(baselines, prepared.sequences, driver, record)
            driver.draw_planned()
            _train_and_score(prepared, run, driver, baselines, record, interruption, cluster)
    return run


def _settle_what_it_is(run: Run, prepared: Prepared) -> None:
    """Write the resolved sweep, or see that the one that is there may go on as this one."""
    made_with = provenance(prepared.fingerprint)
    if (run.path / SWEEP).exists():
        refuse_other_data(run, prepared.fingerprint)
        growth(run, prepared.sweep)
        made_with = run.resolved()[1]
    run.write_sweep(prepared.sweep, made_with)


@contextmanager
def _early_end_recorded(driver: Driver, record: Recorder, interruption: Interruption) -> Iterator[None]:
    """Write down that a sweep ended before its end, if that can still be written and there is no end yet."""
    try:
        yield
    except BaseException as error:
        if driver.state.status not in GOING_ON:  # what came then was putting things away
            raise
        status, reason = "failed", f"{type(error).__name__}: {error}"
        if isinstance(error, KeyboardInterrupt):
            status, reason = "interrupted", _stopped_by(interruption)
        elif isinstance(error, StorageError | ResourceError | HpcError):  # it goes on once that is mended
            status, reason = "interrupted", str(error)
        with suppress(StorageError, RunError):
            record("finish", status=status, reason=reason)
        raise


def _train_and_score(
    prepared: Prepared,
    run: Run,
    driver: Driver,
    baselines: Baselines,
    record: Recorder,
    interruption: Interruption,
    cluster: Cluster,
) -> None:
    sweep, node = prepared.sweep, prepared.node
    if driver.done and not driver.state.ranked(sweep.search.metric):
        record("finish", **NOTHING_TO_RANK)
        return
    with FrameCache(cache_key(run)), cluster:  # Ray's processes leave the cache before we do
        interruption.listen()  # Ray has taken SIGTERM
        crew = Crew(cluster, record, len(node.gpu_names))
        if not driver.done:
            generation = record.generation
            folder = run.path / f"tune-{generation}"  # another driver's is none of ours

            def arguments(attempt: Attempt) -> dict[str, Any]:
                return attempt_arguments(sweep, run, attempt, node, generation)

            train_all(driver, crew, folder, arguments, interruption)
        if interruption.signal or not driver.done:
            cluster.leaves_workers = interruption.by_the_system
            record("finish", status="interrupted", reason=_stopped_by(interruption))
        elif not driver.state.ranked(sweep.search.metric):
            record("finish", **NOTHING_TO_RANK)
        else:
            score_on_test(prepared, run, driver.state, baselines, record, crew)
            record("finish", status="finished", reason="")


def _stopped_by(interruption: Interruption) -> str:
    name = interruption.signal.name if interruption.signal else ""
    return {"SIGINT": "stopped by the user", "": "stopped"}.get(name, f"stopped by {name}")


def _facts(prepared: Prepared, command: str) -> dict[str, Any]:
    """What views say about data and machine, and what may matter to whoever goes on."""
    sweep, sequences, node, recordings = prepared.sweep, prepared.sequences, prepared.node, prepared.recordings
    labels = {split: valid_labels(pieces) for split, pieces in sequences.splits.items()}
    made_with = provenance(prepared.fingerprint)
    return {
        "name": sweep.name,
        "seed": sweep.seed,
        "store": ", ".join(store.name for store in sweep.data.stores),
        "recordings": [{"name": r.name, "fps": r.fps, "frames": r.frame_count} for r in recordings],
        "duration_s": sum(r.frame_count / r.fps for r in recordings),
        "positives": float(np.concatenate(list(labels.values())).mean()),
        "valid_frames": {split: len(label) for split, label in labels.items()},
        "folds": [fold.title for fold in sequences.parts],
        "notes": list(prepared.notes),
        "cpus": node.cpus,
        "usable_cpus": max(
            trials_at_once(each.resources, node) * each.resources.cpus for each in sweep.families.values()
        ),
        "gpus": len(node.gpu_names),
        "gpu_name": node.gpu_names[0] if node.gpu_names else "",
        "most_workers": node.most_workers,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "command": command,
        **made_with,
    }


def _score_baselines(baselines: Baselines, data: Sequences, driver: Driver, record: Recorder) -> None:
    for name, fitted in baselines.items():
        if name not in driver.state.baselines:
            found = zip(data.folds, predict_held_out(fitted, data), strict=True)
            folds = [scores(valid_labels(fold.validation), probability) for fold, probability in found]
            record("baseline", name=name, scores=mean_scores(folds), **({"folds": folds} if data.parts else {}))
