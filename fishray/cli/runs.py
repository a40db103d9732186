"""Commands on runs: status, report, predict, replay, clean."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fishray.runs.cleaning import Cleaning
    from fishray.tuning.replay import ReplayedEpoch

RunPath = Annotated[Path, typer.Argument(help="The run's directory.", metavar="RUN")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (status, report, predict, replay, clean):
        app.command()(command)


def status(
    run: RunPath,
    follow: Annotated[bool, typer.Option("--follow", help="Go on showing it until it ends, or Ctrl-C.")] = False,
    trial: Annotated[str | None, typer.Option(help="One trial: its settings, epochs, and why it ended.")] = None,
) -> None:
    """Say how a run stands, while it runs or afterwards: where it runs, or that it has died.

    Of a sweep on Slurm it also says why its driver or its workers wait in the queue; from any node.

    \b
      fishray status runs/small --follow
      fishray status runs/small --trial lstm-0003
    """
    from rich.console import Console

    from fishray.cli import following, slurm
    from fishray.cli.driver_job import DriverNote, cluster_folder
    from fishray.cli.printing import print_trial
    from fishray.report.live import follow_run, print_next, print_status
    from fishray.runs import Run
    from hpc.slurm import Slurm

    console = Console()
    if not trial and DriverNote.read(cluster_folder(run)) and slurm.there_is_slurm():
        sys.exit(following.show(run, Slurm(), console, follows=follow))
    opened = Run.open(run)
    if trial:
        print_trial(opened.trial(trial), opened.path, console)
    elif follow:
        print_next(opened, follow_run(opened, console), console)
    else:
        print_status(opened, console)


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
    from fishray.predictors.folded import FoldedPredictor, load_trained
    from fishray.runs import Run
    from fishray.runs.cleaning import kept_weights
    from fishray.store import open_store

    opened = Run.open(run)
    chosen = trial or opened.best_trial()
    predictor = load_trained(kept_weights(opened, chosen))
    rows = write_predictions_csv(predictor, open_store(store), out)
    folds = f" (mean of its {len(predictor.networks)} folds)" if isinstance(predictor, FoldedPredictor) else ""
    typer.echo(f"{out}: {rows} frames judged by {chosen}{folds}")


def replay(
    run: RunPath,
    trial: Annotated[str, typer.Argument(help="Which trial.", metavar="TRIAL")],
    epochs: Annotated[
        int | None, typer.Option(help="How many; as many as the journal has of it when left out.", min=1)
    ] = None,
) -> None:
    """Train one trial of a run once more, and compare every epoch with the journal.

    With the settings, seed, threads and device that the journal has of it, on the data of the run's sweep.yaml, in this
    process, without Ray. Nothing in the run is touched, and no weights are kept.

    \b
      fishray replay runs/small lstm-0003
      fishray replay runs/small lstm-0003 --epochs 2
    """
    from fishray.runs import Run
    from fishray.tuning.replay import conclusion
    from fishray.tuning.replay import replay as replay_trial

    opened = Run.open(run)
    metric = opened.resolved()[0].search.metric
    replayed = replay_trial(
        opened,
        trial,
        epochs,
        report=lambda epoch: _print_replayed(epoch, metric),
        warn=lambda text: typer.echo(f"warning: {text}"),
    )
    typer.echo(conclusion(replayed))


def clean(
    run: RunPath,
    keep: Annotated[int, typer.Option(help="Keep the weights of this many, the best on validation.", min=1)] = 5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
) -> None:
    """Free the room that a run's ended trials take on disk.

    Removes the weights of all but the best trials, and the checkpoints of those that have ended. Leaders, which are
    scored on test, keep their weights. Settings, scores and predictions stay, and so does every trial that has not
    ended: the run can be reported, and gone on with.

    \b
      fishray clean runs/small --dry-run
      fishray clean runs/small --keep 1
    """
    from fishray.runs import Run
    from fishray.runs.cleaning import clean as clean_run

    for line in _cleaning_lines(run, clean_run(Run.open(run), keep, dry_run=dry_run), dry_run):
        typer.echo(line)


def _print_replayed(epoch: "ReplayedEpoch", metric: str) -> None:
    """Print one line of a table that grows; the first one under its header."""
    from fishray.report.wording import METRIC_NAMES

    name = METRIC_NAMES[metric]
    if epoch.epoch == 1:
        typer.echo(f" epoch    loss  {name}  recorded")
    recorded = "–" if epoch.recorded_value is None else f"{epoch.recorded_value:.4f}"
    line = f" {epoch.epoch:>5}  {epoch.loss:.4f}  {epoch.value:>{len(name)}.4f}  {recorded:>8}  {epoch}"
    typer.echo(line.rstrip())


def _cleaning_lines(run: Path, cleaning: "Cleaning", dry_run: bool) -> list[str]:
    from fishray.report.wording import plural

    kept = f"the best {len(cleaning.best)}"
    if cleaning.leaders:
        kept += f" and {plural(len(cleaning.leaders), 'other leader')}"
    gone = [f"the weights of {plural(len(cleaning.weights), 'trial')}"] if cleaning.weights else []
    if cleaning.checkpoints:
        trials = len(cleaning.checkpoints) if gone else plural(len(cleaning.checkpoints), "trial")
        gone.append(f"the checkpoints of {trials}")
    if not gone:
        return [f"{run}: nothing to free; the weights of {kept} are kept"]
    done, kept_word = ("would free", "would keep") if dry_run else ("freed", "kept")
    lines = [f"{run}: {done} {_size(cleaning.size_bytes)}: {', '.join(gone)}; {kept_word} {kept}"]
    if cleaning.begin_anew:
        trials = plural(len(cleaning.begin_anew), "finished trial")
        lines.append(
            f"The checkpoints of {trials} {'would go' if dry_run else 'are gone'}: more epochs would train them "
            "from their beginning"
        )
    if cleaning.needed:
        trials = plural(len(cleaning.needed), "finished trial")
        lines.append(f"{trials} keep their checkpoints: with more epochs they go on with the weights of one another")
    if dry_run:
        lines.append("Nothing was removed. Leave out --dry-run to remove it.")
    return lines


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:,.0f} kB"
