"""Tables of the commands that have no view of their own."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from fishray.config.sweep import Sweep
from fishray.report.columns import Column, align, needed_width
from fishray.report.wording import plural
from fishray.runs import TrialState

if TYPE_CHECKING:  # it knows networks, and with them torch, for which `status` would wait
    from fishray.tuning.plan import Plan


def print_trial(trial: TrialState, run: Path, console: Console) -> None:
    """Show one trial: settings, epochs, why it ended and, if it failed, where."""
    config = trial.config
    say(console, f"{config.id} · {trial.status}{f': {trial.reason}' if trial.reason else ''} · seed {config.seed}")
    say(console, f" settings  {', '.join(f'{key} {value}' for key, value in config.settings.model_dump().items())}\n")
    results = [trial.results[epoch] for epoch in sorted(trial.results)]
    if results:
        columns = [Column("epoch", [str(result["epoch"]) for result in results], "right")]
        for header, key in (("loss", "loss"), ("validation AUC", "validation_auc"), ("seconds", "epoch_s")):
            columns.append(Column(header, [f"{result[key]:.3f}" for result in results], "right"))
        if results[0].get("folds"):
            columns.append(
                Column("by fold", [" ".join(f"{fold['auc']:.3f}" for fold in each["folds"]) for each in results])
            )
        columns.append(Column("", ["best" if each["epoch"] == trial.best_epoch else "" for each in results]))
        print_columns(columns, console)
    if trial.traceback:
        say(console, trial.traceback)
    say(console, f"\nNext: {shlex.join(['fishray', 'report', str(run)])}")


def print_plan(plan: "Plan", console: Console) -> None:
    """Show what a sweep would run."""
    sweep, node = plan.sweep, plan.node
    gpus = plural(len(node.gpu_names), "GPU") if node.gpu_names else "no GPU"
    gpus += f" ({node.gpu_names[0]})" if any(node.gpu_names) else ""
    machine = f"{plural(node.cpus, 'CPU')}, {gpus}"
    if node.most_workers:
        machine = f"up to {plural(node.most_workers, 'worker')} of {machine}"
    data = " · ".join(f"{split} {frames:,} ({share:.1%})" for split, (frames, share) in plan.valid_frames.items())
    rungs = " → ".join(map(str, sweep.search.rungs))
    say(console, f"{sweep.name} · seed {sweep.seed} · {machine} · data {plan.fingerprint[:8]}")
    say(console, f" recordings               {', '.join(plan.recordings)}")
    say(console, f" valid frames (positive)  {data}")
    if plan.folds:
        say(console, f" folds                    a network for each, held out: {' | '.join(plan.folds)}")
    say(console, f" rungs                    {rungs} epochs, by {sweep.search.metric.replace('_', ' ')}\n")
    families = plan.families
    at_once = "on a worker at once" if node.most_workers else "at once"
    columns = [
        Column("family", [family.name for family in families]),
        Column("trials", [str(family.trials) for family in families], "right"),
        Column("weights", [_between(*family.parameters) for family in families], "right"),
        Column("steps an epoch", [_between(*family.steps_per_epoch) for family in families], "right"),
        Column("CPUs", [str(family.cpus) for family in families], "right"),
        Column("GPUs", [f"{family.gpus:g}" for family in families], "right"),
        Column(at_once, [str(family.at_once) for family in families], "right"),
        Column("model", [family.model for family in families]),
    ]
    print_columns(columns, console)


def print_without_data(sweep: Sweep, console: Console) -> None:
    """Show what a sweep would run, as far as that can be said before its tank is simulated."""
    rungs = " → ".join(map(str, sweep.search.rungs))
    families = " · ".join(f"{plural(family.trials, 'trial')} of {name}" for name, family in sweep.families.items())
    say(console, f"{sweep.name} · seed {sweep.seed} · {families}")
    say(console, f" data           {sweep.data.store} is not there yet: the driver simulates it first")
    say(console, f" rungs          {rungs} epochs, by {sweep.search.metric.replace('_', ' ')}")


def print_columns(columns: list[Column], console: Console) -> None:
    """Print a table; the last columns go where the terminal is too narrow."""
    while needed_width(columns) > console.width and len(columns) > 1:
        columns = columns[:-1]
    for line in align(columns, console.width):
        console.print(line, highlight=False, no_wrap=True, overflow="ignore", crop=False)


def say(console: Console, text: str) -> None:
    """Print text as it is, its lines as long as they are."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _between(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
