"""Elastic Ray on Slurm: workers come one by one, are replaced when lost, and leave when there is nothing to do.

    import ray
    from hpc import ClusterSettings, RayOnSlurm

    square = ray.remote(lambda n: n * n)
    with RayOnSlurm(ClusterSettings(workers={"max": 2}, cpus=2, memory_gb=4), "runs/squares") as cluster:
        waiting = [square.remote(n) for n in range(100)]
        while waiting:
            cluster.offer([{"cpus": 1}] * len(waiting))  # what is left to do: workers come and go by it
            done, waiting = ray.wait(waiting, timeout=5)
            print(ray.get(done))

Imports nothing of the program that uses it. A worker is one Slurm job on one node; the head, in the driver's process,
computes nothing.
"""

from importlib import import_module
from typing import Any

_PLACES = {"ClusterSettings": "settings", "RayOnSlurm": "workers", "HpcError": "errors", "NODE_END": "settings"}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and no more: settings are read where there is neither submitit nor Ray."""
    if name in _PLACES:
        return getattr(import_module(f"hpc.{_PLACES[name]}"), name)
    raise AttributeError(f"module hpc has no attribute {name}")
