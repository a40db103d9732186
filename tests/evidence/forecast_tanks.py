"""Run sweeps/tank.yaml on one simulated tank after another: does a ConvLSTM foresee more than the speed can tell?

make evidence; or other tanks: PYTHONPATH=tests/support .venv/bin/python tests/evidence/forecast_tanks.py --seeds 5 6
In each tank, the best trial of each kind by validation is compared on test: with persistence and with the best LSTM,
both paired, by the same bootstrap as in a report. The same command goes on where it was stopped.
"""

import argparse
import json
import shlex
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import matplotlib as mpl

from fishray.evaluation.bootstrap import bootstrap_auc
from fishray.report.ranking import rank
from fishray.report.wording import PERSISTENCE
from fishray.runs import Run

mpl.use("Agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).parents[2]
SWEEP = ROOT / "sweeps" / "tank.yaml"
SEEDS = [201, 202, 203, 204]
"""Of tanks on which nothing was chosen; 0 to 3 and 101 to 104 were used to make the simulator and the sweep."""
LSTM = "lstm"
NEEDED = 3
"""Of four tanks."""

FAMILIES = {
    "fused": "ConvLSTM: frames, differences and speed",
    "frames": "ConvLSTM: frames and differences",
    "published": "ConvLSTM: the published form",
    "lstm": "LSTM: speed",
}
"""Families of the sweep, as the figure calls them, from the top."""


def main():
    """Print a table for each tank and a count; the status is 0 if the ConvLSTM won on three of four."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--folder", type=Path, default=Path("runs/evidence"), help="for tanks and runs; kept")
    parser.add_argument("--json", type=Path, default=Path("runs/evidence/forecast_tanks.json"))
    parser.add_argument("--png", type=Path, default=Path("runs/evidence/forecast_tanks.png"))
    chosen = parser.parse_args()
    tanks = []
    for seed in chosen.seeds:
        tanks.append(forecast(seed, chosen.folder))
        print("\n".join(table(tanks[-1])), flush=True)
        write(chosen.json, tanks)
        draw(tanks, chosen.png)
    won = sum(tank["won"] for tank in tanks)
    print(f"\nConvLSTM above persistence and above the LSTM: {won} of {len(tanks)} tanks")
    return 0 if won * 4 >= NEEDED * len(tanks) else 1


def forecast(seed, folder):
    """One tank: its sweep, and how the best of each family did on test."""
    name = f"tank-{seed}"
    overrides = (f"name={name}", f"data.store={folder / name}.zarr", f"data.simulate.seed={seed}")
    words = [word for override in overrides for word in ("--set", override)]
    command = [Path(sys.executable).with_name("fishray"), "tune", SWEEP, *words, "--runs", folder]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return compare(seed, Run(folder / name))


def compare(seed, run):
    """Scores and paired differences of one run, as plain values."""
    state, ranking = run.standing(), rank(run)
    sweep, _ = run.resolved()
    result = on_test(run, ranking)
    best = {trial.config.family: trial.config.id for trial in reversed(state.ranked(sweep.search.metric))}
    order = [row.predictor for row in ranking.rows]
    trained = [name for name in order if name in best.values()]
    convlstm = next(name for name in trained if name != best[LSTM])
    rows = {row.predictor: row for row in ranking.rows}
    predictors = {
        name: {
            "family": rows[name].family,
            "settings": rows[name].settings,
            "validation": rows[name].validation,
            "test": asdict(result.interval(name)),
            "over persistence": asdict(result.difference(name, PERSISTENCE)),
            "over lstm": asdict(result.difference(name, best[LSTM])),
        }
        for name in [*trained, PERSISTENCE]
    }
    over = [predictors[convlstm][f"over {other}"]["low"] for other in ("persistence", "lstm")]
    return {
        "seed": seed,
        "convlstm": convlstm,
        "lstm": best[LSTM],
        "won": min(over) > 0,
        "predictors": predictors,
        "test": str(ranking.test),
        "trials": {name: family.trials for name, family in sweep.families.items()},
        "training_s": {name: training_s(state, name) for name in sweep.families},
        "elapsed_s": state.earlier_s + state.updated_s - state.session_s,
    }


def on_test(run, ranking):
    """AUC on test of all that were scored there, with every paired difference, as in the report."""
    sweep, _ = run.resolved()
    test = run.read_predictions()["test"]
    return bootstrap_auc(
        test.label,
        test.probability,
        block_frames=ranking.test.block_frames,
        resamples=sweep.report.resamples,
        seed=sweep.seed,
    )


def training_s(state, family):
    """Time that a family's trials took to train and to be validated, on one core each [s]."""
    trials = [trial for trial in state.trials.values() if trial.config.family == family]
    return sum(result["epoch_s"] * result["cpus"] for trial in trials for result in trial.results.values())


def table(tank):
    """Lines for one tank; the ConvLSTM that validation chose is marked."""
    took = ", ".join(
        f"{name} {tank['trials'][name]} in {seconds:.0f} s" for name, seconds in tank["training_s"].items()
    )
    yield f"\ntank {tank['seed']}: {tank['test']}; {took}; {tank['elapsed_s'] / 60:.1f} minutes in all"
    yield f"  {'':<16}{'val.':>6}  {'test AUC':<22}{'over persistence':<25}{'over the LSTM':<25}"
    for name, scores in tank["predictors"].items():
        mark = "*" if name == tank["convlstm"] else " "
        test, *over = (scores[key] for key in ("test", "over persistence", "over lstm"))
        cells = "".join(f"{difference(each):<25}" for each in over)
        yield f"{mark} {name:<16}{scores['validation']:>6.3f}  {interval(test):<22}{cells}".rstrip()


def interval(estimate):
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def difference(estimate):
    return f"{estimate['value']:+.3f} [{estimate['low']:+.3f}, {estimate['high']:+.3f}]" if estimate["value"] else "–"


def write(path, tanks):
    """Everything, with what it was made by."""
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, check=True, capture_output=True, text=True)
    provenance = {
        "command": shlex.join(["python", *sys.argv]),
        "commit": commit_here(),
        "uncommitted": changed.stdout.splitlines(),
        "sweep": SWEEP.read_text(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**provenance, "tanks": tanks}, indent=2) + "\n")


def commit_here():
    """What git calls the code that runs."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True)
    return commit.stdout.strip()


def draw(tanks, path):
    """Each family's best trial over persistence: a point with its interval for each tank."""
    figure, axis = plt.subplots(figsize=(8, 3.2))
    for place, family in enumerate(FAMILIES):
        for number, tank in enumerate(tanks):
            found = next((each for each in tank["predictors"].values() if each["family"] == family), None)
            if found is None:
                continue
            over = found["over persistence"]
            height = -place - 0.5 * (number + 0.5) / len(tanks)
            axis.plot([over["low"], over["high"]], [height] * 2, color=f"C{place}", linewidth=1.5)
            axis.plot(over["value"], height, "o", color=f"C{place}", markersize=4)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks([-place - 0.25 for place in range(len(FAMILIES))], FAMILIES.values())
    axis.set(
        xlabel="test AUC over persistence, with 95 % interval", title=f"the best trial in each of {len(tanks)} tanks"
    )
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
