"""Convolutional LSTM on frames (Shi et al. 2015), from the published form to ones that can add up motion."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fishray.config.trial import ConvLstmSettings
from fishray.predictors.inputs import DIFFERENCE, GREY, Inputs, Scale

KERAS_EPSILON = 1e-3

State = tuple[Tensor, Tensor]


def keras_hard_sigmoid(x: Tensor) -> Tensor:
    """Keras 2's: clip(0.2 x + 0.5, 0, 1); torch's and Keras 3's have slope 1/6."""
    return (0.2 * x + 0.5).clamp(0, 1)


GATES: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid, "hard_sigmoid": keras_hard_sigmoid}


class ConvLstmLayer(nn.Module):
    """One layer; gates in the order input, forget, cell, output, as in Keras."""

    def __init__(self, channels: int, filters: int, stride: int, settings: ConvLstmSettings):
        super().__init__()
        kernel = settings.kernel
        padding = kernel // 2 if settings.padding == "same" else 0
        self.input = nn.Conv2d(channels, 4 * filters, kernel, stride, padding, bias=settings.bias)
        self.recurrent = nn.Conv2d(filters, 4 * filters, kernel, padding=kernel // 2, bias=False)
        self.gate = GATES[settings.gate]
        if self.input.bias is not None:  # remember at first (Jozefowicz et al. 2015)
            nn.init.zeros_(self.input.bias)
            nn.init.ones_(self.input.bias[filters : 2 * filters])

    def forward(self, input_bschw: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Hidden maps (b, s, filters, h', w') and the state behind them.

        The input convolution of all steps is one call; steps are split, not sliced: backward through slices costs
        O(s²).
        """
        driven = self.input(input_bschw.flatten(0, 1)).unflatten(0, input_bschw.shape[:2])
        outputs = []
        for driven_bchw in driven.unbind(1):
            state = self._step(driven_bchw, state)
            outputs.append(state[0])
        if state is None:
            raise ValueError("a sequence without steps")
        return torch.stack(outputs, dim=1), state

    def _step(self, driven_bchw: Tensor, state: State | None) -> State:
        if state is not None:
            driven_bchw = driven_bchw + self.recurrent(state[0])
        admit, keep, new, emit = driven_bchw.chunk(4, dim=1)
        cell = self.gate(admit) * torch.tanh(new)
        if state is not None:
            cell = cell + self.gate(keep) * state[1]
        return self.gate(emit) * torch.tanh(cell), cell


class ConvLstmNetwork(nn.Module):
    """Steps of `frames_per_step` frames as channels, through one or two layers and a global readout to one logit."""

    def __init__(self, settings: ConvLstmSettings):
        super().__init__()
        self.settings = settings
        channels = settings.frames_per_step * (2 if settings.channels == "both" else 1)
        strides = (settings.input_stride, 1)
        layers: list[ConvLstmLayer] = []
        norms: list[nn.Module] = []
        for filters, stride in zip(settings.filters, strides, strict=False):
            layers.append(ConvLstmLayer(channels, filters, stride, settings))
            norm = nn.BatchNorm2d(filters, KERAS_EPSILON, momentum=0.01, affine=False)
            norms.append(norm if settings.batch_norm else nn.Identity())
            channels = filters
        self.layers, self.norms = nn.ModuleList(layers), nn.ModuleList(norms)
        features = channels * (2 if settings.readout == "both" else 1)
        self.readout_norm = nn.BatchNorm1d(features, affine=False) if settings.readout_norm else nn.Identity()
        features += settings.frames_per_step if settings.fuse_speed else 0
        self.memory = nn.LSTM(features, settings.memory, batch_first=True) if settings.memory else None
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(settings.memory or features, 1)
        self.speed_scale = Scale()
        self.difference_scale = Scale()

    def forward(self, inputs: Inputs, state: Any) -> tuple[Tensor, Any]:
        """Logits (b, s) at the last frame of each step, and the state behind them."""
        maps = self._steps(inputs)
        states = []
        last = len(self.layers) - 1
        for index, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            maps, layer_state = layer(maps, None if state is None else state[index])
            states.append(layer_state)
            flat = maps.flatten(0, 1)
            if index < last and self.settings.pool:
                flat = functional.max_pool2d(flat, 2)
            maps = norm(flat).unflatten(0, maps.shape[:2])
        features = self._readout(maps)
        features = self.readout_norm(features.flatten(0, 1)).view_as(features)
        if self.settings.fuse_speed:
            speed_bsc = self.speed_scale(inputs.speed_bt).unflatten(1, (features.shape[1], -1))
            features = torch.cat([features, speed_bsc], dim=2)
        if self.memory is not None:
            features, memory_state = self.memory(features, None if state is None else state[-1])
            states.append(memory_state)
        return self.head(self.dropout(features))[..., 0], states

    def _steps(self, inputs: Inputs) -> Tensor:
        """The chosen channels, `frames_per_step` frames side by side; shape (b, s, c, h, w)."""
        if inputs.pixels_btchw is None:
            raise ValueError("a ConvLSTM reads frames")
        pixels = inputs.pixels_btchw
        grey = pixels[:, :, GREY].unflatten(1, (-1, self.settings.frames_per_step))
        difference = self.difference_scale(pixels[:, :, DIFFERENCE]).unflatten(1, (-1, self.settings.frames_per_step))
        chosen = {"frames": [grey], "differences": [difference], "both": [grey, difference]}[self.settings.channels]
        return torch.cat(chosen, dim=2)

    def _readout(self, maps_bschw: Tensor) -> Tensor:
        """Global pooling to (b, s, features); a maximum alone cannot add up motion, a mean can."""
        readout = self.settings.readout
        pooled = []
        if readout in ("max", "both"):
            pooled.append(maps_bschw.amax((3, 4)))
        if readout in ("mean", "both"):
            pooled.append(maps_bschw.mean((3, 4)))
        return torch.cat(pooled, dim=2)


def load_keras_weights(network: ConvLstmNetwork, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Map the weights of the published one-layer Keras model into a network.

    Parameters
    ----------
    network
        Made from `ConvLstmSettings.published()`.
    weights
        In Keras's layout: ``kernel`` (k, k, frames_per_step, 4 F) and ``recurrent_kernel`` (k, k, F, 4 F) with gates
        i, f, c, o; ``batchnorm_moving_mean`` and ``batchnorm_moving_variance`` (F,); ``dense_kernel`` (F, 1) and
        ``dense_bias`` (1,).
    """
    tensors = {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in weights.items()}
    layer, norm = network.layers[0], network.norms[0]
    if not isinstance(layer, ConvLstmLayer):
        raise TypeError(type(layer).__name__)
    with torch.no_grad():
        layer.input.weight.copy_(tensors["kernel"].permute(3, 2, 0, 1))
        layer.recurrent.weight.copy_(tensors["recurrent_kernel"].permute(3, 2, 0, 1))
        norm.running_mean.copy_(tensors["batchnorm_moving_mean"])  # type: ignore[operator]
        norm.running_var.copy_(tensors["batchnorm_moving_variance"])  # type: ignore[operator]
        network.head.weight.copy_(tensors["dense_kernel"].T)
        network.head.bias.copy_(tensors["dense_bias"])
