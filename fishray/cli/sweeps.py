"""Commands on sweeps and runs: train, tune, status, report, predict."""

from pathlib import Path
from typing import Annotated

import typer

SweepPath = Annotated[Path, typer.Argument(help="The sweep file.", metavar="SWEEP.yaml")]
RunPath = Annotated[Path, typer.Argument(help="The run's directory.", metavar="RUN")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Replace one setting; may be given again.", metavar="KEY=VALUE")
]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (train, tune, status, report, predict):
        app.command()(command)


def train(
    sweep: SweepPath,
    family: Annotated[str, typer.Option(help="Which family of the sweep.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Replace one setting of the trial, or of the sweep.", metavar="KEY=VALUE"),
    ] = None,
    trial: Annotated[
        int | None, typer.Option(help="Take the settings drawn for this trial of the family.", min=0)
    ] = None,
    overfit: Annotated[
        int | None, typer.Option(help="Learn this many clips by heart instead, to see that training works.", min=2)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the best epoch's weights in this directory.")] = None,
) -> None:
    """Train one trial here, without Ray.

    For debugging. Without --trial it has the model's default settings and the family's fixed ones.

    \b
      fishray train sweeps/small.yaml --family lstm --set learning_rate=0.01
      fishray train sweeps/small.yaml --family convlstm --overfit 16
    """
    import tempfile

    from fishray.cli.progress import frame_progress
    from fishray.config.loader import load_sweep
    from fishray.config.sweep import Sweep
    from fishray.tuning.preparation import prepare_store
    from fishray.tuning.single import choose_trial, overfit_one, train_one

    of_sweep = [each for each in settings or [] if each.split("=")[0].split(".")[0] in Sweep.model_fields]
    of_trial = [each for each in settings or [] if each not in of_sweep]
    loaded = load_sweep(sweep, of_sweep)
    config = choose_trial(loaded, family, trial, of_trial)
    with frame_progress() as progress:
        prepare_store(loaded, progress)
    if overfit:
        auc = overfit_one(loaded, config, overfit, _print_overfit)
        typer.echo(f"{overfit} clips: training AUC {auc:.3f}")
        return
    with tempfile.TemporaryDirectory() as folder:
        train_one(loaded, config, _print_epoch, out or Path(folder))
    if out:
        typer.echo(f"best epoch: {out / 'best'}")


def tune(
    sweep: SweepPath,
    settings: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, say what would run, and start nothing.")
    ] = False,
    runs: Annotated[Path, typer.Option(help="Where runs live.")] = Path("runs"),
) -> None:
    """Run a sweep of trials.

    Trains its trials in parallel on this machine, stops the poor ones early, and scores the best and the baselines on
    the test split. Ctrl-C stops it and keeps what was trained.

    \b
      fishray tune sweeps/small.yaml
      fishray tune sweeps/video.yaml --set data.store=data/mine.zarr --dry-run
      fishray tune sweeps/small.yaml --set name=long --set search.max_epochs=27
    """
    import sys

    from rich.console import Console

    from fishray.cli.progress import frame_progress
    from fishray.config.loader import load_sweep
    from fishray.report.live import LiveView
    from fishray.runs import Run
    from fishray.tuning.preparation import prepare

    loaded = load_sweep(sweep, settings or [])
    path = runs / loaded.name
    if not dry_run:
        Run.refuse_existing(path)
    with frame_progress() as progress:
        prepared = prepare(loaded, progress)
    if dry_run:
        from fishray.cli.printing import print_plan
        from fishray.tuning.plan import describe

        print_plan(describe(prepared), Console())
        return
    from fishray.tuning.sweep import run_sweep

    try:
        with LiveView(Console(), loaded) as view:
            status = run_sweep(prepared, path, view.on_event).state().status
    except KeyboardInterrupt:
        status = "interrupted"
    said = {"interrupted": "Stopped; what was trained is kept. ", "failed": "Every trial failed. "}
    typer.echo(f"{said.get(status, '')}Next: fishray report {path}")
    sys.exit({"interrupted": 130, "failed": 1}.get(status, 0))


def status(
    run: RunPath,
    trial: Annotated[str | None, typer.Option(help="One trial: its settings, epochs, and why it ended.")] = None,
) -> None:
    """Say how a run stands, while it runs or afterwards."""
    import time

    from rich.console import Console

    from fishray.cli.printing import print_trial
    from fishray.report.live import render
    from fishray.runs import Run

    opened = Run.open(run)
    console = Console()
    if trial:
        print_trial(opened.trial(trial), opened.path, console)
    else:
        console.print(render(opened.state(), opened.resolved()[0], time.time(), console.width))


def report(
    run: RunPath,
    show_all: Annotated[bool, typer.Option("--all", help="Show every trial.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Every number, for machines.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="The ranking as CSV.")] = False,
) -> None:
    """Rank a run's trials and baselines.

    Trials stand in the order of their validation score; the leaders and all baselines have a test AUC with a 95 %
    interval and paired differences. A verdict says in words which of them foresee bursts better than persistence.
    """
    from rich.console import Console

    from fishray.report.ranking import rank
    from fishray.report.terminal import print_csv, print_json, print_report
    from fishray.runs import Run

    ranking = rank(Run.open(run))
    if json:
        print_json(ranking, Console())
    elif csv:
        print_csv(ranking, Console())
    else:
        print_report(ranking, Console(), show_all=show_all)


def predict(
    run: RunPath,
    store: Annotated[Path, typer.Argument(help="A store with recordings to judge.", metavar="STORE.zarr")],
    out: Annotated[
        Path, typer.Option(help="The table to write: recording, frame, time, probability.", metavar="P.csv")
    ],
    trial: Annotated[str | None, typer.Option(help="Which trial; the best on validation by default.")] = None,
) -> None:
    """Judge every frame with a run's best trial.

    \b
      fishray predict runs/small data/tank.zarr --out p.csv
    """
    from fishray.evaluation.scoring import write_predictions_csv
    from fishray.predictors.network import NetworkPredictor
    from fishray.runs import Run
    from fishray.store import open_store

    opened = Run.open(run)
    chosen = opened.trial(trial).config.id if trial else opened.best_trial()
    predictor = NetworkPredictor.load(opened.best_path(chosen))
    rows = write_predictions_csv(predictor, open_store(store), out)
    typer.echo(f"{out}: {rows} frames judged by {chosen}")


def _print_epoch(score: object) -> bool:
    from fishray.training import Score

    if not isinstance(score, Score):
        raise TypeError(type(score).__name__)
    typer.echo(
        f"epoch {score.epoch:>3}  loss {score.loss:.4f}  validation AUC {score.validation_auc:.4f}  "
        f"{score.labels_per_s:,.0f} labels/s{'  COLLAPSED' if score.collapsed else ''}"
    )
    return True


def _print_overfit(step: int, loss: float, auc: float) -> None:
    typer.echo(f"step {step:>4}  loss {loss:.4f}  training AUC {auc:.3f}")
