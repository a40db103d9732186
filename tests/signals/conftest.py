"""Films of simulated tanks, clean ones."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fishray.config.tank import TankSettings
from fishray.ingest.video import Video
from fishray.signals.speed import frame_speed
from fishray.simulate import simulate


@pytest.fixture(scope="session")
def films(tmp_path_factory) -> list[NDArray[np.uint8]]:
    """Frames of two tanks of two minutes, as their videos show them."""
    folder = tmp_path_factory.mktemp("films")
    return [_film(folder / f"{seed}.mp4", seed) for seed in (0, 1)]


def _film(path: Path, seed: int) -> NDArray[np.uint8]:
    simulate(path, TankSettings(minutes=2, seed=seed, height=96, width=128))
    return np.stack(list(Video(path).frames()))


@pytest.fixture(scope="session")
def tanks(films) -> list[NDArray[np.float64]]:
    """Their speeds."""
    return [frame_speed(frames_thw) for frames_thw in films]
