"""Frames of a simulated tank, fish on black as in the original recordings, in the forms that are compared."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from measuring import Plan
from numpy.typing import NDArray
from PIL import Image

from fishray.config.tank import TankSettings
from fishray.signals.speed import frame_speed
from fishray.simulate.behaviour import Tank
from fishray.simulate.rendering import Camera
from fishray.store import Recording, new_recording, open_store

HEIGHT, WIDTH = 120, 160
"""What the published models saw."""
FRAMES, QUICK_FRAMES = 4800, 720
"""Two minutes and 40 seconds, 92 MB; a shard of 128 MiB holds all of it."""


@dataclass(frozen=True)
class Footage:
    """The same frames as an array, as a recording in a store and as image files."""

    frames_thw: NDArray[np.uint8]
    recording: Recording
    images: Path


def make_footage(plan: Plan) -> Footage:
    """Film a tank and write it in every form, into the plan's folder."""
    frames_thw = film(QUICK_FRAMES if plan.quick else FRAMES)
    store, images = plan.folder / "tank.zarr", plan.folder / "images"
    with new_recording(store, "tank", {"fps": 30.0}) as writer:
        writer.append(frames_thw)
        writer.finish(frame_speed(frames_thw))
    images.mkdir()
    for index, frame_hw in enumerate(frames_thw):
        Image.fromarray(frame_hw).save(images / f"{index}.png")
    return Footage(frames_thw, open_store(store).recording("tank"), images)


@cache
def film(count: int) -> NDArray[np.uint8]:
    """So many frames of a tank, shape (count, H, W)."""
    settings = TankSettings(height=HEIGHT, width=WIDTH)
    tank, camera = Tank(settings), Camera(settings)
    frames_thw = np.empty((count, HEIGHT, WIDTH), np.uint8)
    for frame_hw in frames_thw:
        frame_hw[:] = camera.draw(tank)
        tank.step()
    return frames_thw
