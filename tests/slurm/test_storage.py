"""A sweep on Slurm whose storage fills up, or may no longer be written: it says so, and goes on when that is mended."""

import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sealing import seal_command
from slurm_cluster import slurm_cluster
from slurm_sweep import SWEEP, SlurmSweep, assert_that_nothing_was_lost

pytestmark = pytest.mark.slow


@contextmanager
def small_disk():
    """A file system of 48 MB that machines made from now on see at the same path."""
    path = Path(tempfile.mkdtemp(prefix="small-disk-", dir="/var/tmp"))  # /tmp is each machine's own
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
        path.rmdir()


@pytest.fixture(scope="module")
def place(slurm_is_here, tmp_path_factory):
    """A cluster, and a small disk that all of its nodes see."""
    with small_disk() as disk, slurm_cluster(tmp_path_factory.mktemp("slurm") / "cluster") as cluster:
        yield cluster, disk


def fill(cluster, disk):
    with suppress(OSError), (disk / "filler").open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def unfill(cluster, disk):
    (disk / "filler").unlink()


def seal(cluster, disk):
    """Put a read-only view of it over it, on every node: what is open stays open."""
    for node in ("login", *cluster.nodes):
        cluster.run(*seal_command(disk, disk), node=node)


def unseal(cluster, disk):
    for node in ("login", *cluster.nodes):
        cluster.run("umount", "--lazy", disk, node=node)


def has_failed(cluster, job, disk, fault):
    """Whether a job has; until then, what is freed on a disk that is full is taken as well."""
    if fault is fill:
        fill(cluster, disk)
    return cluster.jobs()[job].state == "FAILED"


FAULTS = ((fill, unfill, "No space left on device"), (seal, unseal, "Read-only file system"))


def test_a_sweep_whose_storage_fails_says_so_frees_its_nodes_and_goes_on(place):
    cluster, disk = place
    few = {"lstm": SWEEP["families"]["lstm"] | {"trials": 4}}
    sweep = SlurmSweep(cluster, "storage", SWEEP | {"families": few}, place=disk)
    for fault, mend, words in FAULTS:
        sweep.hold()
        job = sweep.submit(f"--output={cluster.shared}/%j.log")
        sweep.a_busy_worker()
        fault(cluster, disk)
        sweep.let_go_on()
        sweep.wait_for("its driver's end", lambda: has_failed(cluster, job, disk, fault))  # noqa: B023
        log = (cluster.shared / f"{job}.log").read_text()
        assert f"({words}); what is saved is whole. When that is mended, go on: fishray tune sweep.yaml" in log
        assert "Traceback" not in log
        sweep.wait_for("the end of its workers", lambda: not sweep.jobs())
        mend(cluster, disk)
    sweep.submit(f"--output={cluster.shared}/%j.log")
    sweep.finish()
    assert_that_nothing_was_lost(sweep)
