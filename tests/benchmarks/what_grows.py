"""What grows with trials, nodes and hours of video: the numbers of docs/scale.md.

PYTHONPATH=tests/support python tests/benchmarks/what_grows.py --trials 10000 --workers 100
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from driver_rows import drive
from frame_rows import forget
from numpy.typing import NDArray
from tank_frames import FRAMES, SMALL, film

from fishray.ingest.resizing import resize_area
from fishray.runs import Run
from fishray.sequences.cache import FrameCache
from fishray.signals.speed import frame_speed
from fishray.store import new_recording, open_store

FPS = 30
HOUR = 3600 * FPS


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=100)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        print_video(Path(folder))
        print_sweep(Path(folder) / "run", chosen.trials, chosen.workers)


def print_video(folder: Path):
    """What an hour of video takes, from two minutes of it at the default size."""
    black_thw = np.stack([resize_area(frame_hw, SMALL) for frame_hw in film(FRAMES)])
    noise_thw = np.random.default_rng(0).normal(60, 3, black_thw.shape).astype(np.uint8)
    for name, frames_thw in {"on black": black_thw, "noisy": np.maximum(black_thw, noise_thw)}.items():
        size, cpu_s = stored(folder / name, frames_thw)
        hours = len(frames_thw) / HOUR
        print(
            f"an hour of video, {name}: {size / hours / 1e9:.2f} GB in a store, {cpu_s / hours:.1f} CPU-s into a cache"
        )
    files = [path for path in (folder / "on black").rglob("*") if path.is_file() or path.is_dir()]
    print(f"a store of one recording of one shard: {len(files)} files and folders")


def stored(path: Path, frames_thw: NDArray[np.uint8]) -> tuple[int, float]:
    """Bytes of frames in a store, and CPU seconds to put them into a node's cache."""
    with new_recording(path, "tank", {"fps": float(FPS)}) as writer:
        writer.append(frames_thw)
        writer.finish(frame_speed(frames_thw))
    forget(path)
    with FrameCache("bench", path.parent) as cache:
        began_s = time.process_time()
        cache.frames(open_store(path).recording("tank"))
        return sum(file.stat().st_size for file in path.rglob("*")), time.process_time() - began_s


def print_sweep(path: Path, trials: int, workers: int):
    """What a sweep's driver does, and leaves; and what whoever goes on with it has to read."""
    drove = drive(path, trials, workers)
    print(f"{trials:,} trials on {workers} workers: {drove.reports:,} reports")
    print(f"driver: {1e3 * drove.cost_s:.2f} CPU-ms for each trial and report, {drove.cpu_s:.0f} CPU-s in all")
    print(f"journal: {drove.journal_bytes / 1e6:.1f} MB, {drove.journal_bytes / trials:,.0f} bytes a trial")
    print(f"files and folders: {drove.inodes:,}")
    began_s = time.process_time()
    Run.open(path).state()
    print(f"the journal is folded in {time.process_time() - began_s:.1f} CPU-s")


if __name__ == "__main__":
    main()
