"""Whether torch uses the GPUs that are ours. It is asked in a Python of its own."""

import json
import re
import sys
from contextlib import suppress
from dataclasses import dataclass

from hpc.doctor.asking import Ask
from hpc.doctor.findings import GIB, Finding, failure, ok, plural, warning

PROBE = """
import json, time
begun_s = time.monotonic()
import torch
found = {"version": torch.__version__, "cuda": torch.version.cuda, "import_s": time.monotonic() - begun_s, "gpus": []}
try:
    for index in range(torch.cuda.device_count()):
        torch.ones(1, device=f"cuda:{index}").sum().item()  # a GPU that is listed may still be of no use
        device = torch.cuda.get_device_properties(index)
        found["gpus"].append([device.name, device.total_memory])
except Exception as error:
    found["fault"] = str(error).splitlines()[0]
print(json.dumps(found))
"""
"""What a Python of its own says of torch, so that whoever asks holds neither it nor a GPU."""
PROBE_TIMEOUT_S = 300.0
SLOW_IMPORT_S = 20.0
SITE_TORCH = 'README, "Your site\'s torch"'


@dataclass(frozen=True)
class Torch:
    """What a Python of its own says of torch."""

    version: str = ""
    cuda: str | None = None
    """The CUDA that it was built for; None: CPUs alone."""
    import_s: float = 0.0
    gpus: tuple[tuple[str, float], ...] = ()
    """Names and memory [bytes] of those that can be computed on."""
    fault: str = ""
    """Why it cannot be imported, or a GPU not be used."""


def ask_torch(ask: Ask, probe: str) -> Torch:
    """Have a Python of its own import torch and use every GPU."""
    said = ask([sys.executable, "-c", probe], PROBE_TIMEOUT_S)
    with suppress(ValueError, LookupError, TypeError):
        found = json.loads(said.output.splitlines()[-1])
        gpus = tuple((str(name), float(memory)) for name, memory in found.pop("gpus"))
        return Torch(**found, gpus=gpus)
    return Torch(fault=(said.errors.strip().splitlines() or [f"status {said.status}"])[-1])


def check_torch(torch: Torch, gpus: int, place: str, packed: bool) -> list[Finding]:
    """Whether torch can be imported in good time, and uses every GPU that is ours.

    Parameters
    ----------
    gpus
        GPUs that are ours.
    place
        Whose they are: ``granted``, ``here``.
    packed
        Whether it was imported from a node's own disk.
    """
    if not torch.version:
        return [failure(f"torch cannot be imported: {torch.fault}", "install the project into this Python: make")]
    found = []
    names = ", ".join(dict.fromkeys(f"{name}, {memory / GIB:.0f} GB" for name, memory in torch.gpus))
    if len(torch.gpus) < gpus:
        said = f": {torch.fault}" if torch.fault else ""
        built = f"torch {torch.version} is built for {'CPUs alone' if torch.cuda is None else f'CUDA {torch.cuda}'}"
        found.append(
            failure(f"{place} {plural(gpus, 'GPU')}, torch sees {len(torch.gpus)}{said} ({built})", f"see {SITE_TORCH}")
        )
    elif gpus:
        found.append(ok(f"torch {torch.version} sees {len(torch.gpus)} of {plural(gpus, 'GPU')} {place} ({names})"))
    else:
        found.append(ok(f"torch {torch.version}; no GPU {place}"))
    if torch.import_s > SLOW_IMPORT_S:
        source = "the node's own disk" if packed else "where it is installed"
        remedy = "" if packed else "cluster: {environment: packed}"
        found.append(warning(f"importing torch took {torch.import_s:.0f} s from {source}", remedy))
    return found


def check_driver(nvidia_smi: str, cuda: str | None, gpus: int) -> list[Finding]:
    """Whether a GPU's driver is as new as torch needs: any of the same major version of CUDA is.

    Parameters
    ----------
    nvidia_smi
        What it prints; empty where there is none.
    cuda
        The CUDA that torch was built for.
    gpus
        GPUs that are ours.
    """
    if gpus and not nvidia_smi:
        return [warning("nvidia-smi says nothing there: which CUDA the driver is for is not known")]
    driver = re.search(r"Driver Version\s*:\s*([\d.]+)", nvidia_smi)
    offered = re.search(r"CUDA[\w ]*Version\s*:\s*(\d+)\.(\d+)", nvidia_smi)
    if not driver or not offered or cuda is None:
        return []
    has = f"driver {driver.group(1)} is for CUDA {offered.group(1)}.{offered.group(2)}"
    if int(offered.group(1)) < int(cuda.partition(".")[0]):
        remedy = f"install a torch for CUDA {offered.group(1)} ({SITE_TORCH})"
        return [failure(f"{has}, older than this torch needs (CUDA {cuda})", remedy)]
    return [ok(f"{has}, torch for {cuda}")]
