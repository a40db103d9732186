import errno
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from fishray.errors import RecordingError
from fishray.sequences.cache import FrameCache
from fishray.sequences.direct import StoredFrames
from fishray.store import new_recording, open_store
from hpc import scratch
from hpc.memory import Memory


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """Scratch of this test's own."""
    monkeypatch.setattr(scratch.tempfile, "gettempdir", lambda: str(tmp_path))
    return scratch.scratch_root()


@pytest.fixture
def recording(tank_store):
    return open_store(tank_store).recording("tank-1")


class Counted:
    """A recording that counts how often it is read."""

    def __init__(self, recording):
        self._recording = recording
        self.reads = []

    def __getattr__(self, name):
        return getattr(self._recording, name)

    def read_frames(self, start, stop):
        self.reads.append((start, stop))
        return self._recording.read_frames(start, stop)


def test_frames_are_those_of_the_recording(recording):
    with FrameCache("run") as cache:
        assert np.array_equal(cache.frames(recording), recording.read_frames(0, 400))


def test_frames_are_decoded_once_in_blocks_and_shared(recording, monkeypatch):
    monkeypatch.setattr("fishray.sequences.cache.BLOCK_FRAMES", 150)
    counted = Counted(recording)
    with FrameCache("run") as one, FrameCache("run") as other:
        first, second = one.frames(counted), other.frames(counted)
        assert counted.reads == [(0, 150), (150, 300), (300, 400)]
        assert first.filename == second.filename
        assert np.array_equal(second, recording.read_frames(0, 400))


def test_processes_that_start_together_decode_once(tank_store, recording, root):
    code = """
        import sys
        from pathlib import Path
        from hpc import scratch
        from fishray.sequences.cache import FrameCache
        from fishray.store import Recording, open_store
        read = Recording.read_frames
        def told(self, start, stop):
            print("decoded", flush=True)
            return read(self, start, stop)
        Recording.read_frames = told
        with FrameCache("run") as cache:
            frames = cache.frames(open_store(Path(sys.argv[1])).recording("tank-1"))
            print("sum", int(frames.sum()), flush=True)
            sys.stdin.readline()
        """
    command = [sys.executable, "-c", dedent(code), str(tank_store)]
    environment = os.environ | {"TMPDIR": str(root.parent)}
    with ExitStack() as stack:
        users = [
            stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
            )
            for _ in range(2)
        ]
        said = [user.stdout.readline() for user in users]
        said += [user.stdout.readline() for user, line in zip(users, said, strict=True) if line == "decoded\n"]
        for user in users:  # until here both hold the frames
            user.communicate("\n", timeout=60)
    total = f"sum {recording.read_frames(0, 400).sum()}\n"
    assert sorted(said) == ["decoded\n", total, total]
    assert list(root.iterdir()) == []


def test_nobody_can_write_to_shared_frames(recording):
    with FrameCache("run") as cache:
        frames = cache.frames(recording)
        with pytest.raises(ValueError, match="read-only"):
            frames[0, 0, 0] = 1


def test_a_decoding_that_was_cut_off_begins_anew(recording):
    with FrameCache("run") as cache:
        (cache.path / "tank-1.part").write_bytes(b"half")
        assert np.array_equal(cache.frames(recording), recording.read_frames(0, 400))


def test_frames_are_gone_with_the_last_user(recording, root):
    with FrameCache("run") as one:
        with FrameCache("run") as other:
            other.frames(recording)
        assert (root / "run" / "tank-1.npy").exists()
        frames = one.frames(recording)
    assert list(root.iterdir()) == []
    assert frames.shape == (400, 24, 32)


def test_frames_that_are_still_mapped_outlive_their_file(recording):
    with FrameCache("run") as cache:
        frames = cache.frames(recording)
    assert np.array_equal(frames, recording.read_frames(0, 400))


# too little room

BYTES = 400 * 24 * 32
"""Of the frames of a recording."""


@pytest.fixture
def memory(tmp_path):
    """Shared memory of this test's own."""
    path = tmp_path / "memory"
    path.mkdir()
    return path


@pytest.fixture
def full(monkeypatch):
    """Fill folders: no file in them gets room."""
    folders = []

    def reserve(descriptor, start, count):
        if any(Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(folder) for folder in folders):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", reserve)
    return folders


def with_free(count):
    return lambda: Memory(10 * count, count)


def test_where_the_nodes_disk_is_full_frames_lie_in_shared_memory(recording, root, memory, full):
    full.append(root)
    counted = Counted(recording)
    settings = {"shared_memory": memory, "memory": with_free(2 * BYTES)}
    with FrameCache("run", **settings) as one, FrameCache("run", **settings) as other:
        frames = one.frames(counted)
        assert Path(frames.filename).is_relative_to(memory)
        assert np.array_equal(other.frames(counted), recording.read_frames(0, 400))
        assert counted.reads == [(0, 400)]
        assert one.notice == ""
    assert [path for path in (*root.rglob("*"), *memory.rglob("*")) if path.is_file()] == []


@pytest.mark.parametrize("lacks", ["memory of the job", "shared memory"])
def test_frames_that_fit_nowhere_are_read_from_the_store_and_it_is_said(recording, root, memory, full, lacks, caplog):
    full += [root, memory] if lacks == "shared memory" else [root]
    free = with_free(2 * BYTES if lacks == "shared memory" else 2 * BYTES - 1)
    with FrameCache("run", shared_memory=memory, memory=free) as cache:
        frames = cache.frames(recording)
        assert isinstance(frames, StoredFrames)
        assert frames.shape == (400, 24, 32)
        assert np.array_equal(np.asarray(frames), recording.read_frames(0, 400))
        assert cache.notice.startswith(
            "the frames of tank-1 are read from the store, which takes longer: a copy takes 0 MB, "
        )
        assert "set TMPDIR to a folder on this node with more room" in cache.notice
        assert [record.message.split(" are")[0] for record in caplog.records] == ["the frames of tank-1"]
        assert [path.name for path in (root / "run").iterdir() if path.suffix] == []


def test_a_recording_of_speed_alone_has_no_frames_to_share(tmp_path):
    path = tmp_path / "series.zarr"
    with new_recording(path, "tetra", {"fps": 30.0}) as writer:
        writer.finish(np.zeros(10))
    with (
        FrameCache("run") as cache,
        pytest.raises(RecordingError, match="tetra holds speed alone, no frames; leave out"),
    ):
        cache.frames(open_store(path).recording("tetra"))
