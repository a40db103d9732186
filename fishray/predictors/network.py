"""What all trained networks share: normalisation, prediction in every mode, saving and loading."""

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as Collection
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fishray.config.trial import ConvLstmSettings, LstmSettings, TrialConfig, TrialSettings
from fishray.errors import WeightsError
from fishray.predictors.base import Mode, Predictor, Reads
from fishray.predictors.convlstm import ConvLstmNetwork
from fishray.predictors.inputs import DIFFERENCE, Inputs, SequenceInputs, stack
from fishray.predictors.recurrent import RecurrentNetwork
from fishray.sequences import Sequence
from fishray.weights import Arrays, below, best_of, read_weights, write_weights

Network = RecurrentNetwork | ConvLstmNetwork

CHUNK_STEPS = 64
CROPS_AT_ONCE = 32
SCALE_FRAMES = 512


class TrainedPredictor(Predictor):
    """What a trial has trained: networks, kept with their settings in one file of named arrays."""

    @property
    @abstractmethod
    def settings(self) -> TrialSettings:
        """The trial's settings."""

    @abstractmethod
    def to(self, device: torch.device) -> None:
        """Put the weights on a device."""

    @abstractmethod
    def packed(self, **arrays: NDArray[np.float32]) -> tuple[Arrays, dict[str, Any]]:
        """Weights, settings and look-back as arrays and plain values, with more arrays beside them."""

    @classmethod
    @abstractmethod
    def unpacked(cls, path: Path, arrays: Arrays, metadata: Mapping[str, Any]) -> Self:
        """Make a predictor of what `packed` gave; `path` is where it lay.

        Raises
        ------
        WeightsError
            If it is of another kind of predictor, or something is missing.
        """

    def save(self, path: Path, **arrays: NDArray[np.float32]) -> None:
        """Write what `load` reads as one file, with more arrays beside it."""
        write_weights(path, *self.packed(**arrays))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote, or the best epoch of a checkpoint.

        Raises
        ------
        WeightsError
            If it is missing or damaged, of another kind of predictor, or a checkpoint without any epoch.
        """
        return cls.unpacked(path, *read_best(path))


class NetworkPredictor(TrainedPredictor):
    """A trained network with everything it needs to predict.

    Parameters
    ----------
    config
        The trial's.
    look_back
        In frames.
    frame_sizes
        Height and width of the frames of its data, one or several: the readout is over the whole map, whatever its
        size. Not used by networks on speed alone.
    network
        Its weights; made anew from the settings when left out.
    """

    modes: ClassVar[tuple[Mode, ...]] = ("clip", "dense", "stateful")

    def __init__(
        self,
        config: TrialConfig,
        look_back: int,
        frame_sizes: tuple[tuple[int, int], ...] = (),
        network: Network | None = None,
    ):
        self.config = config
        self.look_back = look_back
        self.frame_sizes = frame_sizes
        self.network = network or build_network(config.settings)

    @property
    def settings(self) -> TrialSettings:
        """The trial's settings."""
        return self.config.settings

    @property
    def reads(self) -> Reads:
        """Frames for a ConvLSTM; the speed for an LSTM, and for a ConvLSTM that has it fused in."""
        settings = self.settings
        if isinstance(settings, ConvLstmSettings):
            return Reads(settings.fuse_speed, self.frame_sizes, self.look_back)
        return Reads(speed=True, frame_sizes=(), look_back=self.look_back)

    @property
    def own_mode(self) -> Mode:
        """As it was trained: clip by clip, or with a state carried along."""
        return "clip" if self.settings.mode == "clip" else "stateful"

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    def to(self, device: torch.device) -> None:
        """Put the weights on a device."""
        self.network.to(device)

    def inputs(self, sequence: Sequence) -> SequenceInputs:
        """A sequence as this network reads it."""
        return sequence_inputs(self.settings, sequence, self.device)

    @torch.no_grad()
    def predict(
        self, sequence: Sequence, mode: Mode | None = None, inputs: SequenceInputs | None = None
    ) -> NDArray[np.float64]:
        """Probability per frame, shape (T,); `inputs` saves preparing them again."""
        inputs = inputs or self.inputs(sequence)
        run = {"clip": self._clips, "dense": self._crops, "stateful": self._stateful}[mode or self.own_mode]
        probability = np.full(sequence.frame_count, np.nan)
        self.network.eval()
        for frames, logits in run(inputs):
            inside = frames < sequence.frame_count
            probability[frames[inside]] = torch.sigmoid(logits.double()).cpu().numpy()[inside]
        probability[: self.look_back - 1] = np.nan
        return probability

    def _clips(self, inputs: SequenceInputs) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Each frame from a clip of its own."""
        step = self.settings.frames_per_step
        length = self.look_back // step * step
        ends = np.arange(self.look_back - 1, inputs.frame_count)
        for first in range(0, len(ends), CROPS_AT_ONCE):
            group = ends[first : first + CROPS_AT_ONCE]
            clips = stack([inputs.take(int(end) - length + 1, length) for end in group])
            logits, _ = self.network(clips, None, length // step - 1)
            yield group, logits[:, -1]

    def _crops(self, inputs: SequenceInputs) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Crops as in dense training: a warm-up of one look-back, then judged steps."""
        step = self.settings.frames_per_step
        warm_up_steps = self.look_back // step
        judged_steps = max(1, self.settings.judged_frames // step)
        length = (warm_up_steps - 1 + judged_steps) * step
        for phase in range(step):
            for start in range(phase, inputs.frame_count - warm_up_steps * step + 1, judged_steps * step):
                logits, _ = self.network(inputs.take(start, length), None, warm_up_steps - 1)
                steps = np.arange(warm_up_steps, length // step + 1)
                yield start + steps * step - 1, logits[0]

    def _stateful(self, inputs: SequenceInputs) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """One pass with the state carried along; the phases of a step side by side as a batch."""
        step = self.settings.frames_per_step
        state: Any = None
        length = CHUNK_STEPS * step
        for start in range(0, inputs.frame_count, length):
            phases = [phase for phase in range(step) if start + phase < inputs.frame_count]
            if len(phases) < step:  # the rest is shorter than a step: no whole step ends in it
                return
            chunk = stack([inputs.take(start + phase, length, fresh=start == 0) for phase in phases])
            logits, state = self.network(chunk, state)
            ends = start + np.arange(1, CHUNK_STEPS + 1) * step - 1
            for phase in phases:
                yield ends + phase, logits[phase]

    def packed(self, **arrays: NDArray[np.float32]) -> tuple[Arrays, dict[str, Any]]:
        """Weights, settings and look-back as arrays and plain values, with more arrays beside them."""
        weights = {f"network.{key}": value for key, value in to_arrays(self.network.state_dict()).items()}
        metadata = {
            "config": self.config.model_dump(mode="json"),
            "look_back": self.look_back,
            "frame_sizes": [list(size) for size in self.frame_sizes],
        }
        return weights | {f"array.{key}": value for key, value in arrays.items()}, metadata

    @classmethod
    def unpacked(cls, path: Path, arrays: Arrays, metadata: Mapping[str, Any]) -> Self:
        """Make a predictor of what `packed` gave; `path` is where it lay."""
        try:
            sizes = tuple((height, width) for height, width in metadata["frame_sizes"])
            config = TrialConfig.model_validate_json(json.dumps(metadata["config"]))
            predictor = cls(config, metadata["look_back"], sizes)
            predictor.network.load_state_dict(to_tensors(below(arrays, "network.")))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise WeightsError(f"no usable weights at {path} ({str(error).splitlines()[0]})") from error
        return predictor


def read_best(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """What lies in a file of a trial's best weights, or in a checkpoint of its best epoch.

    Raises
    ------
    WeightsError
        If it is missing or damaged.
    """
    arrays, metadata = read_weights(path)
    return (arrays, metadata) if "config" in metadata else best_of(arrays, metadata)


def to_arrays(tensors: Mapping[str, Tensor]) -> Arrays:
    """Tensors as arrays of their own."""
    return {name: value.detach().cpu().numpy().copy() for name, value in tensors.items()}


def to_tensors(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """Arrays as tensors."""
    return {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}


def build_network(settings: TrialSettings) -> Network:
    """A network with fresh weights."""
    if isinstance(settings, LstmSettings):
        return RecurrentNetwork(settings)
    return ConvLstmNetwork(settings)


def sequence_inputs(settings: TrialSettings, sequence: Sequence, device: torch.device) -> SequenceInputs:
    """A sequence as a network with these settings reads it."""
    downsample = settings.downsample if isinstance(settings, ConvLstmSettings) else None
    return SequenceInputs(sequence, downsample, device)


def normalise_by(network: Network, train: Collection[Sequence], inputs: Collection[SequenceInputs]) -> None:
    """Take the scales of a network's inputs from the train split."""
    speed = np.concatenate([sequence.speed for sequence in train])
    network.speed_scale.set(float(speed.mean()), float(speed.std()))
    if isinstance(network, ConvLstmNetwork):
        squares = [_mean_square_difference(each) for each in inputs]
        network.difference_scale.set(0.0, float(np.mean(squares)) ** 0.5)


def _mean_square_difference(inputs: SequenceInputs) -> float:
    """Over frames spread evenly in time."""
    starts = np.linspace(0, inputs.frame_count - 2, min(SCALE_FRAMES, inputs.frame_count - 1)).astype(int)
    pixels = [_pixels(inputs.take(int(start), 2, fresh=False)) for start in starts]
    return float(torch.stack([each[0, -1, DIFFERENCE].square().mean() for each in pixels]).mean())


def _pixels(inputs: Inputs) -> Tensor:
    if inputs.pixels_btchw is None:
        raise ValueError("these inputs hold speed alone")
    return inputs.pixels_btchw
