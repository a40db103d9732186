"""Where Ray keeps its files on a node, and where it is reached."""

import tempfile
from pathlib import Path

import pytest

from hpc import ray_cluster
from hpc.errors import ClusterError
from hpc.ray_cluster import address_of_this_node, room_for_sockets
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
