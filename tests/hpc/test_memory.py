import ctypes
import json
import subprocess
import sys
from pathlib import Path

import pytest

from hpc.memory import Memory, give_back_freed_memory, keep_freed_memory, memory_here

MB = 2**20


@pytest.fixture
def machine(tmp_path):
    """Lay out what the kernel shows of a machine with 1000 MB, of which 600 are free."""

    def lay_out(cgroup, files):
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/meminfo").write_text(
            f"MemTotal:    {1000 * 1024} kB\nMemAvailable: {600 * 1024} kB\nHugePages_Total:  0\n"
        )
        (tmp_path / "proc/self/cgroup").write_text(cgroup)
        for name, text in files.items():
            path = tmp_path / "sys/fs/cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return memory_here(tmp_path)

    return lay_out


def test_without_a_limit_it_is_the_machines(machine):
    assert machine("0::/\n", {"memory.stat": "inactive_file 0\n"}) == Memory(1000 * MB, 600 * MB)


def test_a_job_has_what_its_control_group_allows_and_files_in_memory_give_way(machine):
    job = {
        "slurm/job_7/memory.max": str(300 * MB),
        "slurm/job_7/memory.current": str(250 * MB),
        "slurm/job_7/memory.stat": f"anon 1\ninactive_file {100 * MB}\n",
        "slurm/job_7/step_0/memory.max": "max\n",
        "slurm/job_7/step_0/memory.current": str(250 * MB),
        "slurm/job_7/step_0/memory.stat": "inactive_file 0\n",
    }
    assert machine("0::/slurm/job_7/step_0\n", job) == Memory(300 * MB, 150 * MB)


def test_control_groups_of_the_first_version_are_read_too(machine):
    job = {
        "memory/job_7/memory.limit_in_bytes": str(300 * MB),
        "memory/job_7/memory.usage_in_bytes": str(250 * MB),
        "memory/job_7/memory.stat": "total_inactive_file 0\n",
        "memory/memory.limit_in_bytes": "9223372036854771712",  # none
        "memory/memory.usage_in_bytes": "0",
        "memory/memory.stat": "total_inactive_file 0\n",
    }
    assert machine("5:cpu,cpuacct:/elsewhere\n4:memory:/job_7\n0::/\n", job) == Memory(300 * MB, 50 * MB)


def test_a_job_that_has_used_up_its_memory_has_none_free(machine):
    job = {
        "job/memory.max": str(100 * MB),
        "job/memory.current": str(120 * MB),
        "job/memory.stat": "inactive_file 0\n",
    }
    assert machine("0::/job\n", job).free_bytes == 0


def test_this_machine_has_memory():
    here = memory_here(Path("/"))
    assert 0 < here.free_bytes <= here.limit_bytes


PAGES = """
import json, resource, sys
from pathlib import Path
from hpc.memory import give_back_freed_memory, keep_freed_memory

def pages():  # that the system had to find, for four blocks of 64 MB one after the other
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        bytearray(64 * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def held_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 2**20

usual = pages()
assert keep_freed_memory()
pages()
kept, held = pages(), held_mb()
give_back_freed_memory()
print(json.dumps([usual, kept, held, held_mb()]))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library is not glibc")
def test_freed_memory_is_kept_for_what_comes_next_and_given_back_when_told():
    said = subprocess.run([sys.executable, "-c", PAGES], check=True, capture_output=True, text=True).stdout
    usual, kept, held, given_back = json.loads(said)
    assert usual >= 4 * 64 // 2  # of 2 MB at most, each time anew
    assert kept < usual / 10
    assert held - given_back > 60


def test_another_c_library_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not keep_freed_memory()
    give_back_freed_memory()
