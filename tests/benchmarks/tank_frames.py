"""Frames of a simulated tank, fish on black as in the original recordings, in the forms that are compared.

The original project kept its frames as image files of 320 x 240, and made them half as large for its networks whenever
it read them. A store holds them at the size that the networks see.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from measuring import Plan
from numpy.typing import NDArray
from PIL import Image

from fishray.config.tank import TankSettings
from fishray.ingest.resizing import resize_nearest
from fishray.signals.speed import frame_speed
from fishray.simulate.behaviour import Tank
from fishray.simulate.rendering import Camera
from fishray.store import Recording, new_recording, open_store

HEIGHT, WIDTH = 240, 320
"""Of the original recordings."""
SMALL = (120, 160)
"""What the published models saw."""
FRAMES, QUICK_FRAMES = 3600, 480


@dataclass(frozen=True)
class Footage:
    """The same frames as image files and as a recording in a store."""

    images: Path
    recording: Recording
    frames_thw: NDArray[np.uint8]
    """As they are in the store."""


def make_footage(plan: Plan, size: tuple[int, int]) -> Footage:
    """Film a tank, and write its frames as images, and of a size into a store."""
    filmed_thw = film(QUICK_FRAMES if plan.quick else FRAMES)
    images = plan.folder / "images"
    images.mkdir()
    for index, frame_hw in enumerate(filmed_thw):
        Image.fromarray(frame_hw).save(images / f"{index}.png")
    frames_thw = np.stack([resize_nearest(frame_hw, size) for frame_hw in filmed_thw])
    with new_recording(plan.folder / "tank.zarr", "tank", {"fps": 30.0}) as writer:
        writer.append(frames_thw)
        writer.finish(frame_speed(frames_thw))
    return Footage(images, open_store(plan.folder / "tank.zarr").recording("tank"), frames_thw)


@cache
def film(count: int) -> NDArray[np.uint8]:
    """So many frames of a tank, shape (count, HEIGHT, WIDTH)."""
    settings = TankSettings(height=HEIGHT, width=WIDTH)
    tank, camera = Tank(settings), Camera(settings)
    frames_thw = np.empty((count, HEIGHT, WIDTH), np.uint8)
    for frame_hw in frames_thw:
        frame_hw[:] = camera.draw(tank)
        tank.step()
    return frames_thw
