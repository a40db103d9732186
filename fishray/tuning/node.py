"""What this machine offers, and whether every trial of a sweep fits on it."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from fishray.config.sweep import Resources, Sweep
from fishray.errors import ResourceError

AUTO_GPU_SHARE = 0.25
"""Small recurrent networks are bound by launches, not arithmetic: several trials share a GPU with little loss."""

ROUNDING = 1e-9
"""Three thirds of a GPU are one."""


@dataclass(frozen=True)
class Node:
    """One machine."""

    cpus: int
    gpu_names: tuple[str, ...]


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


def gpu_share(resources: Resources, node: Node) -> float:
    """GPUs of one trial, ``auto`` resolved."""
    if resources.gpus == "auto":
        return AUTO_GPU_SHARE if node.gpu_names else 0.0
    return float(resources.gpus)


def trials_at_once(resources: Resources, node: Node) -> int:
    """Trials with these resources that fit on a node at the same time; a share of a GPU lies on one GPU."""
    share = gpu_share(resources, node)
    by_cpus = node.cpus // resources.cpus
    return min(by_cpus, len(node.gpu_names) * int(1 / share)) if share else by_cpus


def room_on(node: Node) -> Callable[[list[Resources], Resources], bool]:
    """Make a function that says whether a node has room for a trial beside those that run there."""

    def has_room(running: list[Resources], wanted: Resources) -> bool:
        every = [*running, wanted]
        cpus, gpus = sum(each.cpus for each in every), sum(gpu_share(each, node) for each in every)
        return cpus <= node.cpus and gpus <= len(node.gpu_names) + ROUNDING

    return has_room


def check_resources(sweep: Sweep, node: Node) -> None:
    """Refuse a trial that could never start here.

    Raises
    ------
    ResourceError
        Naming the family, what it asks for and what is here.
    """
    for name, family in sweep.families.items():
        cpus, gpus = family.resources.cpus, gpu_share(family.resources, node)
        if cpus > node.cpus:
            raise ResourceError(
                f"families.{name}.resources.cpus: a trial asks for {cpus} CPUs, this machine has {node.cpus}; "
                f"lower it: --set families.{name}.resources.cpus={node.cpus}"
            )
        if gpus > len(node.gpu_names):
            raise ResourceError(
                f"families.{name}.resources.gpus: a trial asks for {gpus:g} GPUs, this machine has "
                f"{len(node.gpu_names)}; leave it to the machine: --set families.{name}.resources.gpus=auto"
            )
