"""Kill ingests at random moments, let the same command complete each, and compare every file of the store.

PYTHONPATH=tests/support .venv/bin/python tests/evidence/kill_an_ingest.py --kills 20
A kill that comes when the ingest has ended is none; it is tried again at another moment.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from ingesting import FRAMES, Bench


def main():
    """Print a line for each kill and one in the end; the status is 0 if every store was equal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    rng = np.random.default_rng(chosen.seed)
    kills = equal = tries = 0
    with tempfile.TemporaryDirectory(prefix="evidence-") as folder:
        bench = Bench(Path(folder))
        print(f"left alone: {FRAMES} frames in {bench.life_s:.1f} s, {len(bench.undisturbed)} files", flush=True)
        while kills < chosen.kills:
            store = f"killed-{tries}.zarr"
            tries += 1
            kill = bench.kill_one(store, rng.uniform())
            if kill is None:
                continue
            kills += 1
            is_equal = bench.complete(store) == bench.undisturbed
            equal += is_equal
            what = "equal" if is_equal else "UNEQUAL"
            print(f"{kills:>4}  {kill.after_s:5.2f} s  {kill.doing:<10} {kill.frames:>5} frames  {what}", flush=True)
        left = bench.left_behind()
    print(f"{kills} kills, {equal} stores equal byte for byte, {len(left)} files left beside them")
    return 0 if equal == kills and not left else 1


if __name__ == "__main__":
    sys.exit(main())
