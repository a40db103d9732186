"""What Slurm's signals do to a packed environment, while a job still works in it."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from slurm_machine import ClusterError

from hpc.packing import pack_environment
from hpc.submission import unpack_lines

SOON_S = 240
SLURM_CONF = {"KillWait": "120"}

DRAIN = """
import pathlib, signal, sys, time
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
log = pathlib.Path(sys.argv[1])
log.write_text("ready")
while not told:
    time.sleep(0.05)
time.sleep(1)
log.write_text(f"environment there: {pathlib.Path(sys.prefix).exists()}")
"""
"""A worker that takes a second to end in good order, which is well within the cluster's KillWait."""


@pytest.fixture
def job(cluster, tmp_path):
    """Submit ada's job, whose environment is unpacked on n1; its id, its log, and the folder on n1's disk."""
    folder = cluster.shared / tmp_path.name
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    pack = pack_environment(folder / "venv", folder / "environment.tar")
    pack.path.chmod(0o644)
    (folder / "drain.py").write_text(DRAIN)
    log = folder / "log"

    def submit():
        uid = cluster.home("ada").stat().st_uid
        lines = [line.replace(f"hpc-{os.getuid()}", f"hpc-{uid}") for line in unpack_lines(pack.path, Path("/tmp"))]
        command = f'srun "$HPC_PYTHON" {folder / "drain.py"} {log}'
        script = "\n".join(["#!/bin/bash", *lines, command, ""])
        options = ("--nodelist=n1", "--no-requeue", f"--output={folder / 'output'}")
        job_id = cluster.run("sbatch", "--parsable", *options, stdin=script, user="ada", folder=folder).strip()
        wait_until(log.exists)
        return job_id, log, cluster.tmp("n1") / f"hpc-{uid}"

    return submit


def wait_until(condition):
    until_s = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.05)


def test_a_cancelled_job_keeps_its_environment_until_it_has_ended(cluster, job):
    job_id, log, scratch = job()
    assert len(list(scratch.iterdir())) == 1
    cluster.run("scancel", job_id)
    wait_until(lambda: log.read_text() == "environment there: True")
    wait_until(lambda: list(scratch.iterdir()) == [])


def test_what_a_killed_job_leaves_is_removed_by_the_next_worker(cluster, job):
    job_id, _, scratch = job()
    (left,) = scratch.iterdir()
    sweep = "from pathlib import Path; from hpc.scratch import remove_stale_scratch; remove_stale_scratch(Path('/tmp'))"
    cluster.run(sys.executable, "-c", sweep, node="n1", user="ada")
    assert left.exists()  # its job lives
    running = [each for each in cluster.processes("n1", daemons=False) if "slurmstepd" not in each.command]
    for process in sorted(running, key=lambda process: "slurm_script" not in process.command):  # the shell first
        with suppress(ClusterError, ProcessLookupError):  # it went with another
            cluster.kill(process.pid)
    cluster.wait_for_job(job_id, {"FAILED", "NODE_FAIL", "CANCELLED"}, SOON_S)
    assert left.exists()
    wait_until(lambda: not cluster.processes("n1", daemons=False))  # what is dying still holds its files
    cluster.run(sys.executable, "-c", sweep, node="n1", user="ada")
    assert not left.exists()
