"""What a machine offers, and whether every trial of a sweep fits on it."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from fishray.config.sweep import Resources, Sweep
from fishray.errors import ResourceError

AUTO_GPU_SHARE = 0.25
"""Small recurrent networks are bound by launches, not arithmetic: several trials share a GPU with little loss."""


@dataclass(frozen=True)
class Node:
    """One machine, or what any worker of a cluster has."""

    cpus: int
    gpu_names: tuple[str, ...]
    """Empty names where nobody has looked yet."""
    most_workers: int = 0
    """How many like it a cluster may have; 0: it is this machine, alone."""

    @property
    def name(self) -> str:
        """What it is called in an error."""
        return "a worker" if self.most_workers else "this machine"


def list_gpus() -> str:
    """What nvidia-smi says; nothing where there is none."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def this_node(gpus: Callable[[], str] = list_gpus) -> Node:
    """CPUs and GPUs that this process may use; CUDA_VISIBLE_DEVICES is respected."""
    names = [line.strip() for line in gpus().splitlines() if line.strip()]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = names[: len([device for device in visible.split(",") if device.strip() not in ("", "-1")])]
    return Node(cpus=len(os.sched_getaffinity(0)), gpu_names=tuple(names))


def gpu_share(resources: Resources, gpus: int) -> float:
    """GPUs of one trial, where there are so many: ``auto`` resolved."""
    if resources.gpus == "auto":
        return AUTO_GPU_SHARE if gpus else 0.0
    return float(resources.gpus)


def trials_at_once(resources: Resources, node: Node) -> int:
    """Trials with these resources that fit on a node at the same time; a share of a GPU lies on one GPU."""
    share = gpu_share(resources, len(node.gpu_names))
    by_cpus = node.cpus // resources.cpus
    if not share:
        return by_cpus
    gpus = len(node.gpu_names)
    return min(by_cpus, gpus * int(1 / share) if share < 1 else int(gpus / share))


def check_resources(sweep: Sweep, node: Node) -> None:
    """Refuse a trial that could never start there.

    Raises
    ------
    ResourceError
        Naming the family, what it asks for and what is here.
    """
    for name, family in sweep.families.items():
        cpus, gpus = family.resources.cpus, gpu_share(family.resources, len(node.gpu_names))
        if cpus > node.cpus:
            raise ResourceError(
                f"families.{name}.resources.cpus: a trial asks for {cpus} CPUs, {node.name} has {node.cpus}; "
                f"lower it: --set families.{name}.resources.cpus={node.cpus}"
            )
        if gpus > len(node.gpu_names):
            raise ResourceError(
                f"families.{name}.resources.gpus: a trial asks for {gpus:g} GPUs, {node.name} has "
                f"{len(node.gpu_names)}; leave it to the machine: --set families.{name}.resources.gpus=auto"
            )
