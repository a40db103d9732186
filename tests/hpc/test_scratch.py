import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from hpc import scratch
from hpc.errors import ScratchError
from hpc.scratch import Scratch, remove_stale_scratch, scratch_root

HOLD = """
import sys
from hpc.scratch import Scratch
with Scratch(sys.argv[1]) as held:
    (held.path / "frames.npy").write_bytes(b"frames")
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """Scratch of this test's own."""
    monkeypatch.setattr(scratch.tempfile, "gettempdir", lambda: str(tmp_path))
    return scratch_root()


@contextmanager
def user_of(key, root):
    """Another process that holds a directory."""
    command = [sys.executable, "-c", HOLD, key]
    environment = os.environ | {"TMPDIR": str(root.parent)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process


def test_scratch_is_readable_to_its_user_alone(root):
    assert root.name == f"hpc-{os.getuid()}"
    assert root.stat().st_mode & 0o777 == 0o700
    with Scratch("run") as held:
        assert held.path == root / "run"
        assert held.path.stat().st_mode & 0o777 == 0o700


def test_a_link_in_the_place_of_scratch_is_refused(root):
    elsewhere = root.with_name("elsewhere")
    root.rename(elsewhere)
    root.symlink_to(elsewhere)
    with pytest.raises(ScratchError, match="belongs to somebody else; set TMPDIR"):
        scratch_root()


def test_the_last_user_removes_it(root):
    with Scratch("run") as one:
        (one.path / "frames.npy").write_bytes(b"frames")
        with Scratch("run") as other:
            assert other.path == one.path
        assert (one.path / "frames.npy").read_bytes() == b"frames"
    assert list(root.iterdir()) == []


def test_users_of_different_keys_do_not_meet(root):
    with Scratch("one") as one, Scratch("other") as other:
        assert one.path != other.path
        remove_stale_scratch()
        assert sorted(path.name for path in root.iterdir()) == ["one", "other"]


def test_what_is_used_by_another_process_stays_until_that_one_ends(root):
    with user_of("run", root) as process:
        with Scratch("run"):
            pass
        remove_stale_scratch()
        assert (root / "run" / "frames.npy").exists()
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.wait(30) == 0
    assert list(root.iterdir()) == []


def test_what_a_killed_process_leaves_is_swept(root):
    with user_of("run", root) as process:
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
    assert (root / "run" / "frames.npy").exists()
    remove_stale_scratch()
    assert list(root.iterdir()) == []


def test_a_sweep_spares_what_it_does_not_know(root):
    (root / "notes.txt").write_text("mine")
    (root / "folder").mkdir()
    remove_stale_scratch()
    assert sorted(path.name for path in root.iterdir()) == ["folder", "notes.txt"]


def test_entering_while_the_last_user_leaves_gives_a_directory_that_is_there(root, monkeypatch):
    lock = scratch.fcntl.flock
    left = []

    def leave_first(file, operation):
        if operation == scratch.fcntl.LOCK_SH and not left:  # between opening and locking, somebody removes it all
            left.append(True)
            scratch._remove_if_unused(root / "run")
            (root / "run").mkdir()  # and a third user begins anew
        lock(file, operation)

    monkeypatch.setattr(scratch.fcntl, "flock", leave_first)
    with Scratch("run"):
        assert left
        remove_stale_scratch()
        assert (root / "run" / "in-use").exists()


def test_leaving_spares_the_directory_of_whoever_came_after_a_removal(root, monkeypatch):
    opened = scratch.fcntl.flock

    def replace_first(file, operation):
        if operation & scratch.fcntl.LOCK_NB and not (root / "old").exists():
            (root / "run").rename(root / "old")
            newcomer.__enter__()
        opened(file, operation)

    newcomer = Scratch("run")
    with Scratch("run"):
        pass
    (root / "run").mkdir()
    (root / "run" / "in-use").touch()
    monkeypatch.setattr(scratch.fcntl, "flock", replace_first)
    remove_stale_scratch()
    assert (root / "run" / "in-use").exists()
    newcomer.__exit__()
