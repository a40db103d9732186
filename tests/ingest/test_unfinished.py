import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from fishray.errors import RecordingError, RunError, StoreError
from fishray.ingest.unfinished import under_way
from fishray.store import open_store, writing
from fishray.store.writing import unfinished_path

ORIGIN = {"fps": 25.0, "source": "fish.mp4", "source_sha256": "ab", "settings": {}, "fishray": "0.1.0"}

ELSEWHERE = """
import sys
from pathlib import Path
from fishray.ingest.unfinished import under_way

with under_way(Path(sys.argv[1]), "tank", {"fps": 25.0}):
    print("writing", flush=True)
    sys.stdin.read()
"""
"""A process that writes the recording tank until its input ends."""


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "SHARD_BYTES", 120)  # of single pixels
    return tmp_path / "tank.zarr"


def write(path, frames, name="tank", error=None):
    """Write one-pixel frames from where it was stopped, then raise an error or finish."""
    with under_way(path, name, ORIGIN) as (writer, _):
        begun = writer.frame_count
        for position in range(begun, frames):
            writer.append(np.full((1, 1, 1), position % 251, np.uint8), [position / 8] if position else [])
        if error:
            raise error
        writer.finish(writer.speed)
    return begun


def hidden(path):
    return sorted(each.name for each in path.iterdir() if each.name not in ("zarr.json", "tank"))


def test_a_second_writer_is_refused_by_host_and_process(path):
    with under_way(path, "tank", ORIGIN) as (writer, _):
        holder = f"{socket.gethostname()}, process {os.getpid()}"
        with pytest.raises(StoreError, match=rf"recording tank of .* by another process \({holder}\); wait for it"):
            write(path, 3)
        writer.finish(np.zeros(3))
    assert open_store(path).names == ("tank",)
    assert hidden(path) == []


def test_a_writer_in_another_process_is_known_until_it_is_dead(path):
    command = [sys.executable, "-c", ELSEWHERE, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"writing\n"
        with pytest.raises(StoreError, match=rf"another process \(.*, process {other.pid}\)"):
            write(path, 3)
        other.kill()
    write(path, 3)
    assert open_store(path).names == ("tank",)


def test_other_recordings_are_written_meanwhile(path):
    with under_way(path, "tank", ORIGIN) as (writer, _):
        write(path, 3, "other")
        writer.finish(np.zeros(3))
    assert open_store(path).names == ("other", "tank")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), StoreError("disk full"), MemoryError()])
def test_what_is_on_disk_stays_for_the_next_call(path, error):
    with pytest.raises(type(error)):
        write(path, 250, error=error)
    assert hidden(path) == [".ingest-tank"]
    assert write(path, 300) == 240
    assert hidden(path) == []
    assert open_store(path).recording("tank").frame_count == 300


def test_a_full_disk_says_that_the_same_command_goes_on(path):
    with pytest.raises(
        StoreError, match=r"^disk full; its first 240 frames stay, the same command goes on after them$"
    ):
        write(path, 250, error=StoreError("disk full"))


@pytest.mark.parametrize("frames", [100, 250])
def test_of_a_bad_source_nothing_stays(path, frames):
    with pytest.raises(RecordingError):
        write(path, frames, error=RecordingError("cut off"))
    assert not path.exists()


def test_what_was_taken_over_is_left_to_the_other(path):
    """A holder that was cut off comes back, finds a later lease, and neither writes nor removes anything."""

    def come_back():
        with under_way(path, "tank", ORIGIN) as (_, lease):
            (unfinished_path(path, "tank") / f"lease-{lease.generation + 1}").write_text("{}")
            lease.check()

    with pytest.raises(KeyboardInterrupt):
        write(path, 130, error=KeyboardInterrupt())
    with pytest.raises(RunError, match="taken over by another process"):
        come_back()
    assert (unfinished_path(path, "tank") / "recording" / "frames").is_dir()
