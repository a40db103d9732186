"""Train one trial, epoch by epoch.

An epoch is `steps_per_epoch` optimiser steps on batches that depend on (seed, epoch) alone, so that a trial resumed at
an epoch's border goes on exactly as if it had never stopped. Where the data is cut into folds, a trial is one network
for each: all run one epoch each in its epoch, its score is the mean of theirs, and they are saved as one.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from fishray.config.trial import TrialConfig
from fishray.errors import DivergedError, ResourceError, WeightsError
from fishray.evaluation.metrics import has_collapsed, mean_scores, scores
from fishray.files import previous
from fishray.predictors.folded import fold_names, together
from fishray.predictors.inputs import SequenceInputs
from fishray.predictors.network import sequence_inputs, to_arrays, to_tensors
from fishray.sequences import Sequence, Sequences
from fishray.training.learner import Learner
from fishray.weights import BEST, Arrays, below, best_of, read_weights, under, write_weights
from hpc.memory import keep_freed_memory


@dataclass(frozen=True)
class Score:
    """What one epoch gave."""

    epoch: int
    loss: float
    validation_auc: float
    validation_average_precision: float
    validation_youden_j: float
    best_epoch: int
    collapsed: bool
    labels_per_s: float
    epoch_s: float
    folds: list[dict[str, float]] = field(default_factory=list)
    """Scores of each fold, of which those above are the mean; empty where there are none."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


Report = Callable[[Score], bool]
"""Told every epoch's score; answers whether to go on."""


def choose_device(gpus: float) -> torch.device:
    """The GPU if one was asked for, else the CPU.

    Raises
    ------
    ResourceError
        If a GPU was asked for and torch can use none: never a silent run on the CPU.
    """
    if gpus <= 0:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ResourceError(
            "a GPU was asked for, but torch can use none here; set resources: {gpus: 0}, or install a torch built for "
            "this machine's driver"
        )
    return torch.device("cuda")


def take_cpus(cpus: int) -> None:
    """Have this process compute with so many threads, and keep the memory of one training step for the next."""
    torch.set_num_threads(cpus)
    keep_freed_memory()


class Trainer:
    """A trial in training: one network, or one for each fold of its data.

    Parameters
    ----------
    config
        The trial's settings and seed; the networks of its folds differ in their data alone.
    data
        Its splits; the test split is not touched.
    device
        See `choose_device`.
    metric
        Which validation score decides the best epoch.
    """

    def __init__(
        self, config: TrialConfig, data: Sequences, device: torch.device, metric: str = "validation_auc"
    ) -> None:
        self.config = config
        self.epoch = 0
        self.best_epoch = 0
        self.best_value = -math.inf
        self.last_score: Score | None = None
        self._best: tuple[Arrays, dict[str, Any]] = ({}, {})
        self._metric = metric
        self._since = 0
        shared: dict[tuple[str, int, int], SequenceInputs] = {}

        def inputs(sequence: Sequence) -> SequenceInputs:
            place = (sequence.recording, sequence.start, sequence.frame_count)
            if place not in shared:
                shared[place] = sequence_inputs(config.settings, sequence, device)
            return shared[place]

        sizes = _frame_sizes(data.train)
        self.learners = tuple(Learner(config, fold, inputs, sizes, device) for fold in data.folds)
        self.predictor = together([learner.predictor for learner in self.learners])

    def run_epoch(self) -> Score:
        """Train for one epoch, judge the averaged weights on validation, and keep them if they are the best so far."""
        began_s = time.perf_counter()
        self.epoch += 1
        trained = [learner.train_epoch(self.epoch) for learner in self.learners]
        trained_s = time.perf_counter()
        loss, labels = fmean(loss for loss, _ in trained), sum(labels for _, labels in trained)
        probabilities = [learner.validation_probability() for learner in self.learners]
        if not (math.isfinite(loss) and all(np.isfinite(probability).all() for probability in probabilities)):
            raise DivergedError(f"diverged in epoch {self.epoch} (loss {loss:.3g}); a lower learning_rate may hold")
        folds = [scores(each.label, found) for each, found in zip(self.learners, probabilities, strict=True)]
        values = {f"validation_{name}": value for name, value in mean_scores(folds).items()}
        if values[self._metric] > self.best_value and self.epoch > self._since:
            self.best_epoch, self.best_value = self.epoch, values[self._metric]
            self._best = self.predictor.packed(validation_probability=np.concatenate(probabilities).astype(np.float32))
        self.last_score = Score(
            epoch=self.epoch,
            loss=loss,
            best_epoch=self.best_epoch,
            collapsed=any(has_collapsed(probability) for probability in probabilities),
            labels_per_s=labels / (trained_s - began_s),
            epoch_s=time.perf_counter() - began_s,
            folds=folds if len(folds) > 1 else [],
            **values,
        )
        return self.last_score

    def save_best(self, path: Path) -> None:
        """Write the best epoch's predictor, with its validation probabilities beside it."""
        write_weights(path, *self._best)

    def overfit(self, count: int, report: Callable[[int, float, float], None], max_steps: int = 2000) -> float:
        """Learn a few clips by heart; see `Learner.overfit`."""
        return self.learners[0].overfit(count, report, max_steps)

    def save(self, path: Path) -> None:
        """Write everything that the next epoch depends on as one file; the one before stays beside it."""
        arrays: Arrays = {}
        for fold, learner in self._named():
            arrays |= under(to_arrays(learner.tensors()), fold)
        best_arrays, best_metadata = self._best
        steps = self.learners[0].steps  # all have made as many
        metadata: dict[str, Any] = {"epoch": self.epoch, "steps": steps, "best_epoch": self.best_epoch}
        if self.last_score:
            metadata |= {"score": self.last_score.as_dict(), "best_value": self.best_value}
        write_weights(
            path,
            arrays | under(best_arrays, BEST),
            {**metadata, **under(best_metadata, BEST)},
            keep_previous=True,
        )

    def resume(self, path: Path, known: int, since: int = 0) -> str:
        """Go on from a checkpoint, or from the one before it if it is damaged; at the beginning if there is none.

        Parameters
        ----------
        known
            Epochs that the journal knows; a checkpoint of its own may be one ahead of it.
        since
            The epoch at which the trial took over these weights from another; what was best up to there is not its own.

        Returns
        -------
        What there is to say: which checkpoint was damaged, and where it goes on instead.
        """
        self._since = since
        newest = known if known == since > 0 else known + 1  # a donor's next epoch is not this trial's
        faults = []
        for candidate in (path, previous(path)):
            if not candidate.exists():
                continue
            try:
                arrays, metadata = read_weights(candidate)
            except WeightsError as error:
                faults.append(str(error))
                continue
            if metadata["epoch"] <= newest:
                self._restore(arrays, metadata)
                break
        if self.epoch <= since:
            self.best_epoch, self.best_value, self._best = 0, -math.inf, ({}, {})
        return f"{'; '.join(faults)}; it goes on from epoch {self.epoch}" if faults else ""

    def _restore(self, arrays: Arrays, metadata: dict[str, Any]) -> None:
        tensors = to_tensors({name: array for name, array in arrays.items() if not name.startswith(BEST)})
        for fold, learner in self._named():
            learner.restore(below(tensors, fold), metadata["steps"])
        self.epoch = metadata["epoch"]
        self.last_score = Score(**metadata["score"]) if "score" in metadata else None
        self.best_epoch = metadata["best_epoch"]
        self._best = best_of(arrays, metadata)
        self.best_value = metadata.get("best_value", -math.inf)

    def _named(self) -> list[tuple[str, Learner]]:
        """Each network, and what its names begin with in a checkpoint."""
        return list(zip(fold_names(len(self.learners)), self.learners, strict=True))


def fit(
    config: TrialConfig,
    data: Sequences,
    out: Path,
    report: Report,
    device: torch.device,
    max_epochs: int,
    metric: str = "validation_auc",
) -> Score:
    """Train one trial in this process.

    Parameters
    ----------
    config, data
        The trial and its splits.
    out
        A directory; gets ``best``, the predictor of the best validation epoch.
    report
        Told every epoch's score; answers whether to go on.
    device, max_epochs
        Where, and for how long.
    metric
        Which validation score decides the best epoch.

    Returns
    -------
    The last epoch's score.
    """
    out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, data, device, metric)
    while True:
        score = trainer.run_epoch()
        trainer.save_best(out / "best")
        if not report(score) or score.epoch >= max_epochs:
            return score


def _frame_sizes(train: tuple[Sequence, ...]) -> tuple[tuple[int, int], ...]:
    """Height and width of the frames, each size once."""
    shapes = (sequence.frames.shape for sequence in train if sequence.frames is not None)
    return tuple(dict.fromkeys((height, width) for _, height, width in shapes))
