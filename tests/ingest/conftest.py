"""Small sources with known grey levels."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

SHARED = Path(__file__).parents[2].parent / "shared" / "data"

MakeVideo = Callable[..., Path]


@pytest.fixture
def noise_thw() -> NDArray[np.uint8]:
    """Sixty frames of noise: every byte of them is needed, so a cut file is a short one."""
    return np.random.default_rng(0).integers(0, 256, (60, 48, 64), dtype=np.uint8)


@pytest.fixture
def make_video(tmp_path) -> MakeVideo:
    """Write grey frames as a video, by default without loss."""

    def make(frames_thw, name="fish.mkv", codec="ffv1", pixels="gray", fps=25, options=None):
        path = tmp_path / name
        with av.open(str(path), "w", options=options or {}) as container:
            stream = container.add_stream(codec, rate=fps)
            stream.height, stream.width = frames_thw.shape[1:]
            stream.pix_fmt = pixels
            for frame_hw in frames_thw:
                frame = av.VideoFrame.from_ndarray(frame_hw, format="gray")
                container.mux(stream.encode(frame.reformat(format=pixels)))
            container.mux(stream.encode())
        return path

    return make


@pytest.fixture
def tetra() -> Path:
    """Published recording of Serpae tetra."""
    folder = SHARED / "serpae-tetra"
    if not folder.is_dir():
        pytest.skip(f"no published recording at {folder}")
    return folder
