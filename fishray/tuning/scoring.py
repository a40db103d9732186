"""The end of a sweep: keep what every ranked predictor gave on validation, and score leaders and baselines on test."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from fishray.config.sweep import Sweep
from fishray.config.trial import ConvLstmSettings, TrialConfig
from fishray.errors import WeightsError
from fishray.evaluation.scoring import gather, predict_apart, predict_held_out, predict_split
from fishray.predictors.baselines import Baseline
from fishray.runs import Run, RunState, TrialState
from fishray.tuning.crew import LOOK_EVERY_S, Crew
from fishray.tuning.node import Node
from fishray.tuning.preparation import Prepared
from fishray.tuning.recorder import Recorder
from fishray.tuning.trainable import Host, limit_gpu_memory, trial_arguments

Baselines = Mapping[str, Sequence[Baseline]]
"""By name, one for each fold."""


def score_on_test(
    prepared: Prepared, run: Run, state: RunState, baselines: Baselines, record: Recorder, crew: Crew
) -> None:
    """Keep every ranked predictor's validation predictions, and score leaders and baselines on test.

    Of folds, each validation frame is judged by what was made without its recording, and test by the mean over all.
    """
    sweep, sequences = prepared.sweep, prepared.sequences
    kept = _validation_probabilities(run, state.ranked(sweep.search.metric))
    kept |= {name: np.concatenate(predict_held_out(fitted, sequences)) for name, fitted in baselines.items()}
    splits = {"validation": gather(sequences.validation, kept)}
    if sequences.test:
        leaders = [trial.config for trial in state.leaders(sweep.search.metric, sweep.report.leaders)]
        record("scoring", what=f"{len(leaders)} leaders and {len(baselines)} baselines on test")
        found = _predict_test(sweep, run, leaders, prepared.node, record, crew)
        found |= {name: predict_apart(fitted, sequences.test) for name, fitted in baselines.items()}
        splits["test"] = gather(sequences.test, found)
    run.write_predictions(splits)


def _validation_probabilities(run: Run, ranked: list[TrialState]) -> dict[str, NDArray[np.float64]]:
    """From the trials' best weights, or from earlier predictions where those were cleared away or are damaged."""
    earlier = run.read_predictions().get("validation")
    found = {}
    for name in (trial.config.id for trial in ranked):
        try:
            found[name] = run.validation_probability(name).astype(np.float64)
        except WeightsError:
            if earlier and name in earlier.probability:
                found[name] = earlier.probability[name].astype(np.float64)
    return found


def _predict_test(
    sweep: Sweep, run: Run, leaders: list[TrialConfig], node: Node, record: Recorder, crew: Crew
) -> dict[str, NDArray[np.float64]]:
    """Each leader where models run: in a process of its own with its family's resources.

    One that fails there is written down, and the others are scored all the same.
    """
    pending, wanted = {}, {}
    for leader in leaders:
        config = trial_arguments(sweep, run, leader, node)
        task = ray.remote(_predict_leader).options(num_cpus=config["cpus"], num_gpus=config["gpus"])
        pending[leader.id] = task.remote(config)
        wanted[pending[leader.id]] = {"cpus": config["cpus"], "gpus": config["gpus"]}
    while wanted:
        crew.ask_for(wanted.values())
        ended, _ = ray.wait(list(wanted), timeout=LOOK_EVERY_S)
        for reference in ended:
            del wanted[reference]
    found = {}
    for name, reference in pending.items():
        try:
            found[name] = ray.get(reference)
        except ray.exceptions.RayError as error:
            last = str(error).strip().splitlines()[-1]
            record("unscored", trial=name, reason=last, traceback=str(error))
    return found


def _predict_leader(config: dict[str, Any]) -> NDArray[np.float64]:
    from fishray.predictors.folded import load_trained
    from fishray.training import choose_device

    run = Run(Path(config["run"]))
    host = Host(run, config["cpus"])
    predictor = load_trained(run.best_path(config["trial"]["id"]))
    predictor.to(choose_device(config["gpus"]))
    limit_gpu_memory(config["gpus"])
    data = host.data(frames=isinstance(predictor.settings, ConvLstmSettings))
    try:
        return predict_split(predictor, data.test)
    finally:
        host.close()
