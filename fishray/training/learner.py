"""One network that learns from one train split."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from fishray.augment import Transform, pixel_transform, speed_transform
from fishray.config.trial import LstmSettings, TrialConfig, TrialSettings
from fishray.evaluation.metrics import roc_auc
from fishray.predictors.inputs import Inputs, SequenceInputs, stack
from fishray.predictors.network import Network, NetworkPredictor, build_network, normalise_by
from fishray.sequences import Sequence, Sequences, valid_labels
from fishray.sequences.sampling import Batch, Crop, Sampling
from fishray.signals.targets import UNDEFINED
from fishray.weights import below, under

OVERFIT_AUC = 0.99


class Learner:
    """A network, its averaged weights and its optimiser.

    What it does in an epoch depends on its weights and on (seed, epoch) alone.

    Parameters
    ----------
    config
        The trial's settings and seed.
    data
        Its train split, and the validation that it is judged by.
    inputs
        Gives a sequence as the network reads it; folds share what they have in common.
    frame_sizes
        Height and width of all frames that the trial is trained on.
    device
        Where it computes.
    """

    def __init__(
        self,
        config: TrialConfig,
        data: Sequences,
        inputs: Callable[[Sequence], SequenceInputs],
        frame_sizes: tuple[tuple[int, int], ...],
        device: torch.device,
    ) -> None:
        self.config = config
        self.title = data.title
        self.label = valid_labels(data.validation)
        """Of every valid validation frame, shape (N,)."""
        self.steps = 0
        """Optimiser steps so far."""
        self._data = data
        self._device = device
        settings = config.settings
        look_back = data.train[0].look_back
        self._train_inputs = [inputs(sequence) for sequence in data.train]
        self._validation_inputs = [inputs(sequence) for sequence in data.validation]
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
        self.predictor = NetworkPredictor(config, look_back, frame_sizes, averaged)
        self._class_weights = class_weights(valid_labels(data.train), settings.class_weight)
        self._augment = _augmentation(settings, self.network)

    def train_epoch(self, epoch: int) -> tuple[float, int]:
        """Train for one epoch; mean loss and number of labels."""
        settings = self.config.settings
        torch.manual_seed(_epoch_seed(self.config.seed, epoch))
        return self._train(
            self.sampling.batches(settings.batch_size, settings.steps_per_epoch, self.config.seed, epoch)
        )

    def validation_probability(self) -> NDArray[np.float64]:
        """What the averaged weights give for every valid validation frame, shape (N,)."""
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

    def tensors(self) -> dict[str, Tensor]:
        """Everything that its next epoch depends on, but for the number of steps."""
        tensors = under(self.average.state_dict(), "average.") | under(self.network.state_dict(), "network.")
        for index, slots in self.optimiser.state_dict()["state"].items():
            tensors |= under(slots, f"optimiser.{index}.")
        return tensors

    def restore(self, tensors: dict[str, Tensor], steps: int) -> None:
        """Take what `tensors` gave, after as many steps."""
        self.average.load_state_dict(below(tensors, "average."))
        self.network.load_state_dict(below(tensors, "network."))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in below(tensors, "optimiser.").items():
            index, slot = name.split(".", 1)
            state.setdefault(int(index), {})[slot] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})
        self.steps = steps

    def _train(self, batches: Iterator[Batch]) -> tuple[float, int]:
        """One optimiser step per batch; mean loss and number of labels."""
        self.network.train()
        losses, labels = [], 0
        for batch in batches:
            first = int((batch.label_bs != UNDEFINED).any(axis=0).argmax())
            label_bs = torch.from_numpy(batch.label_bs[:, first:]).to(self._device)
            judged = label_bs != UNDEFINED
            with self._autocast():
                logits_bs, _ = self.network(self._augmented(self._inputs(batch.crops)), None, first)
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
        warm = min(1.0, (self.steps + 1) / max(1, settings.warmup_steps))
        for group in self.optimiser.param_groups:
            group["lr"] = settings.learning_rate * warm
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip_norm)
        self.optimiser.step()
        self.average.update_parameters(self.network)
        self.steps += 1

    def _averaged(self, average: Tensor, value: Tensor, _: Tensor | int) -> Tensor:
        """Exponential average whose decay grows at first, so that the first steps do not linger."""
        keep = min(self.config.settings.ema_decay, (1 + self.steps) / (10 + self.steps))
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
