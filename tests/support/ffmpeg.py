"""A real ffmpeg: makes sources of many kinds from a small scene, and says what their grey levels are."""

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

FPS = 25
FRAMES, HEIGHT, WIDTH = 24, 48, 64


def scene(frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """A red spot that crosses a coloured slope, of shape (T, H, W, 3): no colour, corner or moment is like another."""
    y, x = np.mgrid[:height, :width]
    slope_hwc = np.stack([200 * x / width, 200 * y / height, 200 - 200 * x / width], axis=-1)
    scene_thwc = np.empty((frames, height, width, 3), np.uint8)
    for t in range(frames):
        spot_hw1 = np.exp(-((x - width * t / frames) ** 2 + (y - height / 4) ** 2) / 40)[..., None]
        scene_thwc[t] = (1 - spot_hw1) * slope_hwc + spot_hw1 * np.array([255, 40, 40])
    return scene_thwc


def run_ffmpeg(*arguments: object, feed: bytes = b"") -> bytes:
    """Call ffmpeg; gives what it wrote to its output."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    done = subprocess.run(command, input=feed, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.decode()}")
    return done.stdout


def write(path: Path, scene_thwc: NDArray[np.uint8], options: str = "") -> Path:
    """Encode a scene; a name such as frames/%d.png makes a folder of images. Gives what a person would ingest."""
    path.parent.mkdir(exist_ok=True)
    size = f"{scene_thwc.shape[2]}x{scene_thwc.shape[1]}"
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", FPS, "-i", "-")
    run_ffmpeg(*raw, *options.split(), path, feed=scene_thwc.tobytes())
    return path.parent if "%" in path.name else path


def greys_of(path: Path, height: int, width: int, *options: object) -> NDArray[np.uint8]:
    """The grey levels that ffmpeg gives, shape (T, H, W), after it has turned them the right way up."""
    raw = run_ffmpeg("-i", path, "-fps_mode", "passthrough", *options, "-pix_fmt", "gray", "-f", "rawvideo", "-")
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width)


def greys(scene_thwc: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The grey levels of a scene as ffmpeg sees them, shape (T, H, W)."""
    size = f"{scene_thwc.shape[2]}x{scene_thwc.shape[1]}"
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-i", "-")
    raw = run_ffmpeg(*source, "-pix_fmt", "gray", "-f", "rawvideo", "-", feed=scene_thwc.tobytes())
    return np.frombuffer(raw, np.uint8).reshape(scene_thwc.shape[:3])
