"""The trials of a sweep as function trainables of Ray Tune, as its documentation has one begin.

Each trial is a process of its own, which imports torch and reads the store. What it learns, and in which order, is what
the same trial does under `fishray tune`; no checkpoint is kept and nothing is scored on test.

PYTHONPATH=. python tests/benchmarks/plain_tune.py SWEEP.yaml STORAGE SCORES.json
"""

import json
import sys
from pathlib import Path

from hpc.ray_cluster import ray_head  # before Ray itself: the same Ray as under `fishray tune`

# isort: split
from ray import tune

from fishray.config.loader import load_sweep
from fishray.tuning.searchers import make_searcher


def train(config):
    """One trial."""
    import torch

    from fishray.config.trial import TrialConfig
    from fishray.sequences.recordings import find_recordings
    from fishray.sequences.splits import load_sequences
    from fishray.training import Trainer, choose_device

    torch.set_num_threads(1)
    sweep = load_sweep(Path(config["sweep"]))
    data = load_sequences(find_recordings(sweep.data), sweep.data, sweep.labels)
    trainer = Trainer(TrialConfig.model_validate_json(config["trial"]), data, choose_device(0))
    for _ in range(sweep.search.max_epochs):
        tune.report(trainer.run_epoch().as_dict())


def main():
    path, storage, scores = (Path(word).resolve() for word in sys.argv[1:])
    sweep = load_sweep(path)
    searcher = make_searcher(sweep)
    trials = [trial.model_dump_json() for name in sweep.families for trial in searcher.foreseen(name)]
    with ray_head(cpus=2):
        results = tune.Tuner(
            tune.with_resources(train, {"cpu": 1}),
            param_space={"sweep": str(path), "trial": tune.grid_search(trials)},
            tune_config=tune.TuneConfig(metric="validation_auc", mode="max"),
            run_config=tune.RunConfig(storage_path=str(storage), verbose=0),
        ).fit()
    found = {json.loads(result.config["trial"])["id"]: result.metrics["validation_auc"] for result in results}
    scores.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
