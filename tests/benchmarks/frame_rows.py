"""Frames: out of a node's cache, into it, and from a video into a store."""

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
from ffmpeg import run_ffmpeg
from measuring import Goal, Plan, Row, measure, on_one_core
from numpy.typing import NDArray
from peers import png_clip, png_frames
from tank_frames import SMALL, make_footage

from fishray.config.tank import TankSettings
from fishray.ingest.video import Video
from fishray.ingest.writing import ingest
from fishray.sequences.cache import FrameCache
from fishray.simulate import simulate
from fishray.simulate.writing import write_video
from fishray.store import open_store

LOOK_BACK = 120
EQUAL = "equal bit for bit"


def clips(plan: Plan) -> list[Row]:
    """Clips of 120 frames at random places."""
    footage = make_footage(plan, SMALL)
    plain = plan.folder / "plain"
    footage.frames_thw.tofile(plain)
    mapped_thw = np.memmap(plain, np.uint8, "r", shape=footage.frames_thw.shape)
    rng = np.random.default_rng(0)

    def start() -> int:
        return int(rng.integers(len(mapped_thw) - LOOK_BACK + 1))

    def copies_of(frames_thw: NDArray[np.uint8], clips: int = 100) -> int:
        for _ in range(clips):
            first = start()
            np.array(frames_thw[first : first + LOOK_BACK])
        return clips

    def decode() -> int:
        png_clip(footage.images, start(), LOOK_BACK, SMALL)
        return 1

    with FrameCache("bench", plan.folder) as cache:
        cached_thw = cache.frames(footage.recording)
        same = np.array_equal(np.float32(cached_thw[7:127]) / 255, png_clip(footage.images, 7, LOOK_BACK, SMALL))
        assert same
        assert np.array_equal(cached_thw, mapped_thw)
        works = {"ours": lambda: copies_of(cached_thw), "limit": lambda: copies_of(mapped_thw), "png": decode}
        found = measure(works, plan.rounds)
    what = "clips out of the node's cache"
    return [
        Row(what, "clips/s", found["ours"], Goal(">=", 120), found["png"], "120 PNGs a clip", agreement=EQUAL),
        Row(what, "clips/s", found["ours"], Goal(">=", 0.8), found["limit"], "np.memmap + copy", is_limit=True),
    ]


def fill(plan: Plan) -> list[Row]:
    """All frames of a recording, from a store that is not in memory, into an array that every process can map."""
    footage = make_footage(plan, SMALL)
    frames, number = footage.recording.frame_count, count()

    def fill_cache() -> int:
        forget(plan.folder / "tank.zarr")
        with FrameCache(f"bench-{next(number)}", plan.folder) as cache:
            return len(cache.frames(open_store(plan.folder / "tank.zarr").recording("tank")))

    def decode() -> int:
        forget(footage.images)
        return len(png_frames(footage.images, frames, SMALL))

    with FrameCache("bench", plan.folder) as cache:
        assert np.array_equal(cache.frames(footage.recording), png_frames(footage.images, frames, SMALL))
    found = measure({"ours": fill_cache, "png": decode}, plan.rounds)
    return [
        Row("filling that cache from a cold store", "frames/s", found["ours"], Goal(">=", 8), found["png"],
            "decoding PNGs", agreement=EQUAL)
    ]  # fmt: skip


def ingesting(plan: Plan) -> list[Row]:
    """Videos of 1280 x 960: fish on black, and the same with a background and the noise of a camera."""
    settings = TankSettings(minutes=(60 if plan.quick else 450) / 1800, height=960, width=1280)
    black, noisy = plan.folder / "black.mp4", plan.folder / "noisy.mp4"
    simulate(black, settings)
    write_video(noisy, _with_noise(Video(black).frames()), settings)
    with on_one_core():
        return [
            _ingesting(plan, black, "ingest of 1280x960 h264, on black"),
            _ingesting(plan, noisy, "ingest of 1280x960 h264, noisy"),
        ]


def _ingesting(plan: Plan, video: Path, what: str) -> Row:
    number = count()

    def ours() -> int:
        return ingest(video, plan.folder / f"{video.stem}-{next(number)}.zarr").frame_count

    def scale() -> int:
        scaling = ("-vf", "scale=160:120:flags=area,format=gray", "-f", "rawvideo", "-")
        return len(run_ffmpeg("-threads", 1, "-filter_threads", 1, "-i", video, *scaling)) // (SMALL[0] * SMALL[1])

    assert ours() == scale()
    found = measure({"ours": ours, "limit": scale}, plan.rounds)
    limit = "ffmpeg decode + scale"
    return Row(what, "frames/s", found["ours"], Goal(">=", 0.85), found["limit"], limit, is_limit=True)


def _with_noise(frames: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    for frame_hw in frames:
        noise_hw = 60 + 3 * rng.standard_normal(frame_hw.shape, np.float32)
        yield np.maximum(frame_hw, noise_hw.astype(np.uint8))


def forget(folder: Path) -> None:
    """Have the system drop what it holds of files in memory: the next to read them goes to the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
