import json
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.slow

SHORT, LONG, HEIGHT, WIDTH = 480, 2_400, 240, 320
MOST_MIB = 24
"""How much more the long one may take; its frames are 184 MB in grey."""

INGEST = f"""
import json, sys
from pathlib import Path

from fishray.config.ingest import IngestSettings
from fishray.ingest.writing import ingest
from fishray.store import writing

writing.SHARD_BYTES = 240 * {HEIGHT // 2} * {WIDTH // 2}
settings = IngestSettings.model_validate_json(sys.argv[3])
frames = ingest(Path(sys.argv[1]), Path(sys.argv[2]), settings).frame_count
# by the kernel's own mark: rusage still counts what the process was before it began, the one that tests
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(json.dumps([frames, int(peak.split()[1]) / 1024]))
"""


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    import av

    path = tmp_path_factory.mktemp("memory") / "long.mp4"
    ground_hw = np.random.default_rng(0).integers(100, 200, (HEIGHT, WIDTH), dtype=np.uint8)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for position in range(LONG):
            frame_hw = ground_hw.copy()
            frame_hw[50:90, position % 280 : position % 280 + 40] = 20
            frame = av.VideoFrame.from_ndarray(frame_hw, format="gray")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"normalise_flicker": True, "invert": "auto", "background": "difference", "contrast": [1, 99]},
        {"resample": 20.0, "region": [20, 20, 240, 180]},
    ],
    ids=["plain", "estimates", "resampled"],
)
def test_a_longer_recording_takes_no_more_memory(video, tmp_path, settings):
    peaks = []
    for stop in (SHORT, LONG):
        wanted = json.dumps(settings | {"stop": stop})
        command = [sys.executable, "-c", INGEST, video, tmp_path / f"{stop}.zarr", wanted]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        frames, peak_mib = json.loads(said.splitlines()[-1])
        assert frames == stop * settings.get("resample", 30) / 30
        peaks.append(peak_mib)
    assert peaks[1] - peaks[0] < MOST_MIB, peaks
