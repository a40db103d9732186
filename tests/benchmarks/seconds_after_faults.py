"""Seconds from what happens to a worker on Slurm until its trials are seen as gone, run again, have trained, and it is
replaced; and from a worker's grant to its first trial.

make bench-slurm; needs root and Slurm. Workers, driver, controller and nodes share this machine.
"""

import tempfile
import time
from pathlib import Path

from crashing import of
from slurm_cluster import slurm_cluster
from slurm_faults import cancel, cut_network, cut_power, kill_raylet, preempt, strike
from slurm_sweep import ENDLESS, SWEEP, SlurmSweep

FAULTS = {
    "scancel": cancel,
    "kill -9 of its raylet": kill_raylet,
    "power cut": cut_power,
    "network cut": cut_network,
    "preemption": preempt,
}


def main():
    """Print a row for each."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, slurm_cluster(Path(folder) / "cluster") as cluster:
        lstm = SWEEP["families"]["lstm"] | {"trials": 4}
        sweep = SlurmSweep(cluster, "bench", SWEEP | {"families": {"lstm": lstm}, "search": ENDLESS})
        sweep.submit()
        sweep.wait_for("a worker's grant", lambda: sweep.workers("joining", "running"))
        granted_s = time.monotonic()
        sweep.wait_for("the first trial", lambda: of(sweep.run, "attempt"))
        print(f"first trial {time.monotonic() - granted_s:.1f} s after the first grant\n")
        print(f"{'':<24}{'seen':>8}{'resumed':>9}{'trained':>9}{'replaced':>10}   [s]")
        for name, fault in FAULTS.items():
            aftermath, mend = strike(sweep, sweep.a_busy_worker(beside_driver=False), fault)
            mend()
            print(
                f"{name:<24}{aftermath.seen_s:>8.1f}{aftermath.resumed_s:>9.1f}{aftermath.trained_s:>9.1f}"
                f"{aftermath.replaced_s:>10.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
