"""`fishray doctor --on slurm` on a cluster that is well, and on one that is not."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from slurm_cluster import LOGIN, NODES
from slurm_files import CPUS, GPUS

FISHRAY = Path(sys.executable).with_name("fishray")
BOUND_S = 600
"""For a command whose job imports torch, on a loaded machine; it takes about 5 s."""
SLURM_CONF = {"KillWait": "120"}
"""A job that is cancelled while it ends puts its files away, however long that takes."""
SLOW = ("importing torch took ", "its clock is ")
"""Warnings that a loaded machine may give rise to."""

WORKER = {"cpus": 2, "memory_gb": 3.0, "time": "01:00:00", "driver": {"cpus": 1, "memory_gb": 1.0, "time": "02:00:00"}}


@pytest.fixture
def folder(cluster, request):
    """A folder of ada's on shared storage, in which nothing but the site's profile may be at the end."""
    path = cluster.shared / request.node.name.replace("[", "-").rstrip("]").replace(" ", "-")
    path.mkdir()
    os.chown(path, cluster.home("ada").stat().st_uid, -1)
    yield path
    assert [each.name for each in path.iterdir() if each.name not in ("site.yaml", "log")] == []


@pytest.fixture
def doctor(cluster, folder):
    """Let ada look at a cluster; the exit status, and the lines."""

    def look(*words, program=(FISHRAY,), **settings):
        write_profile(folder, settings)
        done = cluster.attempt(
            *program, "doctor", "--cluster", "site.yaml", *words, user="ada", folder=folder, timeout_s=BOUND_S
        )
        assert done.errors == ""
        return done.status, done.output.splitlines()

    return look


def write_profile(folder, settings):
    (folder / "site.yaml").write_text(json.dumps(WORKER | settings))


def of_level(level, lines):
    """Texts of the findings of a level, but for those on a slow machine."""
    return [line[11:] for line in lines if line.startswith(f"  {level} ") and not line[11:].startswith(SLOW)]


def jobs_of_ada(cluster):
    return [job for job in cluster.jobs().values() if job.user == "ada"]


def test_a_cluster_that_is_well(cluster, doctor):
    status, lines = doctor()
    assert status == 0
    assert of_level("failure", lines) == []
    assert of_level("warning", lines) == [
        "sacct is off: how a job ended is known from squeue and exit markers alone",
    ]
    place = next(line for line in lines if line.startswith(" compute node "))
    assert place in [f" compute node {node} (asked 2 CPUs, 3 GB)" for node in NODES]
    fine = of_level("ok", lines)
    assert "a worker (2 CPUs, 3 GB, 1 h) fits on 3 nodes of low" in fine
    assert "the driver (1 CPU, 1 GB, 2 h) fits on 3 nodes of low" in fine
    assert f"{cluster.address(LOGIN)} has free ports" in fine
    assert f"{cluster.address(place.split()[2])} has free ports" in fine
    assert any(text.endswith("CPUs are ours; 3 GB of memory") for text in fine)
    assert "runs can be written from there, moves are whole" in fine
    assert any(text.startswith(f"it reaches the node that you are on ({cluster.address(LOGIN)}:") for text in fine)
    count = len([line for line in lines if line.startswith("  warning ")])
    warnings = "1 warning" if count == 1 else f"{count} warnings"
    assert lines[-1] == f"No failure, {warnings}. Next: fishray tune sweeps/small.yaml --on slurm"


def test_where_sacct_tells_of_jobs_there_is_no_warning(accounting_cluster):
    write_profile(accounting_cluster.shared, {})
    words = (FISHRAY, "doctor", "--cluster", "site.yaml")
    done = accounting_cluster.attempt(*words, user="ada", timeout_s=BOUND_S)
    assert (done.status, done.errors) == (0, "")
    assert of_level("warning", done.output.splitlines()) == []


def test_a_partition_that_is_not_there(cluster, doctor):
    before = len(jobs_of_ada(cluster))
    status, lines = doctor(partition="hihg")
    assert status == 1
    assert of_level("failure", lines) == [
        "a worker: there is no partition hihg; did you mean high? → cluster: {partition: NAME}, one of low, high"
    ]
    assert "not examined: no job of ours could begin" in of_level("warning", lines)
    assert len(jobs_of_ada(cluster)) == before


def test_more_time_than_a_partition_gives(cluster, doctor):
    cluster.run("scontrol", "update", "PartitionName=high", "MaxTime=30")
    try:
        status, lines = doctor(partition="high")
    finally:
        cluster.run("scontrol", "update", "PartitionName=high", "MaxTime=UNLIMITED")
    assert status == 1
    assert of_level("failure", lines) == [
        'a worker asks for 1 h, partition high gives at most 30 min → cluster: {time: "00:30:00"}, or another partition'
    ]


def test_more_than_any_node_has(doctor):
    status, lines = doctor(cpus=CPUS + 1, gpus=GPUS)
    assert status == 1
    assert of_level("failure", lines) == [
        f"a worker asks for 2 GPUs, {CPUS + 1} CPUs, 3 GB, which no node of low has: the largest has {GPUS} GPUs, "
        f"{CPUS} CPUs, 6 GB → less in cluster, or another partition"
    ]


def test_what_sbatch_itself_refuses(doctor):
    status, lines = doctor(sbatch={"constraint": "a-feature-that-no-node-has"})
    assert status == 1
    told = of_level("failure", lines)
    assert len(told) == 1
    assert told[0].startswith("Slurm would refuse a worker: ")
    assert told[0].endswith("→ mend it in cluster (partition, account, sbatch)")


def test_runs_that_cannot_be_written(doctor, folder):
    (folder / "sealed").mkdir()  # root's
    try:
        status, lines = doctor("--runs", "sealed/runs")
    finally:
        (folder / "sealed").rmdir()
    assert status == 1
    assert of_level("failure", lines) == [
        "sealed/runs cannot be written (Permission denied) → put runs elsewhere: --runs FOLDER"
    ]
    assert "not examined: no job of ours could begin" in of_level("warning", lines)


def test_runs_that_compute_nodes_do_not_see(doctor):
    status, lines = doctor("--runs", "/tmp/mine")
    assert status == 1
    told = of_level("failure", lines)
    assert len(told) == 1
    assert told[0].endswith(
        "left no log: does its node see /tmp/mine? → put runs on storage that every node sees: --runs FOLDER"
    )


def test_lines_of_the_setup_that_fail(doctor):
    status, lines = doctor(setup=["module load cuda/99", "export FINE=1", "ls /nonexistent || true"])
    assert status == 1
    assert of_level("failure", lines) == [
        "cluster.setup: module load cuda/99 (status 127) → mend it; if it may fail, append: || true"
    ]
    assert any(text.startswith("torch ") for text in of_level("ok", lines))  # the rest was looked at all the same


def test_a_setup_that_ends_the_job(doctor):
    status, lines = doctor(setup=["echo no such module", "exit 3"])
    assert status == 1
    assert of_level("failure", lines) == ["cluster.setup: exit 3 (status 3) → mend it; if it may fail, append: || true"]


def test_a_python_that_is_not_there(doctor):
    status, lines = doctor(python="/opt/nowhere/bin/python")
    assert status == 1
    told = of_level("failure", lines)
    assert len(told) == 1
    assert "gave no answer (FAILED): " in told[0]
    assert "/opt/nowhere/bin/python: No such file or directory" in told[0]


def test_gpus_that_torch_cannot_use(doctor):
    status, lines = doctor(gpus=1)
    if any("torch" in text and "sees 1 of 1 GPU" in text for text in of_level("ok", lines)):
        pytest.skip("the GPU of that name is a real one here")
    assert status == 1
    told = of_level("failure", lines)
    assert len(told) == 1
    assert told[0].startswith("granted 1 GPU, torch sees 0 (torch ")
    assert told[0].endswith('→ see README, "Your site\'s torch"')


def test_a_node_that_is_full(cluster, doctor):
    cluster.run("scontrol", "update", "PartitionName=high", "Nodes=n1")
    busy = cluster.run(
        "sbatch", "--parsable", "--exclusive", "--nodelist=n1", "--output=/dev/null", "--wrap=sleep 3600"
    ).strip()
    cluster.wait_for_job(busy, "RUNNING", BOUND_S)
    try:
        status, lines = doctor("--wait", 10, partition="high")
    finally:
        cluster.run("scancel", busy)
        cluster.run("scontrol", "update", "PartitionName=high", f"Nodes={','.join(NODES)}")
    assert status == 0  # nothing is known to be wrong
    told = of_level("warning", lines)[-1]
    words = told.split()
    assert words[:3] == ["not", "examined:", "job"]
    assert told.endswith(" waited 10 s in the queue (Resources) → wait longer: --wait SECONDS")
    cluster.wait_for_job(words[3], "CANCELLED", BOUND_S)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_what_is_interrupted_leaves_no_job(cluster, folder, number):
    write_profile(folder, {"setup": ["sleep 3600"]})
    words = (FISHRAY, "doctor", "--cluster", "site.yaml")
    before = {job.id for job in jobs_of_ada(cluster)}
    command = cluster.start(*words, log=folder / "log", user="ada", folder=folder)
    until_s = time.monotonic() + BOUND_S
    while not (begun := [job for job in jobs_of_ada(cluster) if job.id not in before and job.state == "RUNNING"]):
        assert time.monotonic() < until_s
        time.sleep(0.1)
    command.send_signal(number)
    assert command.wait(BOUND_S) == 130
    cluster.wait_for_job(begun[0].id, "CANCELLED", BOUND_S)
    assert "Stopped; nothing is left of it." in (folder / "log").read_text()


@pytest.fixture
def own_python(cluster, tmp_path_factory):
    """A small virtual environment on shared storage, in which what is installed here is installed as editable."""
    prefix = cluster.shared / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
    packages = next(prefix.glob("lib/python*/site-packages"))
    (packages / "here.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in packages_here()))
    yield prefix / "bin" / "python"
    shutil.rmtree(prefix)


def packages_here():
    """Folders from which this Python imports what was installed."""
    return [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]


def test_a_packed_environment_is_unpacked_on_the_node_and_gone_afterwards(cluster, doctor, own_python):
    main = (own_python, "-c", "from fishray.cli import main; main()")
    status, lines = doctor(program=main, environment="packed")
    assert (status, of_level("failure", lines)) == (0, [])
    node = next(line for line in lines if line.startswith(" compute node ")).split()[2]
    left = [path.name for path in cluster.tmp(node).glob("hpc-*/environment-*")]
    assert left == []
