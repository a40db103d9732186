"""An ingest that is killed, and must in the end be equal, byte for byte, to one that was left alone."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

END_S = 300
"""Bound for a loaded machine; an ingest takes about 5 s."""
FRAMES, HEIGHT, WIDTH = 3_000, 96, 128
SHARD_FRAMES = 240

SCRIPT = f"""
import os, signal, time

from fishray.store import writing

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a test in the background has not
writing.SHARD_BYTES = {SHARD_FRAMES * HEIGHT * WIDTH}
keep, wait_at = writing.RecordingWriter._keep, int(os.environ.get("WAIT_AT", 0))

def keep_and_wait(writer, frame_count):
    keep(writer, frame_count)
    time.sleep(600 if 0 < wait_at <= frame_count else 0)

writing.RecordingWriter._keep = keep_and_wait

from fishray.cli import main

main()
"""
"""The command, with shards so small that there are many in a few seconds; it waits behind WAIT_AT frames."""

EVERYTHING = (
    *("--normalise-flicker", "--invert", "auto", "--background", "difference"),
    *("--contrast", "0.5,99.9", "--repair-spikes", "--size", f"{HEIGHT}x{WIDTH}"),
)


@dataclass(frozen=True)
class Kill:
    """What was there when an ingest was killed."""

    after_s: float
    """From when its folder appeared."""
    frames: int
    """Whose speeds were on disk."""
    doing: str


class Bench:
    """A video, its undisturbed store, and ingests of it that are killed."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._video = folder / "tank.mp4"
        film(self._video)
        with self._ingesting("whole.zarr") as process:
            wait_for((folder / "whole.zarr" / ".ingest-tank").exists, process)
            began_s = time.monotonic()
            assert process.wait(END_S) == 0, self.log()
        self.life_s = time.monotonic() - began_s
        self.undisturbed = contents(folder / "whole.zarr")

    def interrupt_one(self, name: str, frames: int) -> int:
        """Ctrl-C to an ingest that has so many frames on disk, and waits for it; its exit status."""
        speed = self._folder / name / ".ingest-tank" / "speed"
        with self._ingesting(name, WAIT_AT=str(frames)) as process:
            wait_for(lambda: speed.exists() and speed.stat().st_size >= 8 * (frames - 1), process)
            process.send_signal(signal.SIGINT)
            return process.wait(END_S)

    def kill_one(self, name: str, share: float) -> Kill | None:
        """Kill an ingest after a share of its life; None if it had ended by then."""
        unfinished = self._folder / name / ".ingest-tank"
        with self._ingesting(name) as process:
            wait_for(unfinished.exists, process)
            time.sleep(share * self.life_s)
            process.send_signal(signal.SIGKILL)
            if process.wait(END_S) == 0:
                return None
            assert process.returncode == -signal.SIGKILL, self.log()
        return Kill(share * self.life_s, *standing(unfinished))

    def complete(self, name: str) -> dict[str, bytes]:
        """Ingest it again, to its end: what the store then holds."""
        with self._ingesting(name) as process:
            assert process.wait(END_S) == 0, self.log()
        return contents(self._folder / name)

    def left_behind(self) -> list[str]:
        """Hidden files beside the stores, as those are made under another name."""
        return [each.name for each in self._folder.iterdir() if each.name.startswith(".")]

    def log(self) -> str:
        return (self._folder / "log.txt").read_text(errors="replace")[-2000:]

    @contextmanager
    def _ingesting(self, name, **variables):
        words = ["ingest", self._video.name, "--store", name, *EVERYTHING]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)} | variables
        with (self._folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", SCRIPT, *words], cwd=self._folder, env=environment, stdout=log, stderr=log
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def film(path: Path) -> None:
    """Film a dark square on a bright, noisy ground, under a lamp that flickers, with key frames."""
    rng = np.random.default_rng(0)
    ground_hw = rng.integers(150, 200, (HEIGHT, WIDTH))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast", "g": "50"})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for position in range(FRAMES):
            frame_hw = ground_hw * rng.uniform(0.95, 1.05)
            left = position * (1 + position // 300 % 3) % (WIDTH - 12)
            frame_hw[40:52, left : left + 12] = 30
            frame = av.VideoFrame.from_ndarray(frame_hw.astype(np.uint8), format="gray")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode())


def standing(unfinished: Path) -> tuple[int, str]:
    """How many frames an ingest had on disk, and what it was doing."""
    recording = unfinished / "recording"
    if not unfinished.exists():
        return FRAMES, "ended"
    if not (recording / "frames").exists():
        return 0, "looking" if recording.exists() else "beginning"
    speeds = (unfinished / "speed").stat().st_size // 8
    return (speeds + 1 if speeds else 0), "finishing" if (recording / "speed").exists() else "writing"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def wait_for(condition, process):
    """Wait until something holds, while a process runs."""
    until_s = time.monotonic() + END_S
    while not condition() and process.poll() is None:
        assert time.monotonic() < until_s
        time.sleep(0.001)
