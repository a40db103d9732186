"""What models of a sweep take on this machine: each is trained for a few seconds, on a piece of its data.

Measured are a family's smallest and largest model, of those trials whose settings depend on no result: what lies
between them costs what lies between. The piece is short, so that a store of any size is probed as quickly.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fishray.config.trial import ConvLstmSettings, TrialConfig
from fishray.predictors.inputs import Inputs, SequenceInputs
from fishray.predictors.network import build_network
from fishray.sequences import Sequence, Sequences
from fishray.store import Recording
from fishray.training import choose_device, take_cpus
from fishray.training.learner import Learner
from fishray.tuning.node import gpu_share
from fishray.tuning.preparation import Prepared
from fishray.tuning.searchers import make_searcher
from hpc.memory import give_back_freed_memory

PIECE_CROPS, JUDGED_CROPS = 8, 2
"""Length of the piece that is trained on, and of that which is judged, in crops."""
LEAST_STEPS = 3
"""Optimiser steps that are measured at least, behind as many that are not."""
CONTEXT_BYTES = 500 * 2**20
"""What CUDA itself takes of a GPU for each process, roughly."""

Telling = Callable[[TrialConfig], None]
"""Told which model is measured next."""


@dataclass(frozen=True)
class Model:
    """A trial's network, and how much it computes."""

    config: TrialConfig
    weights: int
    work: float
    """Multiplications of an epoch's training, roughly: it tells small from large."""


@dataclass(frozen=True)
class Probed:
    """What one model took."""

    model: Model
    labels_per_s: float
    """In training."""
    epoch_s: float
    """Of training and of judging validation, all folds together."""
    loading_s: float
    """Until a trial has its data, where a process holds none yet."""
    waiting: float
    """Share of training time in which batches are put together."""
    memory_bytes: int
    """Of a process on its device at its peak, with all that it holds of the trial's data by itself."""
    gpu_busy: float | None = None
    """Share of training time in which the GPU computes; None on a CPU."""

    @property
    def family(self) -> str:
        """The family it is of."""
        return self.model.config.family


def models_of(prepared: Prepared) -> dict[str, list[Model]]:
    """Every trial whose settings depend on no result, by family, from the smallest to the largest."""
    sweep, searcher = prepared.sweep, make_searcher(prepared.sweep)
    sizes = [recording.frame_size for recording in prepared.recordings]
    pixels = max((height * width for height, width in filter(None, sizes)), default=1)
    return {
        name: sorted(
            (_model(config, sweep.data.look_back, pixels) for config in searcher.foreseen(name)),
            key=lambda model: model.work,
        )
        for name in sweep.families
    }


def probe(
    prepared: Prepared, models: Mapping[str, list[Model]], within_s: float, gpus: bool | None, tell: Telling
) -> list[Probed]:
    """Train each family's smallest and largest model for a while.

    Parameters
    ----------
    models
        By family (`models_of`).
    within_s
        Seconds of training for each model.
    gpus
        Whether they compute on a GPU; as the sweep's resources say when left out.

    Raises
    ------
    ResourceError
        If a GPU was asked for and torch can use none.
    """
    recordings = {recording.name: recording for recording in prepared.recordings}
    threads, found = torch.get_num_threads(), []
    for name, of_family in models.items():
        resources = prepared.sweep.families[name].resources
        share = gpu_share(resources, len(prepared.node.gpu_names)) if gpus is None else float(gpus)
        take_cpus(resources.cpus)
        device = choose_device(share)
        for model in (of_family[0], of_family[-1]) if of_family[0].work < of_family[-1].work else of_family[:1]:
            tell(model.config)
            found.append(_Probe(model, prepared.sequences, recordings, device).measure(within_s))
    torch.set_num_threads(threads)
    return found


def gpu_bytes() -> int:
    """Memory of one GPU."""
    return int(torch.cuda.get_device_properties(0).total_memory)


class _Probe:
    """One model on a piece of its data."""

    def __init__(
        self, model: Model, sequences: Sequences, recordings: Mapping[str, Recording], device: torch.device
    ) -> None:
        self._model = model
        self._device = device
        self._folds = sequences.folds
        _forget_peak(device)
        began_s = time.perf_counter()
        longest = max(self._folds[0].train, key=lambda sequence: sequence.frame_count)
        self._piece = _piece(longest, model.config, recordings[longest.recording])
        self._judged = _first(self._piece, self._piece.frame_count * JUDGED_CROPS // PIECE_CROPS)
        settings = model.config.settings
        downsample = settings.downsample if isinstance(settings, ConvLstmSettings) else None
        self._inputs = _WatchedInputs(self._piece, downsample, device)
        self._loading_s = time.perf_counter() - began_s
        # Weights of classes need both of them, which a piece may not have.
        few = settings.model_copy(update={"class_weight": 0.0, "steps_per_epoch": LEAST_STEPS})
        self._learner = Learner(
            model.config.model_copy(update={"settings": few}),
            Sequences((self._piece,), (self._judged,)),
            lambda sequence: self._inputs if sequence is self._piece else SequenceInputs(sequence, downsample, device),
            (),
            device,
        )

    def measure(self, within_s: float) -> Probed:
        """Train for a while, judge once, and say what a whole epoch and a whole trial take."""
        learner, model = self._learner, self._model
        learner.train_epoch(1)  # with what is done but once
        self._inputs.waited_s = 0.0
        began_s, labels, epoch = self._now_s(), 0, 1
        while epoch == 1 or self._now_s() - began_s < within_s:
            epoch += 1
            labels += learner.train_epoch(epoch)[1]
        trained_s = self._now_s() - began_s
        step_s = trained_s / ((epoch - 1) * LEAST_STEPS)
        waiting = min(1.0, self._inputs.waited_s / trained_s)
        began_s = self._now_s()
        learner.validation_probability()
        frame_s = (self._now_s() - began_s) / self._judged.frame_count
        judged = sum(sequence.frame_count for fold in self._folds for sequence in fold.validation)
        times = _frames_held(self._folds) / self._piece.frame_count
        return Probed(
            model=model,
            labels_per_s=labels / trained_s,
            epoch_s=len(self._folds) * model.config.settings.steps_per_epoch * step_s + judged * frame_s,
            loading_s=self._loading_s * max(1.0, times),
            waiting=waiting,
            memory_bytes=_peak_bytes(self._device) + int(max(0.0, times - 1) * self._inputs.own_bytes),
            gpu_busy=self._gpu_busy(step_s) if self._device.type == "cuda" else None,
        )

    def _now_s(self) -> float:
        _wait_for(self._device)
        return time.perf_counter()

    def _gpu_busy(self, step_s: float) -> float:
        """Share of a step's time that its kernels take, one after the other."""
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            self._learner.train_epoch(1)
            _wait_for(self._device)
        kernels_s = sum(event.self_device_time_total for event in profile.key_averages()) / 1e6
        return float(min(1.0, kernels_s / (LEAST_STEPS * step_s)))


class _WatchedInputs(SequenceInputs):
    """Inputs that count how long crops are waited for."""

    waited_s = 0.0

    def take(self, start: int, length: int, fresh: bool = True) -> Inputs:
        _wait_for(self._device)
        began_s = time.perf_counter()
        taken = super().take(start, length, fresh)
        _wait_for(self._device)
        self.waited_s += time.perf_counter() - began_s
        return taken


def _model(config: TrialConfig, look_back: int, pixels: int) -> Model:
    settings = config.settings
    with torch.device("meta"):  # no memory, no random numbers
        weights = sum(weight.numel() for weight in build_network(settings).parameters())
    frames = look_back + (settings.judged_frames if settings.mode == "dense" else 0)
    places = 1.0
    if isinstance(settings, ConvLstmSettings):
        places = pixels / (settings.downsample * settings.input_stride) ** 2
    steps = settings.steps_per_epoch * settings.batch_size * frames / settings.frames_per_step
    return Model(config, weights, steps * places * weights)


def _piece(sequence: Sequence, config: TrialConfig, recording: Recording) -> Sequence:
    """The beginning of a sequence, with frames if a model reads them."""
    settings = config.settings
    crop = sequence.look_back + (settings.judged_frames if settings.mode == "dense" else 0)
    piece = _first(sequence, min(sequence.frame_count, PIECE_CROPS * crop))
    if not isinstance(settings, ConvLstmSettings):
        return piece
    return replace(piece, frames=recording.read_frames(piece.start, piece.start + piece.frame_count))


def _first(sequence: Sequence, count: int) -> Sequence:
    """So many frames of a sequence, with the labels that they have in it."""
    frames = None if sequence.frames is None else sequence.frames[:count]
    return replace(sequence, speed=sequence.speed[: count - 1], label=sequence.label[:count], frames=frames)


def _frames_held(folds: Iterable[Sequences]) -> int:
    """Frames of train and validation that a trial holds; those that folds share, once."""
    held = {
        (each.recording, each.start): each.frame_count for fold in folds for each in (*fold.train, *fold.validation)
    }
    return sum(held.values())


def _wait_for(device: torch.device) -> None:
    """Until a GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _forget_peak(device: torch.device) -> None:
    """Have the peak of memory begin anew."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    else:
        give_back_freed_memory()
        with suppress(OSError):  # not for us to write: then it is the peak since this process began
            Path("/proc/self/clear_refs").write_text("5")  # see proc(5)


def _peak_bytes(device: torch.device) -> int:
    """Most memory that this process has held since `_forget_peak`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) + CONTEXT_BYTES
    status = Path("/proc/self/status").read_text().splitlines()
    (peak_kb,) = (line.split()[1] for line in status if line.startswith("VmHWM:"))
    return 1024 * int(peak_kb)
