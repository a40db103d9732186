"""Train one network, epoch by epoch; knows nothing of Ray, stores or progress bars.

An epoch is `steps_per_epoch` optimiser steps on batches that depend on (seed, epoch) alone, so that a trial resumed at
an epoch's border goes on exactly as if it had never stopped.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from fishray.augment import Transform, pixel_transform, speed_transform
from fishray.config.trial import LstmSettings, TrialConfig, TrialSettings
from fishray.errors import DivergedError, ResourceError, WeightsError
from fishray.evaluation.metrics import has_collapsed, roc_auc, scores
from fishray.files import previous
from fishray.predictors.inputs import Inputs, stack
from fishray.predictors.network import (
    Network,
    NetworkPredictor,
    build_network,
    normalise_by,
    sequence_inputs,
    to_arrays,
    to_tensors,
)
from fishray.sequences import Sequences, valid_labels
from fishray.sequences.sampling import Batch, Crop, Sampling
from fishray.signals.targets import UNDEFINED
from fishray.weights import BEST, Arrays, below, best_of, read_weights, under, write_weights

OVERFIT_AUC = 0.99


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


class Trainer:
    """One network in training.

    Parameters
    ----------
    config
        The trial's settings and seed.
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
        self._data = data
        self._device = device
        self._labels = valid_labels(data.validation)
        settings = config.settings
        look_back = data.train[0].look_back
        self._train_inputs = [sequence_inputs(settings, sequence, device) for sequence in data.train]
        self._validation_inputs = [sequence_inputs(settings, sequence, device) for sequence in data.validation]
        judged = settings.judged_frames if settings.mode == "dense" else 0
        self.sampling = Sampling(data.train, look_back, settings.frames_per_step, judged)
        torch.manual_seed(config.seed)
        self.network = build_network(settings).to(device)
        normalise_by(self.network, data.train, self._train_inputs)
        self.average = AveragedModel(self.network, avg_fn=self._averaged, use_buffers=True)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        averaged = cast(Network, self.average.module)  # a copy of self.network
        frames = data.train[0].frames
        self.predictor = NetworkPredictor(config, look_back, None if frames is None else frames.shape[1:], averaged)
        self._class_weights = class_weights(valid_labels(data.train), settings.class_weight)
        self._augment = _augmentation(settings, self.network)
        self._steps = 0
        self._since = 0

    def run_epoch(self) -> Score:
        """Train for one epoch, judge the averaged weights on validation, and keep them if they are the best so far."""
        settings = self.config.settings
        began_s = time.perf_counter()
        self.epoch += 1
        torch.manual_seed(_epoch_seed(self.config.seed, self.epoch))
        batches = self.sampling.batches(settings.batch_size, settings.steps_per_epoch, self.config.seed, self.epoch)
        losses, labels = self._train(batches)
        trained_s = time.perf_counter()
        probability = self.validation_probability()
        if not (math.isfinite(losses) and np.isfinite(probability).all()):
            raise DivergedError(f"diverged in epoch {self.epoch} (loss {losses:.3g}); a lower learning_rate may hold")
        found = scores(self._labels, probability)
        values = {f"validation_{name}": value for name, value in found.items()}
        collapsed = has_collapsed(probability)
        if values[self._metric] > self.best_value and self.epoch > self._since:
            self.best_epoch, self.best_value = self.epoch, values[self._metric]
            self._best = self.predictor.packed(validation_probability=probability.astype(np.float32))
        self.last_score = Score(
            epoch=self.epoch,
            loss=losses,
            best_epoch=self.best_epoch,
            collapsed=collapsed,
            labels_per_s=labels / (trained_s - began_s),
            epoch_s=time.perf_counter() - began_s,
            **values,
        )
        return self.last_score

    def save_best(self, path: Path) -> None:
        """Write the best epoch's predictor, with its validation probabilities beside it."""
        write_weights(path, *self._best)

    def validation_probability(self) -> NDArray[np.float64]:
        """Probability of every valid validation frame, shape (N,)."""
        pairs = zip(self._data.validation, self._validation_inputs, strict=True)
        return np.concatenate([self.predictor.predict(s, inputs=i)[s.valid] for s, i in pairs])

    def overfit(self, count: int, report: Callable[[int, float, float], None], max_steps: int = 2000) -> float:
        """Learn a few clips by heart, to see that network and gradients work.

        Parameters
        ----------
        count
            Clips, half of them positive.
        report
            Told step, loss and training AUC.

        Returns
        -------
        Training AUC; stops once it reaches 0.99.
        """
        clips = self.sampling.clips(count, self.config.seed)
        label_bs = np.full((len(clips), clips[0].length // self.config.settings.frames_per_step), UNDEFINED, np.int8)
        ends = [self._data.train[clip.sequence].label[clip.start + clip.length - 1] for clip in clips]
        label_bs[:, -1] = ends
        batch = Batch(clips, label_bs)
        auc = 0.0
        for step in range(0, max_steps, 20):
            loss, _ = self._train(iter([batch] * 20))
            self.network.eval()
            with torch.no_grad():
                logits, _ = self.network(self._inputs(clips), None)
            auc = roc_auc(np.array(ends), logits[:, -1].float().cpu().numpy())
            report(step + 20, loss, auc)
            if auc >= OVERFIT_AUC:
                break
        return auc

    def save(self, path: Path) -> None:
        """Write everything that the next epoch depends on as one file; the one before stays beside it."""
        tensors = under(self.average.state_dict(), "average.") | under(self.network.state_dict(), "network.")
        for index, slots in self.optimiser.state_dict()["state"].items():
            tensors |= under(slots, f"optimiser.{index}.")
        best_arrays, best_metadata = self._best
        metadata: dict[str, Any] = {"epoch": self.epoch, "steps": self._steps, "best_epoch": self.best_epoch}
        if self.last_score:
            metadata |= {"score": self.last_score.as_dict(), "best_value": self.best_value}
        write_weights(
            path,
            to_arrays(tensors) | under(best_arrays, BEST),
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
        self.average.load_state_dict(below(tensors, "average."))
        self.network.load_state_dict(below(tensors, "network."))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in below(tensors, "optimiser.").items():
            index, slot = name.split(".", 1)
            state.setdefault(int(index), {})[slot] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})
        self.epoch, self._steps = metadata["epoch"], metadata["steps"]
        self.last_score = Score(**metadata["score"]) if "score" in metadata else None
        self.best_epoch = metadata["best_epoch"]
        self._best = best_of(arrays, metadata)
        self.best_value = metadata.get("best_value", -math.inf)

    def _train(self, batches: Iterator[Batch]) -> tuple[float, int]:
        """One optimiser step per batch; mean loss and number of labels."""
        self.network.train()
        losses, labels = [], 0
        for batch in batches:
            label_bs = torch.from_numpy(batch.label_bs).to(self._device)
            judged = label_bs != UNDEFINED
            with self._autocast():
                logits_bs, _ = self.network(self._augmented(self._inputs(batch.crops)), None)
            weight = self._class_weights.to(self._device)[label_bs.clamp(min=0).long()] * judged
            each = functional.binary_cross_entropy_with_logits(
                logits_bs.float(), label_bs.clamp(min=0).float(), weight, reduction="sum"
            )
            loss = each / judged.sum()
            self._step(loss)
            losses.append(loss.detach())
            labels += int((batch.label_bs != UNDEFINED).sum())
        return float(torch.stack(losses).mean()), labels

    def _step(self, loss: Tensor) -> None:
        settings = self.config.settings
        warm = min(1.0, (self._steps + 1) / max(1, settings.warmup_steps))
        for group in self.optimiser.param_groups:
            group["lr"] = settings.learning_rate * warm
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip_norm)
        self.optimiser.step()
        self.average.update_parameters(self.network)
        self._steps += 1

    def _averaged(self, average: Tensor, value: Tensor, _: Tensor | int) -> Tensor:
        """Exponential average whose decay grows at first, so that the first steps do not linger."""
        keep = min(self.config.settings.ema_decay, (1 + self._steps) / (10 + self._steps))
        return value + keep * (average - value)  # at 0 it is the value to the last bit

    def _inputs(self, crops: tuple[Crop, ...]) -> Inputs:
        return stack([self._train_inputs[crop.sequence].take(crop.start, crop.length) for crop in crops])

    def _augmented(self, inputs: Inputs) -> Inputs:
        speed, pixels = self._augment
        speed_bt = speed(inputs.speed_bt) if speed else inputs.speed_bt
        pixels_btchw = inputs.pixels_btchw
        if pixels and pixels_btchw is not None:
            pixels_btchw = torch.stack([pixels(crop) for crop in pixels_btchw])
        return Inputs(speed_bt, pixels_btchw)

    def _autocast(self) -> AbstractContextManager[object]:
        precision = self.config.settings.precision
        native = self._device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        if precision == "bfloat16" or (precision == "auto" and native):
            return torch.autocast(self._device.type, torch.bfloat16)
        return nullcontext()


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


def class_weights(label: NDArray[np.int8], exponent: float) -> Tensor:
    """Weights of the negative and the positive class, shape (2,), with mean 1 over the labels.

    Each is (inverse frequency) to the power `exponent`: 0 gives none, 1 balances the classes.
    """
    share = np.array([np.mean(label == 0), np.mean(label == 1)])
    weight = share**-exponent
    return torch.tensor(weight / (share * weight).sum(), dtype=torch.float32)


def _augmentation(settings: TrialSettings, network: Network) -> tuple[Transform | None, Transform | None]:
    """Transforms of speed and of pixels."""
    if isinstance(settings, LstmSettings):
        return speed_transform(settings.augment, settings.noise * float(network.speed_scale.std)), None
    return None, pixel_transform(settings.augment)


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
