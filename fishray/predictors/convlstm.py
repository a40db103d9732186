"""Convolutional LSTM on frames (Shi et al. 2015), from the published form to ones that can add up motion."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from fishray.config.trial import ConvLstmSettings
from fishray.predictors.convlstm_layer import ConvLstmLayer, State
from fishray.predictors.inputs import DIFFERENCE, GREY, Inputs, Scale

KERAS_EPSILON = 1e-3
READOUTS = {"max": ("max",), "mean": ("mean",), "both": ("max", "mean")}
"""A maximum alone cannot add up motion, a mean can."""


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

    def forward(self, inputs: Inputs, state: Any, first: int = 0) -> tuple[Tensor, Any]:
        """Logits (b, s - first) at the last frame of each step from `first` on, and the state behind them."""
        if inputs.pixels_btchw is None:
            raise ValueError("a ConvLSTM reads frames")
        maps_state, memory_state = (None, None) if state is None else state
        begin = first if self.memory is None else 0  # what is remembered begins with the crop
        pixels_bsfchw = inputs.pixels_btchw.unflatten(1, (-1, self.settings.frames_per_step))
        features, maps_state = self._read(pixels_bsfchw, maps_state, first, begin)
        features = self.readout_norm(features.flatten(0, 1)).unflatten(0, features.shape[:2])
        if self.settings.fuse_speed:
            speed_bsc = self.speed_scale(inputs.speed_bt).unflatten(1, (-1, self.settings.frames_per_step))
            features = torch.cat([features, speed_bsc[:, begin:]], dim=2)
        if self.memory is not None:
            features, memory_state = self.memory(features, memory_state)
            features = features[:, first:]
        return self.head(self.dropout(features))[..., 0], (maps_state, memory_state)

    def _read(
        self, pixels_bsfchw: Tensor, state: list[State] | None, first: int, begin: int
    ) -> tuple[Tensor, list[State] | None]:
        """What is read out of all steps from `begin` on, shape (b, s - begin, features), and each layer's state."""
        parts = []
        for start, stop in self._segments(pixels_bsfchw.shape[1], first):
            segment, skip = pixels_bsfchw[:, start:stop], min(max(begin - start, 0), stop - start)
            blind = stop <= first and self.settings.warm_up == "no_gradients"
            with torch.set_grad_enabled(torch.is_grad_enabled() and not blind):
                if self.settings.checkpoint_steps and torch.is_grad_enabled():
                    part, state = checkpoint(
                        self._run, segment, state, skip, use_reentrant=False, preserve_rng_state=False
                    )
                else:
                    part, state = self._run(segment, state, skip)
            parts += [] if part is None else [part]
        return torch.cat(parts).transpose(0, 1), state

    def _segments(self, count: int, first: int) -> Iterator[tuple[int, int]]:
        """Steps that are run in one go; batch normalisation needs all that gradients go through."""
        settings = self.settings
        if settings.batch_norm:
            bounds = {0, count} | ({first} if settings.warm_up == "no_gradients" else set())
        else:
            length = settings.checkpoint_steps or count
            bounds = {*range(0, first, length), *range(first, count, length), count}
        return pairwise(sorted(bounds))

    def _run(self, pixels_bsfchw: Tensor, state: list[State] | None, skip: int) -> tuple[Tensor | None, list[State]]:
        """What is read out of all steps but the first `skip`, shape (s - skip, b, features), and each layer's state."""
        maps_sbchw = self._steps(pixels_bsfchw)
        states: list[State] = []
        for index, (layer, norm) in enumerate(zip(self.layers[:-1], self.norms[:-1], strict=True)):
            outputs = layer(maps_sbchw, None if state is None else state[index])
            states.append((outputs.hidden_bfhw, outputs.cell_bfhw))
            flat = outputs.maps_sbfhw.flatten(0, 1)
            flat = functional.max_pool2d(flat, 2) if self.settings.pool else flat
            maps_sbchw = norm(flat).unflatten(0, maps_sbchw.shape[:2])
        asked = skip < len(maps_sbchw)
        pools = frozenset(READOUTS[self.settings.readout])
        give = frozenset({"maps"}) if self.settings.batch_norm else pools
        outputs = self.layers[-1](maps_sbchw, None if state is None else state[-1], give if asked else frozenset())
        states.append((outputs.hidden_bfhw, outputs.cell_bfhw))
        if not asked:
            return None, states
        if self.settings.batch_norm:
            return self._readout(outputs.maps_sbfhw[skip:]), states
        pooled = [each for each in (outputs.maximum_sbf, outputs.mean_sbf) if each is not None]
        return torch.cat(pooled, dim=2)[skip:], states

    def _steps(self, pixels_bsfchw: Tensor) -> Tensor:
        """The chosen channels, `frames_per_step` frames side by side; shape (s, b, c, h, w), channels innermost."""
        chosen = {"frames": [GREY], "differences": [DIFFERENCE], "both": [GREY, DIFFERENCE]}[self.settings.channels]
        batch, count, frames, _, height, width = pixels_bsfchw.shape
        steps_sbhwc = pixels_bsfchw.new_empty((count, batch, height, width, frames * len(chosen)))
        for place, channel in enumerate(chosen):
            values_bsfhw = pixels_bsfchw[:, :, :, channel]
            if channel == DIFFERENCE:
                values_bsfhw = self.difference_scale(values_bsfhw)
            steps_sbhwc[..., place * frames : (place + 1) * frames] = values_bsfhw.permute(1, 0, 3, 4, 2)
        return steps_sbhwc.permute(0, 1, 4, 2, 3)

    def _readout(self, maps_sbfhw: Tensor) -> Tensor:
        """Normalise whole maps and pool them to (s, b, features)."""
        normal = self.norms[-1](maps_sbfhw.flatten(0, 1)).unflatten(0, maps_sbfhw.shape[:2])
        pooled = {"max": normal.amax, "mean": normal.mean}
        return torch.cat([pooled[each]((3, 4)) for each in READOUTS[self.settings.readout]], dim=2)


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
