"""Does a ConvLSTM lose by gradients that end where its judged steps begin (`warm_up: no_gradients`)?

PYTHONPATH=tests/support python tests/evidence/truncate_gradients.py
In each simulated tank, trials that differ in nothing else are trained for as many steps and compared on test, paired,
by the same bootstrap as in a report.
"""

import argparse
import json
import shlex
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import yaml
from forecast_tanks import ROOT, SWEEP, commit_here, difference, interval, on_test, training_s

from fishray.report.ranking import rank
from fishray.runs import Run

SEEDS = [0, 1, 2]
RATES = [0.007, 0.01]
FORMS = {"full": "gradients", "truncated": "no_gradients"}


def main():
    """Print what each tank says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--folder", type=Path, default=Path("runs/evidence"), help="for tanks and runs; kept")
    parser.add_argument("--json", type=Path, default=Path("runs/evidence/truncate_gradients.json"))
    chosen = parser.parse_args()
    tanks = []
    for seed in chosen.seeds:
        tanks.append(compare(seed, train(seed, chosen.folder)))
        print("\n".join(table(tanks[-1])), flush=True)
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    told = {"command": shlex.join(["python", *sys.argv]), "commit": commit_here(), "tanks": tanks}
    chosen.json.write_text(json.dumps(told, indent=2) + "\n")


def train(seed, folder):
    """The run of a sweep of one family for each form, with the settings of sweeps/tank.yaml's family `frames`."""
    sweep = yaml.safe_load(SWEEP.read_text())
    fixed = sweep["families"]["frames"]["fixed"] | {"weight_decay": 0.2}
    sweep["families"] = {
        form: {
            "model": "convlstm",
            "trials": len(RATES),
            "space": {"learning_rate": {"choice": RATES}},
            "fixed": fixed | {"warm_up": warm_up},
        }
        for form, warm_up in FORMS.items()
    }
    sweep["search"]["searcher"] = "grid"
    sweep["report"] = {"leaders": len(FORMS) * len(RATES)}
    sweep["name"] = f"truncate-{seed}"
    sweep["data"] |= {"store": str((folder / f"tank-{seed}.zarr").resolve())}
    sweep["data"]["simulate"] |= {"seed": seed}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"truncate-{seed}.yaml"
    path.write_text(yaml.safe_dump(sweep))
    command = [Path(sys.executable).with_name("fishray"), "tune", path, "--runs", folder]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return Run(folder / sweep["name"])


def compare(seed, run):
    """Each truncated trial against the full one of the same learning rate."""
    ranking, state = rank(run), run.standing()
    result = on_test(run, ranking)
    named = {
        (trial.config.family, trial.config.settings.learning_rate): trial.config.id for trial in state.trials.values()
    }
    pairs = [(named["full", rate], named["truncated", rate]) for rate in RATES]
    return {
        "seed": seed,
        "test": str(ranking.test),
        "training_s": {form: training_s(state, form) for form in FORMS},
        "trials": [
            {
                "learning_rate": rate,
                "full": asdict(result.interval(full)),
                "truncated": asdict(result.interval(truncated)),
                "difference": asdict(result.difference(truncated, full)),
            }
            for rate, (full, truncated) in zip(RATES, pairs, strict=True)
        ],
    }


def table(tank):
    """Lines for one tank."""
    times = ", ".join(f"{form} {seconds:.0f} s" for form, seconds in tank["training_s"].items())
    yield f"\ntank {tank['seed']}: {tank['test']}; {times}"
    for trial in tank["trials"]:
        cells = f"full {interval(trial['full'])}  truncated {interval(trial['truncated'])}"
        yield f"  lr {trial['learning_rate']:g}  {cells}  {difference(trial['difference'])}"


if __name__ == "__main__":
    main()
