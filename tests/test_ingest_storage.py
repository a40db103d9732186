"""A disk that is full, then read-only, while a recording is ingested: the store stays whole, the command goes on."""

import subprocess
import sys

import av
import numpy as np
import pytest
from ingesting import HEIGHT, SCRIPT, SHARD_FRAMES, WIDTH, contents
from mounts import mount_namespace

from fishray.store import open_store

pytestmark = pytest.mark.slow

FRAMES = 3 * SHARD_FRAMES
ROOM_KB, ROOM_LATER_KB = 5_000, 30_000
"""Noise cannot be packed: 240 frames of 96 x 128 take 2.9 MB, so one shard fits and two do not."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A video of noise, and a series of speeds."""
    folder = tmp_path_factory.mktemp("disks")
    np.save(folder / "series.npy", np.full(50, 0.25))
    with av.open(folder / "noise.mkv", "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "gray"
        for frame_hw in np.random.default_rng(0).integers(0, 256, (FRAMES, HEIGHT, WIDTH), dtype=np.uint8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_hw, format="gray")))
        container.mux(stream.encode())
    return folder


def ingest(folder, source, store, before=()):
    """Status, output and errors of the command, with small shards."""
    command = [*before, sys.executable, "-c", SCRIPT, "ingest", folder / source, "--store", store, "--fps", "25"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, [line for line in done.stderr.splitlines() if line.startswith("fishray")]


def test_a_store_stays_whole_on_a_disk_that_is_full_then_read_only(folder):
    assert ingest(folder, "series.npy", folder / "whole.zarr")[0] == 0
    assert ingest(folder, "noise.mkv", folder / "whole.zarr")[0] == 0
    disk = folder / "disk"
    disk.mkdir()
    store = disk / "tank.zarr"
    with mount_namespace() as namespace:
        namespace.run("mount", "-t", "tmpfs", "-o", f"size={ROOM_KB}k", "tmpfs", disk)
        seen = namespace.seen(store)
        assert ingest(folder, "series.npy", store, namespace.enter)[0] == 0
        status, out, errors = ingest(folder, "noise.mkv", store, namespace.enter)
        assert (status, out) == (2, "")
        assert errors == [
            f"fishray: {store} cannot be written: No space left on device; free space there, or choose another; its "
            f"first {SHARD_FRAMES} frames stay, the same command goes on after them"
        ]
        assert open_store(seen).names == ("series",)

        namespace.run("mount", "-o", "remount,ro", disk)
        status, out, errors = ingest(folder, "noise.mkv", store, namespace.enter)
        assert (status, out, len(errors)) == (2, "", 1)
        assert "cannot be written" in errors[0]
        assert "Read-only file system" in errors[0]
        assert open_store(seen).names == ("series",)

        namespace.run("mount", "-o", f"remount,rw,size={ROOM_LATER_KB}k", disk)
        status, out, errors = ingest(folder, "noise.mkv", store, namespace.enter)
        assert (status, errors) == (0, [])
        assert out.startswith(f"noise: going on after its first {SHARD_FRAMES} frames, which are there")
        assert contents(seen) == contents(folder / "whole.zarr")
