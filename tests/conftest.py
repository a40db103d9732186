"""Known motions: small tanks whose bursts, speeds and labels follow from a list of numbers."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fishray.config.data import DataSettings
from fishray.config.sweep import LabelSettings
from fishray.config.trial import MODELS, TrialConfig
from fishray.sequences import Sequence, Sequences
from fishray.sequences.recordings import find_recordings
from fishray.sequences.splits import load_sequences
from fishray.signals.speed import frame_speed
from fishray.signals.targets import burst_labels
from fishray.store import new_recording
from hpc import ray_cluster  # noqa: F401  (sets what Ray reads when it is first imported, by whichever test)

SHARED = Path(__file__).parents[1].parent / "shared"

HEIGHT, WIDTH, SIDE, GREY = 24, 32, 6, 200
PIXEL = 2 * SIDE * GREY / (255 * HEIGHT * WIDTH)
"""Speed ỹ of a square that moves by one pixel: two edges change."""
CRUISE, REST, BURST = 1, 0, 3
"""Pixels per frame; a burst is always announced by a rest, and a rest is always followed by a burst."""
REST_FRAMES, BURST_FRAMES = 6, 6

LOOK_BACK, HORIZON = 24, 10
RULE = {"horizon": HORIZON, "range_threshold": 2 * PIXEL}
"""A horizon with cruise and rest alone has a range of one pixel, one with a burst of two or three."""


@dataclass(frozen=True)
class KnownTank:
    """What a recording of the tank shows."""

    frames_thw: NDArray[np.uint8]
    pixels_per_frame: NDArray[np.int64]
    """Shape (T - 1,): how far the square moves from frame t to t + 1."""

    @property
    def speed(self) -> NDArray[np.float64]:
        """Shape (T - 1,): ỹ."""
        return self.pixels_per_frame * PIXEL


def known_tank(seed: int, frames: int = 400) -> KnownTank:
    """One square on black that cruises, rests, and bursts, with gaps of 12 to 32 frames."""
    rng = np.random.default_rng(seed)
    moves: list[int] = []
    while len(moves) < frames - 1:
        moves += [CRUISE] * int(rng.integers(12, 33)) + [REST] * REST_FRAMES + [BURST] * BURST_FRAMES
    pixels_per_frame = np.array(moves[: frames - 1])
    first_hw = np.zeros((HEIGHT, WIDTH), np.uint8)
    top = int(rng.integers(0, HEIGHT - SIDE))
    first_hw[top : top + SIDE, :SIDE] = GREY
    places = np.concatenate([[0], np.cumsum(pixels_per_frame)])
    return KnownTank(np.stack([np.roll(first_hw, place, axis=1) for place in places]), pixels_per_frame)


def pytest_configure():
    """One thread for torch, in this process and its children: these networks are too small to share out."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tanks() -> dict[str, KnownTank]:
    """Three recordings."""
    return {name: known_tank(seed) for seed, name in enumerate(("tank-1", "tank-2", "tank-3"))}


@pytest.fixture(scope="session")
def tank_store(tanks, tmp_path_factory) -> Path:
    """The three recordings in a store."""
    path = tmp_path_factory.mktemp("tank") / "tank.zarr"
    for name, tank in tanks.items():
        origin = {"fps": 30.0, "source": f"{name}.mp4", "source_sha256": name, "settings": {}, "fishray": "0"}
        with new_recording(path, name, origin) as writer:
            writer.append(tank.frames_thw)
            writer.finish(frame_speed(tank.frames_thw))
    return path


@pytest.fixture(scope="session")
def tank(tank_store) -> Sequences:
    """The three recordings, split by time, with frames."""

    def read(recording):
        frames_thw = recording.read_frames(0, recording.frame_count)
        frames_thw.flags.writeable = False  # as those of the shared cache
        return frames_thw

    data = DataSettings(store=tank_store, look_back=LOOK_BACK)
    return load_sequences(find_recordings(data), data, LabelSettings(**RULE), read)


@pytest.fixture(scope="session")
def make_sequence() -> Callable[..., Sequence]:
    """Make a sequence of frames, or of a speed series alone."""

    def make(frames_thw=None, speed=None, look_back=LOOK_BACK, **rule):
        speed = frame_speed(frames_thw) if speed is None else np.asarray(speed, np.float64)
        return Sequence("tank", 0, 30.0, speed, burst_labels(speed, **RULE | rule), frames_thw, look_back)

    return make


@pytest.fixture(scope="session")
def make_trial() -> Callable[..., TrialConfig]:
    """Make a trial of a model, with small defaults."""

    def make(model, seed=0, **settings):
        small = {"lstm": {"hidden": 8}, "convlstm": {"filters": (4,), "downsample": 2}}[model]
        chosen = MODELS[model](**small | settings)
        return TrialConfig(id=f"{model}-0000", family=model, number=0, seed=seed, settings=chosen)

    return make


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of the real recordings and reference outputs, beside the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"no real recordings at {SHARED}")
    return SHARED
