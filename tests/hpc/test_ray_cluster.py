"""Where Ray keeps its files on a node, and where it is reached."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hpc import ray_cluster
from hpc.errors import ClusterError
from hpc.ray_cluster import address_of_this_node, ray_head, room_for_sockets
from hpc.scratch import SHORT
from hpc.slurm import Slurm


@pytest.mark.parametrize("longer", [0, 1])
def test_a_temporary_directory_whose_sockets_would_not_fit_is_left_for_a_short_one(monkeypatch, longer):
    room = ray_cluster.LONGEST_SOCKET - ray_cluster.SOCKET_BELOW + longer
    usual = "/" + "t" * (room - 1)
    monkeypatch.setattr(tempfile, "tempdir", usual)
    assert room_for_sockets() == (SHORT if longer else Path(usual))


def test_an_interface_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(ClusterError, match=r"cluster\.interface: no address on ib7; this node has .*lo"):
        address_of_this_node(Slurm(), "ib7")


def test_the_address_that_slurm_knows_comes_first(monkeypatch):
    monkeypatch.setenv("SLURMD_NODENAME", "n1")
    said = "NodeName=n1 Arch=x86_64 CoresPerSocket=4\n   NodeAddr=10.9.8.7 NodeHostName=n1 Version=22.05.8\n"
    assert address_of_this_node(Slurm(lambda command, given: said)) == "10.9.8.7"


def run(code, **environment):
    """What a fresh Python prints, in which nothing is set for Ray but what is given."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | environment
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=given).stdout


def test_what_a_user_has_set_for_another_ray_is_not_for_ours():
    names = ("RAY_AUTH_TOKEN", "RAY_GCS_SERVER_PORT", "RAY_REDIS_ADDRESS", "RAY_AUTH_MODE")
    code = f"import os, hpc.ray_cluster; print([os.environ.get(name) for name in {names}])"
    theirs = {"RAY_AUTH_TOKEN": "ab" * 32, "RAY_GCS_SERVER_PORT": "6379", "RAY_REDIS_ADDRESS": "there:1"}
    assert run(code, **theirs, RAY_AUTH_MODE="disabled") == "[None, None, None, 'token']\n"


REFUSED = """
from hpc.errors import ClusterError
from hpc.ray_cluster import ray_head
try:
    with ray_head():
        print("it starts")
except ClusterError as error:
    print(error)
"""


def test_a_ray_that_was_imported_before_and_would_leave_loopback_is_refused():
    said = run(f"import ray\n{REFUSED}")
    assert said == "Ray was imported before hpc, and would not stay on loopback; import hpc.cluster first\n"


def test_a_ray_that_the_process_drives_already_is_left_alone(monkeypatch):
    import ray

    ended = []
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append("theirs"))
    with pytest.raises(ClusterError, match=r"drives a Ray already; leave that first: ray\.shutdown\(\)"), ray_head():
        pass
    assert ended == []
