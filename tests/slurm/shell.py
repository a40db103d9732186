"""make slurm-shell: a Slurm cluster of three nodes, and a shell on its login node; it is gone when the shell ends."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from slurm_cluster import slurm_cluster
from slurm_files import CPUS, GPUS, MEMORY_MB, NODES
from slurm_machine import ClusterError

ENDS = (signal.SIGHUP, signal.SIGTERM)


def end(number: int, _: object) -> None:
    """Take everything down, which is not to be disturbed by the next signal: a terminal that closes sends several."""
    for each in ENDS:
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def main() -> int:
    """The shell's exit status; 1 if there can be no cluster."""
    signal.signal(signal.SIGINT, lambda *_: None)  # the shell's affair; ignored, it would stay so in its children
    for number in ENDS:
        signal.signal(number, end)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="slurm-") as folder,
            slurm_cluster(Path(folder) / "cluster", accounting="--accounting" in sys.argv) as cluster,
        ):
            print(f"{', '.join(NODES)}: {CPUS} CPUs, {MEMORY_MB} MB, {GPUS} fake GPUs; srun -w n1 --pty bash")
            print("Partitions low, whose jobs are warned and requeued for others, and high. Another user: su ada")
            print(f"Files in {cluster.shared} are on every node. sacct works with --accounting.", flush=True)
            variables = {"TERM": os.environ.get("TERM", "dumb"), "PS1": r"\u@\h (test Slurm) \W\$ "}
            return subprocess.run(cluster.command_line("bash", "--norc", **variables), check=False).returncode
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
