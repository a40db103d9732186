"""A small virtual environment of its own, packed, unpacked by the lines of a worker's job, and run from there."""

import json
import os
import shlex
import signal
import subprocess
import sys
import tarfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hpc import packing
from hpc.errors import ClusterError
from hpc.packing import identify, pack_environment, packed_identity
from hpc.scratch import remove_stale_scratch
from hpc.submission import unpack_lines

SAY = """
import json, sys, fish, elsewhere
print(json.dumps([sys.prefix, fish.__file__, fish.__cached__, elsewhere.__file__]))
"""
BOUND_S = 60


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A virtual environment with a compiled package of one file, and another that is installed as editable."""
    folder = tmp_path_factory.mktemp("made")
    prefix = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
    packages = next(prefix.glob("lib/python*/site-packages"))
    (packages / "fish").mkdir()
    (packages / "fish" / "__init__.py").write_text("COUNT = 6\n")
    install(packages, "fish", "1.0")
    source = folder / "source"
    source.mkdir()
    (source / "elsewhere.py").write_text("")
    (packages / "elsewhere.pth").write_text(f"{source}\n")
    run_python(prefix, "import fish, elsewhere")
    return prefix


@pytest.fixture
def pack(made, tmp_path):
    """The environment, packed on shared storage."""
    (tmp_path / "shared").mkdir()
    return pack_environment(made, tmp_path / "shared" / "environment.tar")


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """A node's own disk, on a path that a shell must quote."""
    monkeypatch.setattr("hpc.scratch.SHORT", tmp_path)
    monkeypatch.setattr("hpc.scratch.tempfile.gettempdir", lambda: str(tmp_path))
    path = tmp_path / "node's disk"
    path.mkdir()
    return path


def as_a_user():
    """An environment without what changes how Python runs."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


def run_python(prefix, code):
    subprocess.run([prefix / "bin" / "python", "-c", code], check=True, env=as_a_user())


def install(packages, name, version):
    """Note a package as pip does."""
    info = packages / f"{name}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "RECORD").write_text(f"{name}/__init__.py,{version},10\n")


def left_on(scratch):
    root = scratch / f"hpc-{os.getuid()}"
    return sorted(path.name for path in root.iterdir()) if root.exists() else []


@contextmanager
def job(pack, scratch, *last):
    """A shell that does what a worker's job script does, in a process group of its own."""
    lines = ["#!/bin/bash", *unpack_lines(pack.path, scratch), 'echo "$HPC_ENVIRONMENT"', *last]
    script = scratch.parent / "job.sh"
    script.write_text("\n".join([*lines, ""]))
    options = {"stdout": subprocess.PIPE, "text": True, "start_new_session": True, "env": as_a_user()}
    with subprocess.Popen(["bash", script], **options) as shell:
        try:
            yield shell
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)


def test_a_packed_environment_runs_from_where_it_is_unpacked(made, pack, scratch):
    with job(pack, scratch, f'"$HPC_PYTHON" -c {shlex.quote(SAY)}') as shell:
        where, said = shell.communicate(timeout=BOUND_S)[0].splitlines()
    unpacked = Path(where)
    prefix, fish, compiled, elsewhere = json.loads(said)
    assert unpacked.parent == scratch / f"hpc-{os.getuid()}"
    assert prefix == where
    assert Path(fish).is_relative_to(unpacked)
    assert Path(compiled).is_relative_to(unpacked)
    assert elsewhere == str(made.parent / "source" / "elsewhere.py")  # where it is edited
    assert shell.returncode == 0
    assert left_on(scratch) == []


def test_what_was_compiled_is_not_compiled_again(made, pack, scratch):
    look = "import os, sys, fish; print(os.stat(fish.__cached__).st_mtime_ns)"
    with job(pack, scratch, f'"$HPC_PYTHON" -c {shlex.quote(look)}') as shell:
        written_ns = int(shell.communicate(timeout=BOUND_S)[0].splitlines()[1])
    cached = next(made.glob("lib/python*/site-packages/fish/__pycache__/*.pyc"))
    assert written_ns == cached.stat().st_mtime_ns // 10**9 * 10**9


@pytest.mark.parametrize("status", [0, 3])
def test_a_job_has_the_exit_status_of_what_it_ran(pack, scratch, status):
    with job(pack, scratch, f'"$HPC_PYTHON" -c "exit({status})"') as shell:
        shell.communicate(timeout=BOUND_S)
    assert shell.returncode == status
    assert left_on(scratch) == []


DRAIN = """
import pathlib, signal, sys, time
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
print("ready", flush=True)
while not told:
    time.sleep(0.05)
time.sleep(0.5)
print(pathlib.Path(sys.prefix).exists(), flush=True)
"""
"""A worker that takes half a second to end in good order, and looks whether its environment is still there."""


@pytest.mark.parametrize("whom", ["the shell alone", "every process"])
def test_a_signal_leaves_the_environment_until_what_runs_has_ended(pack, scratch, tmp_path, whom):
    (tmp_path / "drain.py").write_text(DRAIN)
    child = f'"$HPC_PYTHON" {tmp_path / "drain.py"}'
    with job(pack, scratch, child) as shell:
        shell.stdout.readline()
        assert shell.stdout.readline() == "ready\n"
        if whom == "every process":
            os.killpg(shell.pid, signal.SIGTERM)
        else:
            os.kill(shell.pid, signal.SIGTERM)
            time.sleep(0.5)
            assert shell.poll() is None
            assert len(left_on(scratch)) == 1
            os.killpg(shell.pid, signal.SIGTERM)
        assert shell.stdout.readline() == "True\n"
        assert shell.wait(BOUND_S) == 0
    assert left_on(scratch) == []


def test_what_a_killed_shell_leaves_is_removed_by_the_next_worker_and_no_sooner(pack, scratch):
    with job(pack, scratch, "sleep 1000") as shell:
        name = Path(shell.stdout.readline().strip()).name
        remove_stale_scratch(scratch)
        assert left_on(scratch) == [name]
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait(BOUND_S)
    assert left_on(scratch) == [name]
    until_s = time.monotonic() + BOUND_S
    while left_on(scratch) and time.monotonic() < until_s:  # what the shell ran may be dying still
        remove_stale_scratch(scratch)
    assert left_on(scratch) == []


def test_a_pack_that_is_not_there_ends_the_job_and_leaves_nothing(pack, scratch):
    pack.path.unlink()
    with job(pack, scratch, "echo never") as shell:
        assert shell.communicate(timeout=BOUND_S)[0] == ""
    assert shell.returncode == 1
    assert left_on(scratch) == []


def test_a_scratch_that_is_a_link_is_refused(pack, scratch, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (scratch / f"hpc-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with job(pack, scratch, "echo never") as shell:
        said = shell.communicate(timeout=BOUND_S)[0]
    assert said == f"{scratch}/hpc-{os.getuid()} belongs to somebody else\n"
    assert shell.returncode == 1


def test_a_pack_is_readable_to_its_owner_alone_and_stands_alone(pack):
    assert pack.is_new
    assert pack.path.stat().st_mode & 0o777 == 0o600
    assert pack.size_bytes == pack.path.stat().st_size
    assert list(pack.path.parent.iterdir()) == [pack.path]


def test_an_environment_is_packed_once(made, pack):
    before = pack.path.stat()
    again = pack_environment(made, pack.path)
    assert not again.is_new
    assert os.path.samestat(pack.path.stat(), before)
    assert packed_identity(pack.path) == identify(made)


def change_version(packages):
    install(packages, "fish", "1.1")


def rewrite_module(packages):
    (packages / "single.py").write_text("VALUE = 2\n")


def move_editable(packages):
    (packages / "elsewhere.pth").write_text("/another/place\n")


@pytest.mark.parametrize("change", [change_version, rewrite_module, move_editable])
def test_a_changed_environment_is_packed_anew(made, tmp_path, change):
    prefix = copy_of(made, tmp_path)
    first = pack_environment(prefix, tmp_path / "environment.tar")
    change(next(prefix.glob("lib/python*/site-packages")))
    second = pack_environment(prefix, tmp_path / "environment.tar")
    assert (first.is_new, second.is_new) == (True, True)


def test_compiling_changes_no_environment(made, tmp_path):
    prefix = copy_of(made, tmp_path)
    packages = next(prefix.glob("lib/python*/site-packages"))
    (packages / "single.py").write_text("VALUE = 1\n")
    before = identify(prefix)
    run_python(prefix, "import single")
    assert (packages / "__pycache__").exists()
    assert identify(prefix) == before


def copy_of(made, tmp_path):
    prefix = tmp_path / "venv"
    subprocess.run(["cp", "-a", made, prefix], check=True)
    return prefix


def test_a_file_in_the_place_of_a_pack_is_replaced(made, tmp_path):
    (tmp_path / "environment.tar").write_bytes(b"half")
    assert pack_environment(made, tmp_path / "environment.tar").is_new
    assert packed_identity(tmp_path / "environment.tar") == identify(made)


def test_links_that_lead_out_lead_to_the_same_place_and_others_along(made, tmp_path):
    prefix = copy_of(made, tmp_path)
    (prefix / "out").symlink_to("../elsewhere")
    (prefix / "within").symlink_to(prefix / "lib" / "deep")
    pack_environment(prefix, tmp_path / "environment.tar")
    with tarfile.open(tmp_path / "environment.tar") as tar:
        links = {member.name: member.linkname for member in tar if member.issym()}
    assert links["out"] == str(tmp_path / "elsewhere")
    assert links["within"] == "lib/deep"
    assert (tmp_path / "venv" / "bin" / links["bin/python"]).resolve() == Path(sys.executable).resolve()


def test_an_environment_that_changes_meanwhile_is_refused_and_leaves_the_earlier_pack(made, tmp_path, monkeypatch):
    target = tmp_path / "environment.tar"
    target.write_bytes(b"earlier")
    found = iter(["one", "another"])
    monkeypatch.setattr(packing, "identify", lambda _: next(found))
    with pytest.raises(ClusterError, match="was changed while it was packed"):
        pack_environment(made, target)
    assert target.read_bytes() == b"earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["environment.tar"]


def test_a_folder_that_is_not_there_is_named(made, tmp_path):
    with pytest.raises(ClusterError, match=r"cannot be packed into .*No such file.*environment: shared"):
        pack_environment(made, tmp_path / "missing" / "environment.tar")


def test_an_environment_of_condas_is_refused(tmp_path):
    (tmp_path / "conda-meta").mkdir()
    with pytest.raises(ClusterError, match=r"conda-pack.*cluster: \{environment: shared\}"):
        pack_environment(tmp_path, tmp_path / "environment.tar")


def test_the_systems_python_is_refused(tmp_path):
    with pytest.raises(ClusterError, match=r"no virtual environment.*python3 -m venv"):
        pack_environment(tmp_path, tmp_path / "environment.tar")
