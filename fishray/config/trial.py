"""What one trial may set: one class for each kind of model, every value with its default and its bounds."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from fishray.config.base import Settings

Fraction = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]


class TrainingSettings(Settings):
    """How a network is trained, whatever its kind."""

    mode: Literal["dense", "clip"] = "dense"
    """dense: a loss at every step of a crop, behind a warm-up of one look-back; clip: one label per clip."""
    judged_frames: PositiveInt = 240
    """dense: frames of a crop that are judged, behind the warm-up."""
    batch_size: PositiveInt = 8
    """Crops or clips per optimiser step."""
    steps_per_epoch: PositiveInt = 100
    learning_rate: PositiveFloat = 0.01
    warmup_steps: NonNegativeInt = 20
    """Optimiser steps of linear warm-up; the rate is constant behind them, so that rungs compare."""
    weight_decay: NonNegativeFloat = 0.1
    dropout: BelowOne = 0.0
    class_weight: Fraction = 0.5
    """Exponent between no class weights (0) and balanced ones (1)."""
    ema_decay: BelowOne = 0.99
    """Decay per step of the averaged weights, which are the ones judged and kept; 0 switches the average off."""
    clip_norm: PositiveFloat = 1.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 where the device computes with it natively (a GPU), else float32."""


class LstmSettings(TrainingSettings):
    """An LSTM or GRU on the speed series."""

    model: Literal["lstm"] = "lstm"
    cell: Literal["lstm", "gru"] = "lstm"
    hidden: PositiveInt = 32
    layers: Annotated[int, Field(ge=1, le=4)] = 1
    frames_per_step: PositiveInt = 1
    augment: Literal["none", "noise"] = "none"
    noise: PositiveFloat = 0.1
    """Standard deviation of the noise, in standard deviations of the scaled speed."""


class ConvLstmSettings(TrainingSettings):
    """A convolutional LSTM on frames; the published model is one point of this space, see `published`."""

    model: Literal["convlstm"] = "convlstm"
    batch_size: PositiveInt = 4
    steps_per_epoch: PositiveInt = 40
    learning_rate: PositiveFloat = 0.005
    filters: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=2)] = (8,)
    """Hidden channels of each layer."""
    kernel: Literal[1, 3, 5, 7] = 3
    padding: Literal["same", "valid"] = "same"
    gate: Literal["sigmoid", "hard_sigmoid"] = "sigmoid"
    bias: bool = True
    pool: bool = True
    """2 x 2 max pooling between the layers."""
    batch_norm: bool = False
    """Batch normalisation between the layers and before the readout."""
    readout: Literal["max", "mean", "both"] = "both"
    readout_norm: bool = True
    """Normalise what is read out: a mean over maps that are mostly background hardly varies, and would learn slowly."""
    channels: Literal["frames", "differences", "both"] = "both"
    frames_per_step: PositiveInt = 4
    input_stride: Literal[1, 2] = 1
    downsample: PositiveInt = 1
    """Area averaging of the stored frames, applied to absolute differences after they are taken."""
    fuse_speed: bool = False
    """Give the head the speeds of the step as well."""
    memory: NonNegativeInt = 0
    """Units of an LSTM between readout and head, which remembers what whole maps gave; 0: none, as published."""
    warm_up: Literal["gradients", "no_gradients"] = "gradients"
    """Of a crop in mode dense: whether the loss is propagated back through the look-back before its judged steps, or it
    only sets the state that they begin with, in a sixth to a third less time."""
    checkpoint_steps: NonNegativeInt = 0
    """Keep what gradients need for so many steps at a time, and compute all others again: the same gradients in a
    fraction of the memory, and a tenth to a third more time. 0 keeps all of them; so does `batch_norm`, for it needs
    whole crops."""
    augment: Literal["none", "flips", "affine"] = "none"
    """flips: horizontal, vertical or both; affine: flips with small rotations, shifts and brightness changes."""

    @classmethod
    def published(cls) -> "ConvLstmSettings":
        """The one-layer model of the original project (Keras 2)."""
        return cls(
            mode="clip", filters=(16,), padding="valid", gate="hard_sigmoid", bias=False, batch_norm=True,
            readout="max", readout_norm=False, channels="frames", learning_rate=8e-5, batch_size=4, class_weight=1.0,
            augment="flips", weight_decay=0.0, ema_decay=0.0,
        )  # fmt: skip


TrialSettings = LstmSettings | ConvLstmSettings

MODELS: dict[str, type[LstmSettings] | type[ConvLstmSettings]] = {"lstm": LstmSettings, "convlstm": ConvLstmSettings}
"""Every kind of model that a family may name."""


class TrialConfig(Settings):
    """One configuration of a family, with all that decides its result besides the data."""

    id: str
    family: str
    number: NonNegativeInt
    seed: NonNegativeInt
    settings: Annotated[TrialSettings, Field(discriminator="model")]
