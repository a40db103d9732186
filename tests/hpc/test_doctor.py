"""What facts mean: a fake where a command would leave the process, real files, sockets and shells otherwise."""

import json
import math
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hpc.doctor import Need, examination, examine_here, examine_login_node, examine_node, machine, storage
from hpc.doctor.asking import Said, ask
from hpc.doctor.examination import (
    ANSWER,
    ASKED,
    Listener,
    answer,
    check_clocks,
    check_connection,
    check_setup,
    examine_worker,
)
from hpc.doctor.findings import duration, size
from hpc.doctor.gpus import PROBE, Torch, ask_torch, check_driver, check_torch
from hpc.doctor.machine import (
    check_granted,
    check_limits,
    check_shared_memory,
    check_tokens,
    check_umask,
    check_versions,
)
from hpc.doctor.partitions import Nodes, Partition, check_request, parse_gpus, parse_partitions, requests_of
from hpc.doctor.queue import check_job_limit, check_slurm, check_wait, parse_config
from hpc.doctor.storage import (
    Room,
    check_room,
    check_scratch,
    check_sockets,
    examine_disk,
    mount_of,
    parse_quota,
    visit,
    writing_fault,
)
from hpc.errors import SlurmError
from hpc.settings import ClusterSettings
from hpc.slurm import Slurm

GIB = 2**30
NEED = Need(1500, "a sweep of 500 trials")

# As Slurm 22.05 prints them.
SINFO = """\
cpu*|up|7-00:00:00|12|idle|64|250000|(null)
cpu*|up|7-00:00:00|1|drained|64|250000|(null)
gpu|up|1-00:00:00|4|mixed|32|500000|gpu:a100:4(S:0-1)
gpu|up|1-00:00:00|2|idle|16|250000|gpu:2,tmpdisk:1
debug|up|30:00|1|idle|4|6000|(null)
old|down|infinite|3|down*|8|16000|gpu:k80:2
"""
CONFIG = """\
Configuration data as of 2026-05-04T14:22:00
MaxArraySize            = 1001
SLURM_VERSION           = 22.05.8
TaskPluginParam         = (null type)
"""
QUEUE_LINE = "{job}|{state}|N/A|{node}|{reason}|{comment}\n"


def levels(findings):
    return [finding.level for finding in findings]


def the_one(findings):
    (finding,) = findings
    return finding


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    """A home without secrets."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def srun(tmp_path, monkeypatch):
    """An srun to be found, without which submitit makes no job script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "srun").write_text("#!/bin/sh\n")
    (folder / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.fixture
def own_address(monkeypatch):
    """Let this node have an address, whatever its name resolves to."""
    monkeypatch.setattr("hpc.doctor.address_of_this_node", lambda *_: "127.0.0.1")
    monkeypatch.setattr("hpc.doctor.examination.address_of_this_node", lambda *_: "127.0.0.1")


# What Slurm offers


def test_partitions_are_read_with_their_nodes_by_kind():
    cpu, gpu, debug, old = parse_partitions(SINFO)
    assert cpu == Partition(
        "cpu", True, True, 7 * 86400, (Nodes(12, True, 64, 250000, 0), Nodes(1, False, 64, 250000, 0))
    )
    assert gpu.nodes == (Nodes(4, True, 32, 500000, 4), Nodes(2, True, 16, 250000, 2))
    assert debug.limit_s == 1800
    assert (old.is_up, old.limit_s, old.nodes) == (False, math.inf, (Nodes(3, False, 8, 16000, 2),))


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("(null)", 0),
        ("gpu:2", 2),
        ("gpu", 1),
        ("gpu:a100:4", 4),
        ("gpu:a100:4(S:0-1)", 4),
        ("gpu:a100:2(S:0,1),gpu:v100:1", 3),
        ("tmpdisk:100,gpu:1", 1),
        ("shard:8", 0),
    ],
)
def test_gpus_of_a_node_as_slurm_writes_them(gres, gpus):
    assert parse_gpus(gres) == gpus


def test_slurm_is_shown_with_its_partitions_and_their_limits():
    finding = check_slurm(parse_config(CONFIG), parse_partitions(SINFO))
    assert finding.level == "ok"
    assert finding.text == (
        "Slurm 22.05.8: partitions cpu* (7 days), gpu (24 h), debug (30 min), old (no limit); arrays up to 1001"
    )


def asked_of(**settings):
    """What is found of a worker's request."""
    return check_request(requests_of(ClusterSettings(**settings))[0], parse_partitions(SINFO))


def test_a_worker_that_fits_says_on_how_many_nodes():
    finding = the_one(asked_of(partition="gpu", gpus=1, cpus=4, memory_gb=16.0))
    assert finding.level == "ok"
    assert finding.text == "a worker (1 GPU, 4 CPUs, 16 GB, 4 h) fits on 6 nodes of gpu"
    assert "fits on 4 nodes of gpu" in the_one(asked_of(partition="gpu", gpus=4)).text


def test_a_worker_without_a_partition_goes_to_the_default_one_and_nodes_that_are_drained_do_not_count():
    assert the_one(asked_of()).text == "a worker (4 CPUs, 16 GB, 4 h) fits on 12 nodes of cpu"


@pytest.mark.parametrize(
    ("settings", "text", "remedy"),
    [
        (
            {"partition": "gpuu"},
            "a worker: there is no partition gpuu; did you mean gpu?",
            "cluster: {partition: NAME}, one of cpu, gpu, debug, old",
        ),
        (
            {"sbatch": {"partition": "gpuu"}, "partition": "gpu"},
            "a worker: there is no partition gpuu; did you mean gpu?",
            "cluster: {partition: NAME}, one of cpu, gpu, debug, old",
        ),
        (
            {"partition": "gpu", "time": "2-00:00:00"},
            "a worker asks for 2 days, partition gpu gives at most 24 h",
            'cluster: {time: "1-00:00:00"}, or another partition',
        ),
        (
            {"partition": "debug", "cpus": 2, "memory_gb": 4.0},
            "a worker asks for 4 h, partition debug gives at most 30 min",
            'cluster: {time: "00:30:00"}, or another partition',
        ),
        (
            {"partition": "gpu", "gpus": 8},
            "a worker asks for 8 GPUs, 4 CPUs, 16 GB, which no node of gpu has: the largest has 4 GPUs, 32 CPUs, "
            "488 GB",
            "less in cluster, or another partition",
        ),
        (
            {"memory_gb": 500.0},
            "a worker asks for 4 CPUs, 500 GB, which no node of cpu has: the largest has 0 GPUs, 64 CPUs, 244 GB",
            "less in cluster, or another partition",
        ),
    ],
)
def test_a_worker_that_could_never_run_is_a_failure_with_what_to_change(settings, text, remedy):
    finding = the_one(asked_of(**settings))
    assert (finding.level, finding.text, finding.remedy) == ("failure", text, remedy)


def test_every_fault_of_a_partition_is_told_at_once():
    texts = [finding.text for finding in asked_of(partition="old", cpus=64, time="8-00:00:00")]
    assert len(texts) == 2
    assert "partition old is down" in texts[0]
    assert "which no node of old has" in texts[1]


def test_nodes_that_are_all_down_are_a_failure():
    down = [Partition("gpu", True, True, math.inf, (Nodes(3, False, 64, 10**6, 4),))]
    finding = the_one(check_request(requests_of(ClusterSettings())[0], down))
    assert finding.level == "failure"
    assert "down, drained or reserved" in finding.text


def test_of_several_partitions_one_that_fits_is_enough():
    finding = the_one(asked_of(partition="debug,gpu", time="12:00:00"))
    assert finding.text == "a worker (4 CPUs, 16 GB, 12 h) fits on 6 nodes of gpu"


def test_no_default_partition_is_a_failure():
    partitions = [replace(each, is_default=False) for each in parse_partitions(SINFO)]
    finding = the_one(check_request(requests_of(ClusterSettings())[0], partitions))
    assert finding.level == "failure"
    assert finding.remedy == "cluster: {partition: NAME}, one of cpu, gpu, debug, old"


def test_the_drivers_setting_stands_in_its_own_block():
    settings = ClusterSettings(driver={"time": "8-00:00:00"})
    finding = the_one(check_request(requests_of(settings)[1], parse_partitions(SINFO)))
    assert finding.text == "the driver asks for 8 days, partition cpu gives at most 7 days"
    assert finding.remedy == 'cluster: {driver: {time: "7-00:00:00"}}, or another partition'


@pytest.mark.parametrize(
    ("lines", "account", "expected"),
    [
        ("", None, []),
        ("lab||\n", None, []),
        ("lab|0|0\n", None, []),  # as some databases give no limit
        ("lab|20|100\n", None, ["ok"]),
        ("lab|4|100\n", None, ["warning"]),
        ("lab|4|100\nother||\n", "other", []),
        ("lab|20|3\n", "lab", ["warning"]),
    ],
)
def test_a_limit_of_jobs_below_workers_and_driver_is_a_warning(lines, account, expected):
    assert levels(check_job_limit(lines, account, jobs=5)) == expected


def test_a_limit_of_jobs_says_how_many_workers_it_leaves():
    finding = the_one(check_job_limit("lab|4|100\n", None, jobs=9))
    assert finding.text == (
        "up to 4 jobs of yours at once, a sweep asks for 9 with its driver: it runs on fewer workers"
    )
    assert finding.remedy == "cluster: {workers: {max: 3}}"


@pytest.mark.parametrize(
    ("reason", "level"),
    [
        ("Resources", "warning"),
        ("Priority", "warning"),
        ("QOSMaxJobsPerUserLimit", "warning"),  # passes when another job of ours ends
        ("PartitionTimeLimit", "failure"),
        ("AssocMaxWallDurationPerJobLimit", "failure"),
        ("BadConstraints", "failure"),
        ("InvalidAccount", "failure"),
    ],
)
def test_a_job_that_waits_too_long_fails_only_for_what_does_not_pass(reason, level):
    finding = check_wait("12", reason, 8)
    assert finding.level == level
    assert f"job 12 waited 8 s in the queue ({reason})" in finding.text


# The login node, with a Slurm that is a table of answers


class FakeSlurm:
    """Answers commands of Slurm's by their first words."""

    def __init__(self, **answers):
        self.answers = {"scontrol": CONFIG, "sinfo": SINFO, "sbatch": "", "sacct": "", "sacctmgr": ""} | answers
        self.scripts = []

    def __call__(self, command, given=""):
        if command[0] == "sbatch":
            self.scripts.append(given)
        said = self.answers[command[0]]
        if isinstance(said, Exception):
            raise said
        return said(command) if callable(said) else said


SILENT = lambda command, timeout_s: Said(127, "")  # noqa: E731


def login_node(runs, settings=None, **answers):
    return examine_login_node(settings or ClusterSettings(), runs, NEED, FakeSlurm(**answers), SILENT)


def test_a_healthy_login_node_has_no_failure_and_nothing_is_left_there(tmp_path, srun, own_address):
    checkup = login_node(tmp_path / "deep" / "runs")
    assert checkup.place == "login node"
    assert checkup.count("failure") == 0
    assert not checkup.blocked
    assert not (tmp_path / "deep").exists()
    texts = [finding.text for finding in checkup.findings]
    assert any(text.startswith("the driver (2 CPUs, 8 GB, 24 h) fits on 12 nodes of cpu") for text in texts)
    assert "127.0.0.1 has free ports" in texts


def test_what_sbatch_would_refuse_is_a_failure_in_its_own_words(tmp_path, srun, own_address):
    slurm = FakeSlurm(sbatch=SlurmError("sbatch: error: Batch job submission failed: Invalid account"))
    checkup = examine_login_node(ClusterSettings(), tmp_path, NEED, slurm, SILENT)
    failures = [finding for finding in checkup.findings if finding.level == "failure"]
    assert [finding.text for finding in failures] == [
        "Slurm would refuse a worker: Batch job submission failed: Invalid account",
        "Slurm would refuse the driver: Batch job submission failed: Invalid account",
    ]
    assert checkup.blocked
    assert "--cpus-per-task=4" in slurm.scripts[0]
    assert "--cpus-per-task=2" in slurm.scripts[1]


def test_a_partition_that_is_not_there_is_told_without_asking_sbatch(tmp_path, srun, own_address):
    slurm = FakeSlurm()
    checkup = examine_login_node(ClusterSettings(partition="gpuu"), tmp_path, NEED, slurm, SILENT)
    assert checkup.blocked
    assert len(slurm.scripts) == 1  # the driver's


def test_slurm_that_does_not_answer_is_one_failure(tmp_path, own_address):
    checkup = login_node(tmp_path, scontrol=SlurmError("scontrol: not found; is this a machine of the cluster?"))
    assert checkup.count("failure") == 1
    assert checkup.blocked


def test_accounting_that_is_off_is_a_warning(tmp_path, srun, own_address):
    checkup = login_node(tmp_path, sacct=SlurmError("sacct: Slurm accounting storage is disabled"))
    assert checkup.count("failure") == 0
    assert "sacct is off: how a job ended is known from squeue and exit markers alone" in [
        finding.text for finding in checkup.findings if finding.level == "warning"
    ]


def test_a_node_without_an_address_is_a_failure_with_the_setting_that_names_one(tmp_path, srun, monkeypatch):
    monkeypatch.setattr("hpc.ray_cluster.socket.gethostbyname", lambda _: "127.0.1.1")
    monkeypatch.delenv("SLURMD_NODENAME", raising=False)
    remedies = [finding.remedy for finding in login_node(tmp_path).findings if finding.level == "failure"]
    assert remedies == ["name its interface: cluster: {interface: eth0}"]


# Storage


def test_a_folder_on_a_good_disk_can_be_written(tmp_path):
    assert writing_fault(tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_says_why(tmp_path):
    (tmp_path / "file").write_text("")
    assert writing_fault(tmp_path / "file") == "cannot be written (Not a directory)"


def test_storage_without_hard_links_is_told(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(storage.Path, "hardlink_to", refuse)
    assert writing_fault(tmp_path).startswith("has no hard links (Operation not supported)")


def test_storage_whose_moves_are_copies_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(storage.Path, "replace", lambda *_: None)
    assert writing_fault(tmp_path) == "a file that is moved over another does not take its place at once"


def test_a_visit_is_private_and_leaves_nothing(tmp_path):
    with visit(tmp_path / "a" / "b") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.parent == tmp_path / "a" / "b"
    assert list(tmp_path.iterdir()) == []


def test_a_visit_spares_what_was_there(tmp_path):
    (tmp_path / "runs").mkdir()
    with visit(tmp_path / "runs"):
        pass
    assert list((tmp_path / "runs").iterdir()) == []


ROOM = Room("runs", "nfs4", 5e12, 3_000_000)


@pytest.mark.parametrize(
    ("room", "level", "words"),
    [
        (ROOM, "ok", "runs (nfs4) can be written, moves are whole; 5,000 GB, 3,000,000 files free"),
        (replace(ROOM, free_files=None), "ok", "5,000 GB free"),
        (replace(ROOM, quota=(40_000, 50_000)), "ok", "can be written"),
        (
            replace(ROOM, quota=(48_796, 50_000)),
            "failure",
            "runs: your quota has 1,204 of 50,000 files left; a sweep of 500 trials needs about 1,500",
        ),
        (replace(ROOM, quota=(60_000, 50_000)), "failure", "0 of 50,000 files left"),
        (replace(ROOM, quota=(48_000, 50_000)), "warning", "2,000 of 50,000 files left"),
        (
            replace(ROOM, free_files=1_499),
            "failure",
            "1,499 files (inodes) free; a sweep of 500 trials needs about 1,500",
        ),
        (replace(ROOM, free_bytes=5e8), "warning", "runs: 500 MB free"),
    ],
)
def test_room_for_a_sweep(room, level, words):
    finding = the_one(check_room(room, NEED))
    assert finding.level == level
    assert words in finding.text
    assert (finding.remedy == "") == (level == "ok")


QUOTA = """\
Disk quotas for user ada (uid 1001):
     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
filer:/home 1034908* 1000000 1200000 1777777777 48796   50000   60000       0
filer:/work 99 0 0 0 7 0 0 0
"""
LUSTRE = "/lustre/scratch/a/very/long/path\n 5243 0 0 - 1204* 1000 0 6d23h\n"


@pytest.mark.parametrize(
    ("text", "device", "quota"),
    [
        (QUOTA, "filer:/home", (48796, 50000)),
        (QUOTA, "filer:/work", None),
        (QUOTA, "/dev/sda1", None),
        ("Disk quotas for user root (uid 0): none\n", "/dev/sda1", None),
        (LUSTRE, None, (1204, 1000)),
        ("", None, None),
    ],
)
def test_quotas_are_read_as_quota_and_lfs_print_them(text, device, quota):
    assert parse_quota(text, device) == quota


def test_the_file_system_of_a_path_is_the_innermost_and_the_last_of_two_on_one_point(tmp_path):
    named = ("/dev/sda1 / ext4", f"filer:/a {tmp_path} nfs4", f"filer:/b {tmp_path} nfs4", "x /other ext4")
    mounts = "".join(f"{each} rw 0 0\n" for each in named)
    assert mount_of(tmp_path / "runs", mounts) == ("filer:/b", str(tmp_path), "nfs4")
    assert mount_of(Path("/bin"), mounts)[0] == "/dev/sda1"


def test_scratch_has_to_be_there_and_to_have_room(tmp_path):
    setting = "cluster: {scratch: FOLDER}"
    assert levels(examine_disk(tmp_path, setting, packed=False))[0] == "ok"
    missing = next(examine_disk(tmp_path / "missing", setting, packed=False))
    assert (missing.level, missing.text) == (
        "failure",
        f"scratch {tmp_path / 'missing'} cannot be used: No such file or directory",
    )
    assert missing.remedy == "another folder on the node's own disk: cluster: {scratch: FOLDER}"
    assert check_scratch(tmp_path, "", 5e9, setting, packed=False).level == "ok"
    assert check_scratch(tmp_path, "", 5e9, setting, packed=True).level == "warning"


def test_a_path_too_long_for_sockets_is_a_warning():
    assert check_sockets(Path("/scratch"), Path("/scratch"), "") == []
    assert levels(check_sockets(Path("/a/long/path"), Path("/tmp"), "")) == ["warning"]


# The machine


def test_what_is_not_installed_is_a_failure():
    assert check_versions({"Python": "3.11.7", "ray": "2.60.0"}).text == "Python 3.11.7, ray 2.60.0"
    assert check_versions({"Python": "3.11.7", "ray": None, "torch": None}).text == "ray, torch not installed"


@pytest.mark.parametrize(
    ("open_files", "processes", "as_worker", "remedies"),
    [
        ((1024, 65536), (math.inf, math.inf), False, []),
        ((1024, 65536), (math.inf, math.inf), True, ['cluster: {setup: ["ulimit -n 65536"]}']),
        ((1024, 1024), (math.inf, math.inf), False, ["ask the site's administrators for more"]),
        ((65536, 65536), (1024, 1024), True, ["ask the site's administrators for more"]),
        ((65536, 65536), (1024, 4096), False, ["ulimit -u 8192"]),
    ],
)
def test_limits_that_are_too_low_say_who_can_raise_them(open_files, processes, as_worker, remedies):
    findings = check_limits(open_files, processes, as_worker)
    assert [finding.remedy for finding in findings if finding.level == "warning"] == remedies
    assert levels(findings) == (["warning"] * len(remedies) or ["ok"])


def test_limits_are_shown():
    finding = the_one(check_limits((65536, 65536), (math.inf, math.inf), as_worker=False))
    assert finding.text == "up to 65,536 open files, no limit of processes"


def test_shared_memory_has_room_for_messages_twice():
    assert check_shared_memory(250 * 2**20).level == "ok"
    assert check_shared_memory(64 * 2**20).text == "/dev/shm: 67 MB free, Ray uses 105 MB for its messages"


def test_a_umask_that_lets_others_write_is_a_warning():
    assert [levels(check_umask(umask)) for umask in (0o077, 0o022, 0o002)] == [[], [], ["warning"]]


def test_a_secret_that_others_can_read_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name, mode in (
        ("home/.ray/auth_token", 0o644),
        ("runs/a/cluster/token", 0o640),
        ("runs/b/cluster/token", 0o600),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text("secret")
        path.chmod(mode)
    findings = check_tokens(machine.secrets_in(tmp_path / "runs"))
    assert levels(findings) == ["failure", "failure"]
    assert [finding.remedy for finding in findings] == [
        f"chmod 600 {tmp_path}/home/.ray/auth_token",
        f"chmod 600 {tmp_path}/runs/a/cluster/token",
    ]


def granted(usable, cpus=4, gpus=1, memory_gb=16, asked_gpus=1):
    request = requests_of(ClusterSettings(cpus=4, gpus=asked_gpus, memory_gb=16.0))[0]
    memory_bytes = None if memory_gb is None else memory_gb * GIB
    return check_granted(request, {"cpus": cpus, "gpus": gpus, "memory_bytes": memory_bytes}, usable, machine=64)


def test_what_is_granted_is_shown_against_the_machine():
    assert the_one(granted(usable=4)).text == "4 of 64 CPUs are ours; 16 GB of memory"
    assert the_one(granted(usable=64, memory_gb=None)).text == "4 of 64 CPUs are ours; memory is not limited"


def test_cpus_that_are_granted_but_not_to_be_used_are_a_failure():
    finding = the_one(granted(usable=1))
    assert (finding.level, finding.text) == ("failure", "granted 4 CPUs, our processes may run on 1")
    assert "SLURM_CPU_BIND=none" in finding.remedy


def test_less_than_was_asked_for_is_told():
    assert [(each.level, each.text) for each in granted(usable=2, cpus=2, gpus=0, memory_gb=8)] == [
        ("failure", "asked for 4 CPUs, granted 2"),
        ("failure", "asked for 1 GPU, granted 0"),
        ("warning", "asked for 16 GB, granted 8.0"),
    ]


# torch


A100 = ("NVIDIA A100-SXM4-40GB", 40 * GIB)
TORCH = Torch("2.11.0", "13.0", 3.0, (A100,))


def test_torch_sees_what_is_granted():
    finding = the_one(check_torch(TORCH, 1, "granted", packed=False))
    assert (finding.level, finding.text) == (
        "ok",
        "torch 2.11.0 sees 1 of 1 GPU granted (NVIDIA A100-SXM4-40GB, 40 GB)",
    )
    assert the_one(check_torch(replace(TORCH, gpus=()), 0, "granted", packed=False)).text == (
        "torch 2.11.0; no GPU granted"
    )


@pytest.mark.parametrize(
    ("torch", "words"),
    [
        (replace(TORCH, gpus=()), "granted 1 GPU, torch sees 0 (torch 2.11.0 is built for CUDA 13.0)"),
        (replace(TORCH, gpus=(), cuda=None), "granted 1 GPU, torch sees 0 (torch 2.11.0 is built for CPUs alone)"),
        (
            replace(TORCH, gpus=(), fault="The NVIDIA driver on your system is too old (found version 12000)."),
            "torch sees 0: The NVIDIA driver on your system is too old",
        ),
    ],
)
def test_a_gpu_that_torch_cannot_use_is_a_failure(torch, words):
    finding = the_one(check_torch(torch, 1, "granted", packed=False))
    assert finding.level == "failure"
    assert words in finding.text
    assert finding.remedy == 'see README, "Your site\'s torch"'


def test_torch_that_cannot_be_imported_is_a_failure():
    finding = the_one(check_torch(Torch(fault="ModuleNotFoundError: No module named 'torch'"), 1, "granted", False))
    assert (finding.level, finding.text) == (
        "failure",
        "torch cannot be imported: ModuleNotFoundError: No module named 'torch'",
    )


def test_a_slow_import_is_a_warning_whose_remedy_is_packing():
    slow = check_torch(replace(TORCH, import_s=71.2), 1, "granted", packed=False)[1]
    assert (slow.level, slow.text, slow.remedy) == (
        "warning",
        "importing torch took 71 s from where it is installed",
        "cluster: {environment: packed}",
    )
    packed = check_torch(replace(TORCH, import_s=71.2), 1, "granted", packed=True)[1]
    assert (packed.level, packed.remedy) == ("warning", "")


# The third line of what nvidia-smi prints.
NVIDIA_SMI = "| NVIDIA-SMI {driver}   Driver Version: {driver}   CUDA Version: {cuda}     |\n"


@pytest.mark.parametrize(
    ("driver", "offers", "built_for", "expected"),
    [
        ("525.147.05", "12.0", "13.0", ["failure"]),
        ("525.147.05", "12.0", "12.8", ["ok"]),  # within a major version any driver will do
        ("580.82.07", "13.0", "13.2", ["ok"]),
        ("580.82.07", "13.0", "12.8", ["ok"]),
        ("580.82.07", "13.0", None, []),
    ],
)
def test_a_driver_has_to_be_of_torchs_major_version_of_cuda_or_newer(driver, offers, built_for, expected):
    assert levels(check_driver(NVIDIA_SMI.format(driver=driver, cuda=offers), built_for, 1)) == expected


def test_an_old_driver_says_which_torch_to_install():
    finding = the_one(check_driver(NVIDIA_SMI.format(driver="525.147.05", cuda="12.0"), "13.0", 1))
    assert finding.text == "driver 525.147.05 is for CUDA 12.0, older than this torch needs (CUDA 13.0)"
    assert finding.remedy == 'install a torch for CUDA 12 (README, "Your site\'s torch")'


def test_a_gpu_without_nvidia_smi_is_a_warning():
    assert levels(check_driver("", "13.0", 1)) == ["warning"]
    assert check_driver("", "13.0", 0) == []


def test_torch_is_asked_in_a_python_of_its_own():
    torch = ask_torch(ask, PROBE)
    assert torch.version
    assert torch.import_s > 0
    assert torch.fault == ""


@pytest.mark.parametrize(
    ("probe", "fault"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("import sys; sys.exit(3)", "status 3"),
        ("print('{}')", "status 0"),
    ],
)
def test_a_probe_that_fails_says_why(probe, fault):
    assert ask_torch(ask, probe) == Torch(fault=fault)


def test_a_command_that_hangs_is_ended():
    assert ask([sys.executable, "-c", "import time; time.sleep(100)"], 0.5).status == 124
    assert ask(["no-such-command"], 1).status == 127


# Between nodes


@pytest.mark.parametrize(
    ("skew_s", "expected"), [(0.2, []), (-4, []), (30, ["warning"]), (-30, ["warning"]), (-4000, ["failure"])]
)
def test_clocks_that_disagree(skew_s, expected):
    assert levels(check_clocks(skew_s)) == expected


def test_the_clock_is_compared_with_that_of_storage(tmp_path, monkeypatch):
    now, asked_s = time.time, []

    def ahead_s():
        begun_s = now()
        found_s = storage.ahead_of_storage_s(tmp_path)
        asked_s.append(now() - begun_s)  # a second, or as long as the machine stood still
        return found_s

    assert abs(ahead_s()) < 1 + asked_s[-1]
    monkeypatch.setattr(storage.time, "time", lambda: now() + 100)
    assert ahead_s() == pytest.approx(100, abs=1 + asked_s[-1])
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_cannot_be_reached_fails_only_where_the_driver_would_run():
    assert check_connection("10.0.0.1:5", arrived=True, drives=False).level == "ok"
    assert check_connection("10.0.0.1:5", arrived=False, drives=False).level == "warning"
    assert check_connection("10.0.0.1:5", arrived=False, drives=True).level == "failure"


def test_whoever_knows_the_word_is_seen_to_arrive_and_nobody_else():
    with Listener("127.0.0.1") as listener:
        examination._show_up(listener.address, "another")
        assert not listener.arrived.is_set()
        examination._show_up(listener.address, listener.word)
        assert listener.arrived.is_set()


def test_lines_of_the_setup_that_failed_are_told_once_each():
    lines = ["127 module load cuda/99", "1 false", "1 false", "  of several lines", "3 exit 3"]
    assert [finding.text for finding in check_setup(lines)] == [
        "cluster.setup: module load cuda/99 (status 127)",
        "cluster.setup: false (status 1)",
        "cluster.setup: exit 3 (status 3)",
    ]


# A compute node, whose job runs in this process


@pytest.fixture
def in_a_job(monkeypatch, own_address):
    """Be a job that was granted one CPU, and no GPU."""
    for key in ("SLURM_GPUS_ON_NODE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "3072")


SETTINGS = ClusterSettings(cpus=1, memory_gb=3.0)
NO_TORCH = "import json; print(json.dumps({'version': '2.11.0', 'import_s': 1.0, 'gpus': []}))"


def test_a_node_as_it_should_be(tmp_path, in_a_job):
    findings = examine_worker(SETTINGS, tmp_path, "runs", NO_TORCH)
    assert "failure" not in levels(findings)
    texts = [finding.text for finding in findings]
    assert "torch 2.11.0; no GPU granted" in texts
    assert "runs can be written from there, moves are whole" in texts


def test_a_granted_gpu_that_torch_does_not_see_is_a_failure(tmp_path, in_a_job, monkeypatch):
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "1")
    findings = examine_worker(SETTINGS.model_copy(update={"gpus": 1}), tmp_path, "runs", NO_TORCH)
    failures = [finding.text for finding in findings if finding.level == "failure"]
    assert failures == ["granted 1 GPU, torch sees 0 (torch 2.11.0 is built for CPUs alone)"]


class FakeQueue:
    """A queue in which a job stands as told, until it is cancelled."""

    def __init__(self):
        self.folder = None
        self.stands = ("PENDING", "", "Resources")
        self.cancelled = []

    def __call__(self, command, given=""):
        if command[0] == "scancel":
            self.cancelled.append(command[-1])
            self.stands = ("CANCELLED", "", "None")
        if command[0] != "squeue" or self.folder is None:
            return ""
        state, node, reason = self.stands
        return QUEUE_LINE.format(job=12, state=state, node=node, reason=reason, comment=self.folder)


@pytest.fixture
def queue(monkeypatch, own_address):
    """Let a job be submitted to a queue that is a fake, as what a test makes of it."""
    queue = FakeQueue()
    queue.begin = lambda folder: None

    def submit(settings, folder, name, function, *args):
        queue.settings, queue.folder = settings, folder
        queue.begin(folder)
        return "12"

    monkeypatch.setattr(examination, "submit_worker", submit)
    for name in ("QUEUE_EVERY_S", "LOOK_EVERY_S", "LATE_S"):
        monkeypatch.setattr(examination, name, 0.05)
    return queue


def examined(queue, runs, settings=SETTINGS, wait_s=30.0):
    told = []
    checkup = examine_node(settings, runs, wait_s=wait_s, tell=told.append, probe=NO_TORCH, slurm=Slurm(queue))
    assert [path.name for path in runs.iterdir() if path.name.startswith(".doctor")] == []
    return checkup, told


def test_an_answer_is_shown_with_what_only_this_side_sees(tmp_path, queue, in_a_job):
    queue.begin = lambda folder: threading.Thread(target=answer, args=(folder,)).start()
    queue.stands = ("RUNNING", "gpu-07", "None")
    checkup, told = examined(queue, tmp_path)
    assert checkup.place.endswith("(asked 1 CPU, 3 GB)")
    assert checkup.place.startswith(f"compute node {os.uname().nodename}")
    assert checkup.count("failure") == 0
    assert checkup.findings[-1].text.startswith("it reaches the node that you are on (127.0.0.1:")
    assert told == ["job 12 runs on gpu-07"]
    assert queue.cancelled == ["12"]  # its job had not left


def test_the_job_is_a_workers_but_for_its_time(tmp_path, queue, in_a_job):
    queue.begin = answer
    examined(queue, tmp_path, SETTINGS.model_copy(update={"time": "1-00:00:00", "partition": "gpu", "account": "lab"}))
    assert (queue.settings.time, queue.settings.partition, queue.settings.account) == ("10", "gpu", "lab")
    examined(queue, tmp_path, SETTINGS.model_copy(update={"time": "00:04:30"}))
    assert queue.settings.time == "5"


def test_a_job_that_waits_too_long_is_cancelled_with_the_queues_reason(tmp_path, queue):
    checkup, told = examined(queue, tmp_path, wait_s=0.3)
    assert told == ["job 12 waits in the queue (Resources)"]
    finding = the_one(checkup.findings)
    assert finding.level == "warning"
    assert "(Resources)" in finding.text
    assert queue.cancelled == ["12"]


def test_what_is_interrupted_leaves_no_job(tmp_path, queue):
    def interrupt(text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        examine_node(SETTINGS, tmp_path, wait_s=30, tell=interrupt, slurm=Slurm(queue))
    assert queue.cancelled == ["12"]
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_ends_without_an_answer_is_told_with_its_last_words(tmp_path, queue):
    def fail(folder):
        (folder / "jobs").mkdir()
        (folder / "jobs" / "12_0_log.out").write_text("Loading cuda\n\nslurmstepd: error: execve(): python3: oh\n")

    queue.begin, queue.stands = fail, ("FAILED", "gpu-07", "NonZeroExitCode")
    checkup, _ = examined(queue, tmp_path)
    assert checkup.place.startswith("compute node gpu-07")
    assert the_one(checkup.findings).text == (
        "job 12 gave no answer (FAILED): Loading cuda · slurmstepd: error: execve(): python3: oh"
    )


def test_a_job_that_leaves_not_even_a_log_does_not_see_the_folder(tmp_path, queue):
    queue.stands = ("FAILED", "gpu-07", "JobLaunchFailure")
    checkup, _ = examined(queue, tmp_path)
    finding = the_one(checkup.findings)
    assert finding.text == f"job 12 gave no answer (FAILED) and left no log: does its node see {tmp_path}?"
    assert finding.remedy == "put runs on storage that every node sees: --runs FOLDER"


def test_a_setup_that_ends_the_job_is_the_reason(tmp_path, queue):
    queue.begin = lambda folder: (folder / "setup").write_text("3 exit 3\n")
    queue.stands = ("FAILED", "gpu-07", "NonZeroExitCode")
    checkup, _ = examined(queue, tmp_path, SETTINGS.model_copy(update={"setup": ("exit 3",)}))
    assert the_one(checkup.findings).text == "cluster.setup: exit 3 (status 3)"


@pytest.mark.parametrize(
    ("setup", "noted"),
    [
        (("true", "echo fine"), ""),
        (("false", "true"), "1 false\n"),
        (("no-such-command --option", "ls /nonexistent"), "127 no-such-command --option\n2 ls /nonexistent\n"),
        (("false || true",), ""),
        (("if false; then", "true", "fi"), ""),
        (("exit 3",), "3 exit 3\n"),
        (("set -e", "false"), "1 false\n1 false\n"),
    ],
)
def test_a_shell_notes_what_fails_of_its_setup(tmp_path, setup, noted):
    lines = examination._short(SETTINGS.model_copy(update={"setup": setup}), tmp_path).setup
    ask(["bash", "-c", "\n".join([*lines, "false"])], 30)  # what fails behind it is none of its business
    log = tmp_path / "setup"
    assert (log.read_text() if log.exists() else "") == noted


def test_what_sbatch_refuses_is_a_failure(tmp_path, queue):
    def refuse(folder):
        raise SlurmError("sbatch: error: QOSMaxSubmitJobPerUserLimit")

    queue.begin = refuse
    checkup, _ = examined(queue, tmp_path)
    assert the_one(checkup.findings).text == (
        "no job can be submitted as a worker is: sbatch: error: QOSMaxSubmitJobPerUserLimit"
    )


def test_a_conda_environment_cannot_be_packed_and_is_told(tmp_path, queue, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "conda"))
    (tmp_path / "conda" / "conda-meta").mkdir(parents=True)
    checkup, _ = examined(queue, tmp_path, SETTINGS.model_copy(update={"environment": "packed"}))
    assert "conda-pack" in the_one(checkup.findings).text


def test_the_module_runs_as_a_program(tmp_path, in_a_job):
    asked = {"settings": SETTINGS.model_dump(mode="json"), "runs": "runs", "probe": NO_TORCH, "address": "", "word": ""}
    (tmp_path / ASKED).write_text(json.dumps(asked))
    said = ask([sys.executable, "-m", "hpc.doctor", str(tmp_path)], 60)
    assert (said.status, said.errors) == (0, "")
    assert json.loads((tmp_path / ANSWER).read_text())["node"] == os.uname().nodename


# This machine, in fact


def test_this_machine_is_looked_at_without_a_slurm(tmp_path):
    checkup = examine_here(tmp_path / "runs", 0, NEED, NO_TORCH)
    assert checkup.place == "this machine"
    assert [finding.text for finding in checkup.findings if finding.level == "failure"] == []
    assert list(tmp_path.iterdir()) == []


def test_numbers_are_written_with_the_digits_they_deserve():
    assert [size(each) for each in (4e10, 5.12e8)] == ["40 GB", "512 MB"]
    assert [duration(each) for each in (8, 1800, 5400, 86400, 7 * 86400, math.inf)] == [
        "8 s",
        "30 min",
        "1.5 h",
        "24 h",
        "7 days",
        "no limit",
    ]
