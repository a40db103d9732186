"""A tank of schooling fish with known events, as a real video file.

Most of the time the fish swim in bursts and glides. Now and then one turns at another, slows and spreads its fins, and
then chases it, and the whole group bursts: such a burst shows in space before it shows in the speed ỹ. Some chases come
without a display, some displays lead to nothing, and some bursts are only the group's restlessness.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fishray.config.tank import TankSettings
from fishray.errors import SettingError
from fishray.simulate.behaviour import Event, Tank
from fishray.simulate.rendering import Camera
from fishray.simulate.writing import events_path, write_events, write_video, written_aside

__all__ = ["Event", "events_path", "simulate"]


def _silent(done: int, total: int) -> None:
    """Report nothing."""


def simulate(out: Path, settings: TankSettings, progress: Callable[[int, int], None] = _silent) -> None:
    """Record a simulated tank as h264 video, with its events in ``<stem>.events.csv`` beside it.

    Both files are written aside and renamed when all is done, the video last: if it is there, it is whole.

    Parameters
    ----------
    out
        The video, ``*.mp4``; an older one is replaced.
    settings
        The tank; equal settings give equal recordings.
    progress
        Told the number of frames done and the total, once a second of the recording and at the end.

    Raises
    ------
    SettingError
        Where `out` is not named ``*.mp4``.
    """
    if out.suffix != ".mp4":
        raise SettingError(
            f"a simulated tank is an mp4 video, but {out} is not named so; try {out.with_suffix('.mp4')}"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    tank = Tank(settings)
    with written_aside(out) as video, written_aside(events_path(out)) as table:
        write_video(video, _film(tank, settings, progress), settings)
        write_events(table, tank.events_until(settings.frames))


def _film(tank: Tank, settings: TankSettings, progress: Callable[[int, int], None]) -> Iterator[NDArray[np.uint8]]:
    """Frames of the tank, shape (H, W), while it goes on."""
    camera = Camera(settings)
    for done in range(1, settings.frames + 1):
        yield camera.draw(tank)
        tank.step()
        if done % settings.fps == 0 or done == settings.frames:
            progress(done, settings.frames)
