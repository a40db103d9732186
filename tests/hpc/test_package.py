"""What `import hpc` gives, and what it spares."""

import subprocess
import sys

import pytest

import hpc
from hpc.settings import ClusterSettings


def test_it_gives_what_a_program_needs():
    assert hpc.ClusterSettings is ClusterSettings
    assert [getattr(hpc, name).__name__ for name in ("RayOnSlurm", "HpcError")] == ["RayOnSlurm", "HpcError"]
    assert hpc.NODE_END == "HPC_NODE_END"
    with pytest.raises(AttributeError, match="module hpc has no attribute RayOnSlum"):
        hpc.RayOnSlum  # noqa: B018


def test_settings_are_read_without_submitit_and_ray():
    code = "import sys; from hpc import ClusterSettings; print({'ray', 'submitit'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "set()\n"
