"""How fast fishray is, against other ways of doing the same and against what a machine can do at most.

make bench; or, for some of it:
PYTHONPATH=tests/support python tests/benchmarks/bench.py --only labels speed --rounds 3
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLOSC_NTHREADS")
os.environ.update(dict.fromkeys(THREADS, "1"))  # before anything that reads them: everything is told per core

import command_rows  # noqa: E402
import convlstm_rows  # noqa: E402
import driver_rows  # noqa: E402
import frame_rows  # noqa: E402
import lstm_rows  # noqa: E402
import signal_rows  # noqa: E402
import sweep_rows  # noqa: E402
from measuring import Plan  # noqa: E402
from rich.console import Console  # noqa: E402
from showing import agreements, as_json, as_markdown, describe_machine, table  # noqa: E402

BENCHMARKS = {
    "clips": frame_rows.clips,
    "fill": frame_rows.fill,
    "ingest": frame_rows.ingesting,
    "speed": signal_rows.speed,
    "labels": signal_rows.labels,
    "convlstm": convlstm_rows.steps,
    "dense": convlstm_rows.dense,
    "memory": convlstm_rows.memory,
    "prediction": convlstm_rows.prediction,
    "lstm": lstm_rows.dense,
    "trials": sweep_rows.small_trials,
    "driver": driver_rows.driver,
    "help": command_rows.showing_help,
}
"""In the order of the table."""

TABLE_WIDTH = 120


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=[*BENCHMARKS], default=[*BENCHMARKS], metavar="NAME")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round of small data: whether it runs, not how fast")
    parser.add_argument("--json", type=Path, help="write everything here as well")
    parser.add_argument("--markdown", type=Path, help="write the table here as Markdown")
    parser.add_argument("--keras", type=Path, help="a Python with keras and tensorflow-cpu, to measure against them")
    chosen = parser.parse_args()
    rounds = 1 if chosen.quick else chosen.rounds
    rows, machine = [], describe_machine()
    for name in chosen.only:
        began_s = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            rows += BENCHMARKS[name](Plan(rounds, chosen.quick, Path(folder), chosen.keras))
        print(f"{name} measured in {time.monotonic() - began_s:.0f} s", file=sys.stderr, flush=True)
    console = Console(width=None if sys.stdout.isatty() else TABLE_WIDTH)
    console.print(table(rows, machine), *agreements(rows), sep="\n")
    if chosen.json:
        _write(chosen.json, json.dumps(as_json(rows, machine, rounds), indent=1) + "\n")
    if chosen.markdown:
        _write(chosen.markdown, as_markdown(rows, machine))


def _write(path: Path, text: str):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    main()
