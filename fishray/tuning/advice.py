"""How many trials of a model to run at once on this machine, and what sets the number."""

from dataclasses import dataclass

from fishray.config.sweep import Resources
from fishray.tuning.node import Node
from fishray.tuning.probing import Probed

ROOM = 0.9
"""Share of the memory that is planned with."""


@dataclass(frozen=True)
class Advice:
    """So many trials at once, on one GPU or on all CPUs."""

    at_once: int
    limit: str
    """What would be short with one more."""


def advise(probed: Probed, resources: Resources, node: Node, memory_bytes: int, *, on_gpu: bool) -> Advice:
    """As many trials as have CPUs, memory and, on a GPU, time of it without waiting for each other.

    Parameters
    ----------
    memory_bytes
        Of one GPU, or of this machine or job.
    on_gpu
        Where the model was probed.

    Returns
    -------
    One trial at least.
    """
    gpus = max(1, len(node.gpu_names)) if on_gpu else 1
    fits = {
        "CPUs": node.cpus // gpus // resources.cpus,
        "GPU memory" if on_gpu else "memory": int(ROOM * memory_bytes / probed.memory_bytes),
    }
    if probed.gpu_busy:
        fits["GPU time"] = int(1 / probed.gpu_busy)
    limit = min(fits, key=lambda name: fits[name])
    return Advice(max(1, fits[limit]), limit)
