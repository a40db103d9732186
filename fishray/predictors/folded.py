"""The networks of a trial that was trained in folds, as one predictor."""

from collections.abc import Mapping
from collections.abc import Sequence as Ordered
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray

from fishray.config.trial import TrialSettings
from fishray.errors import WeightsError
from fishray.predictors.base import Mode, Reads
from fishray.predictors.inputs import SequenceInputs
from fishray.predictors.network import NetworkPredictor, TrainedPredictor, read_best
from fishray.sequences import Sequence
from fishray.weights import Arrays, below, under


class FoldedPredictor(TrainedPredictor):
    """One network for each fold; its probability is the mean of theirs.

    That is what a recording gets which no fold has seen. Of the others, all networks but one have seen each.

    Parameters
    ----------
    networks
        Two or more of one configuration, in the order of the folds.
    """

    modes: ClassVar[tuple[Mode, ...]] = NetworkPredictor.modes

    def __init__(self, networks: Ordered[NetworkPredictor]):
        self.networks = tuple(networks)

    @property
    def settings(self) -> TrialSettings:
        """The trial's settings."""
        return self.networks[0].settings

    @property
    def reads(self) -> Reads:
        """What each of them looks at."""
        return self.networks[0].reads

    def to(self, device: torch.device) -> None:
        """Put the weights on a device."""
        for network in self.networks:
            network.to(device)

    def predict(
        self, sequence: Sequence, mode: Mode | None = None, inputs: SequenceInputs | None = None
    ) -> NDArray[np.float64]:
        """Probability per frame, shape (T,); `inputs` saves preparing them again."""
        inputs = inputs or self.networks[0].inputs(sequence)
        mean: NDArray[np.float64] = np.mean([each.predict(sequence, mode, inputs) for each in self.networks], axis=0)
        return mean

    def packed(self, **arrays: NDArray[np.float32]) -> tuple[Arrays, dict[str, Any]]:
        """What each network packs under the name of its fold, and what they have in common once."""
        weights: Arrays = {f"array.{key}": value for key, value in arrays.items()}
        for fold, network in zip(fold_names(len(self.networks)), self.networks, strict=True):
            weights |= under(network.packed()[0], fold)
        return weights, {**self.networks[0].packed()[1], "folds": len(self.networks)}

    @classmethod
    def unpacked(cls, path: Path, arrays: Arrays, metadata: Mapping[str, Any]) -> Self:
        """Make a predictor of what `packed` gave; `path` is where it lay."""
        if "folds" not in metadata:
            raise WeightsError(f"no usable weights at {path} (they are of one network, not of folds)")
        folds = fold_names(metadata["folds"])
        return cls([NetworkPredictor.unpacked(path, below(arrays, fold), metadata) for fold in folds])


def together(networks: Ordered[NetworkPredictor]) -> TrainedPredictor:
    """The networks of a trial as one predictor: of a trial without folds, its only one."""
    return FoldedPredictor(networks) if len(networks) > 1 else networks[0]


def load_trained(path: Path) -> TrainedPredictor:
    """Read a trial's best weights, of one network or of folds.

    Raises
    ------
    WeightsError
        If they are missing or damaged.
    """
    arrays, metadata = read_best(path)
    kind = FoldedPredictor if "folds" in metadata else NetworkPredictor
    return kind.unpacked(path, arrays, metadata)


def fold_names(count: int) -> list[str]:
    """What the names of each fold's arrays begin with in a file; nothing where there is only one."""
    return [f"fold-{number}." for number in range(1, count + 1)] if count > 1 else [""]
