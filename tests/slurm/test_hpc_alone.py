"""hpc without fishray: the ten lines of the README, and what they are promised."""

import json
import os
import re
import sys
import textwrap
import time
from pathlib import Path

import pytest
from slurm_cluster import CHECKOUT, LOGIN
from slurm_sweep import everything_in

import hpc

SECTION = "## hpc: elastic Ray on Slurm for any program"
BOUND_S, LOOK_EVERY_S = 600, 0.2

NAPS = """
import os, ray, time
from hpc import ClusterSettings, RayOnSlurm

@ray.remote
def nap(until):
    while not os.path.exists(until): time.sleep(0.1)

with RayOnSlurm(ClusterSettings(workers={"max": 3}, cpus=1, memory_gb=4, idle_s=3), "runs/naps") as cluster:
    waiting = [nap.remote(os.path.abspath(name)) for name in ("noon", "noon", "evening")]
    while waiting:
        cluster.offer([{"cpus": 1}] * len(waiting))
        done, waiting = ray.wait(waiting, timeout=1)
    print("slept")
"""

HALVES = """
import glob, json, os, ray, tempfile, time
from hpc import ClusterSettings, RayOnSlurm

@ray.remote(num_cpus=1, num_gpus=0.5)
def look(folder):
    began_s = time.time()
    tempfile.mkdtemp(prefix="look-", dir=folder)
    while len(glob.glob(f"{folder}/look-*")) < 2:  # in vain, if they took turns
        time.sleep(0.1)
    time.sleep(1)
    return os.environ["CUDA_VISIBLE_DEVICES"], began_s, time.time()

settings = ClusterSettings(workers={"max": 1}, gpus=1, cpus=2, memory_gb=4, sbatch={"nodelist": "n1"})
with RayOnSlurm(settings, "runs/halves") as cluster:
    looks = [look.remote(os.getcwd()) for _ in range(4)]
    while ray.wait(looks, num_returns=4, timeout=1)[1]:
        cluster.offer([{"cpus": 1, "gpus": 0.5}] * 4)
    print(json.dumps(ray.get(looks)))
"""

NOWHERE = """
import time
from hpc import ClusterSettings, RayOnSlurm, workers

workers.RETRY_S = 1

with RayOnSlurm(ClusterSettings(partition="nowhere"), "runs/nowhere") as cluster:
    while True:
        cluster.offer([{"cpus": 1}])
        time.sleep(1)
"""


def example():
    """The code of the README's section."""
    _, _, rest = (CHECKOUT / "README.md").read_text().partition(f"\n{SECTION}\n")
    (code,) = re.findall(r"```python\n(.*?)```", rest.partition("\n## ")[0], re.DOTALL)
    return code


class Program:
    """A Ray program of ada's in a small job of its own."""

    def __init__(self, cluster, name, code):
        self.cluster, self.folder = cluster, cluster.shared / name
        self.folder.mkdir()
        (self.folder / "program.py").write_text(code)
        os.chown(self.folder, cluster.home("ada").stat().st_uid, -1)
        options = ("--mem=1G", "--cpus-per-task=1", "--output=log", "--wrap=exec python program.py")
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        said = cluster.run("sbatch", "--parsable", *options, user="ada", folder=self.folder, PATH=path)
        self.job = said.strip()

    @property
    def log(self):
        return (self.folder / "log").read_text() if (self.folder / "log").exists() else ""

    def state(self):
        return self.cluster.jobs()[self.job].state

    def workers(self, *states):
        """Jobs that it has submitted, those in some states."""
        jobs = self.cluster.jobs().values()
        found = [each for each in jobs if each.name == "ray" and int(each.id) > int(self.job)]
        return [each.id for each in found if not states or each.state in states]

    def wait_for(self, what, condition):
        until_s = time.monotonic() + BOUND_S
        while not condition():
            assert time.monotonic() < until_s, f"{what}: {self.log}\n{self.cluster.jobs()}"
            time.sleep(LOOK_EVERY_S)

    def remains(self):
        """Of its processes, sockets and files, a moment after its end."""
        cluster, found = self.cluster, [*self.workers("PENDING", "RUNNING", "COMPLETING")]
        for node in (LOGIN, *cluster.nodes):
            processes = cluster.processes(node, daemons=False)
            pids = {each.pid_inside for each in processes}
            found += [each.command for each in processes]
            found += [f"port {each.port}" for each in cluster.listening(node) if each.pid_inside in pids]
            found += [str(path) for path in cluster.tmp(node).glob("hpc-*/*")]
        (run,) = self.folder.glob("runs/*")
        return found + [path.name for path in everything_in(run) if path.name != "head.json"]


def test_the_example_has_no_more_than_ten_lines_and_stands_in_the_package_too():
    assert len([line for line in example().splitlines() if line]) <= 10
    assert textwrap.indent(example(), "    ") in hpc.__doc__


@pytest.mark.slow
def test_the_ten_lines_of_the_readme(cluster):
    program = Program(cluster, "squares", example())
    at_once = 0
    until_s = time.monotonic() + BOUND_S
    while program.state() in ("PENDING", "RUNNING", "COMPLETING"):
        at_once = max(at_once, len(program.workers("PENDING", "RUNNING")))
        assert time.monotonic() < until_s, program.log
        time.sleep(LOOK_EVERY_S)
    assert program.state() == "COMPLETED", program.log
    printed = [json.loads(line) for line in program.log.splitlines()]
    assert sorted(number for line in printed for number in line) == [n * n for n in range(100)]
    assert at_once == 2  # as many as there may be, of the 50 that a hundred tasks could use
    assert len(program.workers()) == 2
    (run,) = program.folder.glob("runs/*")
    assert run.stat().st_mode & 0o777 == 0o700
    program.wait_for("nothing left", lambda: program.remains() == [])
    assert json.loads((run / "head.json").read_text())["closed"]


@pytest.mark.slow
def test_workers_are_submitted_by_demand_and_handed_back_when_there_is_nothing_to_do(cluster):
    program = Program(cluster, "naps", NAPS)
    program.wait_for("a worker for each task", lambda: len(program.workers("RUNNING")) == 3)
    (program.folder / "noon").touch()
    program.wait_for("two handed back", lambda: len(program.workers("COMPLETED")) == 2)
    assert program.state() == "RUNNING"
    assert len(program.workers("RUNNING")) == 1  # where the long one sleeps
    (program.folder / "evening").touch()
    program.wait_for("its end", lambda: program.state() not in ("RUNNING", "COMPLETING"))
    assert program.log == "slept\n"
    assert len(program.workers()) == 3
    program.wait_for("nothing left", lambda: program.remains() == [])


@pytest.mark.slow
def test_tasks_share_the_gpu_that_was_granted_and_leave_that_of_others_alone(cluster):
    words = ("sbatch", "--parsable", "--nodelist=n1", "--gpus=1", "--cpus-per-task=1", "--mem=100M")
    other = cluster.run(*words, "--output=/dev/null", "--wrap=sleep 3600").strip()
    cluster.wait_for_job(other, "RUNNING", BOUND_S)  # the node's first GPU is somebody else's
    program = Program(cluster, "halves", HALVES)
    program.wait_for("its end", lambda: program.state() not in ("PENDING", "RUNNING", "COMPLETING"))
    cluster.run("scancel", other)
    assert program.state() == "COMPLETED", program.log
    looks = json.loads(program.log)
    assert [gpu for gpu, _, _ in looks] == ["1"] * 4
    moments = sorted((began_s, 1) for _, began_s, _ in looks) + [(ended_s, -1) for _, _, ended_s in looks]
    at_once = [sum(step for other_s, step in moments if other_s <= moment_s) for moment_s, _ in moments]
    assert max(at_once) == 2


@pytest.mark.slow
def test_workers_that_cannot_be_had_are_an_error_not_a_wait(cluster):
    program = Program(cluster, "nowhere", NOWHERE)
    program.wait_for("its end", lambda: program.state() not in ("PENDING", "RUNNING", "COMPLETING"))
    assert program.state() == "FAILED"
    assert "hpc.errors.SlurmError: sbatch: error: invalid partition specified: nowhere" in program.log
    assert program.workers() == []
    node = cluster.jobs()[program.job].node
    program.wait_for("nothing left", lambda: not cluster.processes(node, daemons=False))
