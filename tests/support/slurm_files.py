"""The files of the Slurm cluster of the tests: its configuration, its users, its hosts."""

import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from slurm_machine import OWN_PLACES, USERS, ClusterError

LOGIN, NODES = "login", ("n1", "n2", "n3")
CPUS, MEMORY_MB, GPUS = 4, 6000, 2
"""Of each node, as it tells Slurm; the GPUs are /dev/null by another name."""
ADDRESSES = {name: f"10.77.0.{10 + number}" for number, name in enumerate((LOGIN, *NODES))}

SETTINGS = {
    "ClusterName": "fishtank",
    "SlurmctldHost": f"{LOGIN}({ADDRESSES[LOGIN]})",
    "SlurmUser": "root",
    "AuthType": "auth/munge",
    "AuthInfo": "cred_expire=5",  # a requeued job starts after 11 s; by default after 120 s
    "MailProg": "/bin/true",
    "ProctrackType": "proctrack/linuxproc",
    "TaskPlugin": "task/none",
    "JobAcctGatherType": "jobacct_gather/linux",
    "SlurmdParameters": "config_overrides",  # a node may have more CPUs than this machine
    "SelectType": "select/cons_tres",
    "SelectTypeParameters": "CR_Core_Memory",
    "SchedulerType": "sched/backfill",
    "SchedulerParameters": (
        "batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1,bf_min_age_reserve=0"
    ),
    "PreemptType": "preempt/partition_prio",
    "PreemptMode": "REQUEUE",
    "SlurmctldParameters": "preempt_send_user_signal",
    "JobRequeue": "1",
    "MaxArraySize": "1001",
    "MinJobAge": "7200",
    "KillWait": "3",
    "SlurmdTimeout": "10",
    "SlurmctldTimeout": "30",
    "MessageTimeout": "30",
    "ReturnToService": "2",
    "GresTypes": "gpu",
    "JobCompType": "jobcomp/filetxt",
}
NODE = f"CPUs={CPUS} RealMemory={MEMORY_MB} Gres=gpu:{GPUS} State=UNKNOWN"
PARTITIONS = (
    "PartitionName=low Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=60",
    "PartitionName=high PriorityTier=10 PreemptMode=OFF",
)
SLURMDBD_CONF = b"""\
DbdHost=login
SlurmUser=root
StorageType=accounting_storage/mysql
StorageUser=root
"""
FOLDERS = ("etc/slurm", "log", "homes", "machines", "state", "spool", "database", "dev", "shared")


def lay_out(folder: Path, accounting: bool, settings: Mapping[str, str]) -> None:
    """Write the cluster's files into its folder.

    Raises
    ------
    ClusterError
        If there are users who cannot get at the folder.
    """
    closed = [str(each) for each in folder.parents if not each.stat().st_mode & stat.S_IXOTH]
    if closed and not any(folder.is_relative_to(place) for place in OWN_PLACES):
        raise ClusterError(f"{folder} is in {closed[-1]}, which is closed to others; choose a folder below /tmp")
    for name in (*FOLDERS, *(f"spool/{node}" for node in NODES)):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    (folder / "shared").chmod(0o1777)
    for user, number in USERS.items():
        (folder / "homes" / user).mkdir(mode=0o700)
        os.chown(folder / "homes" / user, number, number)
    for number in range(GPUS):
        os.mknod(folder / "dev" / f"gpu{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))

    etc = folder / "etc"
    (etc / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{ADDRESSES[name]} {name}\n" for name in ADDRESSES))
    (etc / "resolv.conf").touch()
    for file, fields in (("passwd", "{name}:*:{id}:{id}::{home}:/bin/bash"), ("group", "{name}:x:{id}:")):
        others = [line for line in Path("/etc", file).read_text().splitlines() if line.split(":")[0] not in USERS]
        own = [fields.format(name=name, id=number, home=folder / "homes" / name) for name, number in USERS.items()]
        (etc / file).write_text("\n".join([*own, *others, ""]))
    secret(etc / "munge.key", secrets.token_bytes(128))

    (etc / "slurm" / "slurm.conf").write_text(slurm_conf(folder, accounting, settings))
    (etc / "slurm" / "gres.conf").write_text(f"Name=gpu File={folder}/dev/gpu[0-{GPUS - 1}]\n")
    secret(etc / "slurm" / "slurmdbd.conf", SLURMDBD_CONF)


def slurm_conf(folder: Path, accounting: bool, settings: Mapping[str, str]) -> str:
    """The text of slurm.conf."""
    places = {
        "StateSaveLocation": f"{folder}/state",
        "SlurmdSpoolDir": f"{folder}/spool/%n",
        "SlurmctldPidFile": "/run/slurmctld.pid",
        "SlurmdPidFile": "/run/slurmd.pid",
        "JobCompLoc": f"{folder}/log/jobcomp.log",
    }
    storage = {"AccountingStorageType": "accounting_storage/none"}
    if accounting:
        storage = {
            "AccountingStorageType": "accounting_storage/slurmdbd",
            "AccountingStorageHost": LOGIN,
            "AccountingStorageTRES": "gres/gpu",
        }
    lines = [f"{key}={value}" for key, value in (SETTINGS | places | storage | settings).items()]
    lines += [f"NodeName={name} NodeAddr={ADDRESSES[name]} {NODE}" for name in NODES]
    lines += [f"{partition} Nodes={','.join(NODES)} DefMemPerCPU=1000 State=UP" for partition in PARTITIONS]
    return "\n".join([*lines, ""])


def secret(path: Path, content: bytes) -> None:
    """Write what only root may read."""
    path.touch(mode=0o600)
    path.write_bytes(content)
