"""Compare the speed of simulated tanks, from the decoded video, with that of six real Serpae tetra.

PYTHONPATH=tests/support python tests/evidence/tank_against_real.py --png tank.png
Prints a line for each tank, with the seconds of CPU for each minute and the peak memory, and draws the first one beside
the real series where ../shared holds it.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
from calibration import HEADER, LAGS, REAL, autocorrelation, calibration

from fishray.config.tank import TankSettings
from fishray.ingest.video import Video
from fishray.signals.speed import SpeedMeter
from fishray.simulate import simulate

mpl.use("Agg")
from matplotlib import pyplot as plt

REAL_SERIES = Path(__file__).parents[2].parent / "shared/data/serpae-tetra/train_speed.npy"
SECONDS = 60
"""Length of the pieces that are drawn."""


def main():
    """Print a table and draw a figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--display", type=float, nargs="+", default=[0.9])
    for name in ("display_s", "encounters", "alarm"):
        default = TankSettings.model_fields[name].default
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=default)
    parser.add_argument("--png", type=Path)
    chosen = parser.parse_args()
    print(f"{'':<24}{HEADER}")
    print(f"{'real, train':<24}{REAL}")
    first = None
    for display in chosen.display:
        for seed in chosen.seeds:
            telling = {"display": display, "display_s": chosen.display_s}
            bursts = {"encounters": chosen.encounters, "alarm": chosen.alarm}
            settings = TankSettings(minutes=chosen.minutes, seed=seed, **telling, **bursts)
            with multiprocessing.get_context("spawn").Pool(1) as pool:  # a process of its own has a peak of its own
                speed, cpu_s, peak_mib = pool.apply(film, (settings,))
            first = speed if first is None else first
            said = f"{cpu_s / chosen.minutes:.1f} CPU-s a minute to simulate, {peak_mib:.0f} MiB"
            print(f"{f'seed {seed}, display {display:g}':<24}{calibration(speed)}   {said}", flush=True)
    if chosen.png:
        draw(first, chosen.png)


def film(settings):
    """Speed of a tank as its video is decoded, CPU seconds to simulate it, and this process's peak memory [MiB]."""
    with tempfile.TemporaryDirectory(prefix="evidence-") as folder:
        path = Path(folder) / "tank.mp4"
        began_s = time.process_time()
        simulate(path, settings)
        cpu_s = time.process_time() - began_s
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        meter = SpeedMeter()
        for frame_hw in Video(path).frames():
            meter.see(frame_hw)
    return meter.speed, cpu_s, peak_mib


def draw(speed, path):
    """A minute of each series, their distributions and their autocorrelations."""
    series = {"simulated": (speed, "tab:orange")}
    if REAL_SERIES.exists():
        series = {"real": (np.load(REAL_SERIES)[:-1], "tab:gray")} | series
    figure, axes = plt.subplot_mosaic([["minute", "minute"], ["distribution", "correlation"]], figsize=(9, 6))
    for name, (values, colour) in series.items():
        middle = len(values) // 2
        piece = values[middle : middle + 30 * SECONDS]
        axes["minute"].plot(np.arange(len(piece)) / 30, 1e3 * piece, color=colour, label=name, linewidth=0.8)
        bins = np.linspace(0, 4, 81)
        axes["distribution"].hist(1e3 * values, bins, density=True, histtype="step", color=colour, label=name)
        lags = np.arange(10 * LAGS[-1] // 3)
        axes["correlation"].plot(lags / 30, autocorrelation(values, len(lags) - 1), color=colour, label=name)
    axes["minute"].set(xlabel="time [s]", ylabel="speed [1e-3 grey level / frame]", title="a minute")
    axes["distribution"].set(xlabel="speed [1e-3 grey level / frame]", ylabel="density", title="all of it")
    axes["correlation"].set(xlabel="lag [s]", ylabel="autocorrelation", title="how long speed lasts")
    axes["correlation"].axhline(0, color="black", linewidth=0.5)
    axes["minute"].legend(frameon=False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
