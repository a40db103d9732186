"""LSTM and GRU on the speed series."""

from typing import Any

from torch import Tensor, nn

from fishray.config.trial import LstmSettings
from fishray.predictors.inputs import Inputs, Scale


class RecurrentNetwork(nn.Module):
    """Steps of `frames_per_step` speeds, scaled by train statistics, through recurrent layers to one logit a step."""

    def __init__(self, settings: LstmSettings):
        super().__init__()
        self.frames_per_step = settings.frames_per_step
        kind = nn.LSTM if settings.cell == "lstm" else nn.GRU
        self.layers = kind(
            settings.frames_per_step,
            settings.hidden,
            settings.layers,
            batch_first=True,
            dropout=settings.dropout if settings.layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(settings.hidden, 1)
        self.speed_scale = Scale()

    def forward(self, inputs: Inputs, state: Any, first: int = 0) -> tuple[Tensor, Any]:
        """Logits (b, s - first) at the last frame of each step from `first` on, and the state behind them."""
        speed_bsc = self.speed_scale(inputs.speed_bt).unflatten(1, (-1, self.frames_per_step))
        hidden_bsc, state = self.layers(speed_bsc, state)
        return self.head(self.dropout(hidden_bsc))[:, first:, 0], state
