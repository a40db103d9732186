"""Commands on sweeps: train, tune."""

import shlex
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fishray.cli.runs import report
from fishray.errors import ResourceError, StorageError
from hpc.errors import HpcError

if TYPE_CHECKING:
    from rich.console import Console

    from fishray.config.sweep import Sweep
    from fishray.tuning.continuation import Continuation
    from fishray.tuning.node import Node
    from fishray.tuning.preparation import Prepared
    from hpc.workers import RayOnSlurm


class Place(StrEnum):
    """Where trials run."""

    local = "local"
    slurm = "slurm"


SweepPath = Annotated[Path, typer.Argument(help="The sweep file.", metavar="SWEEP.yaml")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Replace one setting; may be given again.", metavar="KEY=VALUE")
]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (train, tune):
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
    probe: Annotated[
        bool, typer.Option("--probe/--no-probe", help="With --dry-run: train a little first, to forecast the cost.")
    ] = True,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over, in a new run beside one that exists (NAME-2).")
    ] = False,
    runs: Annotated[Path, typer.Option(help="Where runs live.")] = Path("runs"),
    on: Annotated[
        Place | None,
        typer.Option(help="This machine, or workers on Slurm: the latter if the sweep has a cluster block."),
    ] = None,
    cluster: Annotated[
        Path | None, typer.Option(help="A site's profile, under the sweep's cluster block.", metavar="SITE.yaml")
    ] = None,
) -> None:
    """Run a sweep of trials, or go on with it.

    Trains its trials in parallel, stops the poor ones early, and scores the best and the baselines on the test split.
    The same command goes on with a run that was stopped or has died, wherever it was; more trials, epochs or families
    in the sweep file extend it. Ctrl-C ends it with the running epochs, a second one at once.

    With --on slurm it submits a job that drives the sweep, and that one submits workers as they are needed; here it
    shows how they do, and Ctrl-C leaves them alone. Within a batch job it drives the sweep itself (slurm/sweep.sh).
    --dry-run shows the jobs, and what Slurm says of them. Without Slurm it trains each family's smallest and largest
    model for a second, and forecasts what the sweep will cost.

    \b
      fishray tune sweeps/small.yaml
      fishray tune sweeps/video.yaml --set data.store=data/mine.zarr --dry-run
      fishray tune sweeps/small.yaml --set name=long --set search.max_epochs=27
      fishray tune sweeps/small.yaml --on slurm
    """
    import sys

    from rich.console import Console

    from fishray.cli import driver_job, slurm
    from fishray.tuning.continuation import find_continuation, free_path
    from hpc.slurm import Slurm

    overrides = list(settings or [])
    loaded = _load(sweep, overrides, on, cluster)
    if fresh and (name := free_path(runs / loaded.name).name) != loaded.name:
        overrides.append(f"name={name}")
        loaded = _load(sweep, overrides, on, cluster)
    path, console = runs / loaded.name, Console()
    on_slurm = on is Place.slurm or (on is None and loaded.cluster is not None)
    words = _words(sweep, overrides, runs, on, cluster)
    submits = on_slurm and not driver_job.is_driver()
    if on_slurm and not submits and not dry_run:
        driver_job.wait_until_unused(path, Slurm())
    elif not dry_run:
        slurm.refuse_if_driven(path)
    found = find_continuation(path, loaded)
    if found and found.is_finished and not dry_run:
        report(path)
        typer.echo(f"({path} had finished; to start over beside it: --fresh)")
        return
    if submits and not dry_run:
        slurm.refuse_without_slurm(_command(_words(sweep, overrides, runs, Place.local, None)))
    prepared = None
    if on_slurm and (submits or dry_run) and loaded.data.simulate and not loaded.data.store.exists():
        slurm.check(loaded)  # the tank is the driver's work
    else:
        with driver_job.queued_again_if_told() if on_slurm and not submits else nullcontext():
            prepared = _prepare(loaded, found, slurm.worker_node(loaded) if on_slurm else None)
    if dry_run:
        sys.exit(_print_dry_run(loaded, prepared, path, words if on_slurm else None, console, probes=probe))
    if prepared is None or submits:
        sys.exit(slurm.submit_and_follow(loaded, path, words, Slurm(), console))
    workers = driver_job.open_workers(loaded, path, _command(words)) if on_slurm else None
    sys.exit(_run(prepared, path, _command(words), console, workers))


def _load(sweep: Path, overrides: list[str], on: Place | None, cluster: Path | None) -> "Sweep":
    """Read a sweep file, over its site's profile if it is for Slurm."""
    from fishray.config.loader import load_profile, load_sweep

    loaded = load_sweep(sweep, overrides)
    if on is Place.local or not (on or cluster or loaded.cluster):
        return loaded
    return load_sweep(sweep, overrides, load_profile(cluster))


def _prepare(loaded: "Sweep", found: "Continuation | None", node: "Node | None") -> "Prepared":
    """See that a sweep can start; make its tank first if it asks for one."""
    from fishray.cli.progress import frame_progress
    from fishray.report.estimate import goes_on
    from fishray.tuning.continuation import refuse_other_data
    from fishray.tuning.preparation import prepare

    with frame_progress() as progress:
        prepared = prepare(loaded, progress, found.families if found else (), node)
    if found:
        refuse_other_data(found.run, prepared.fingerprint)
        typer.echo(f"{found.run.path} goes on: {goes_on(found.state, loaded, found.grown)}")
    for note in prepared.notes:
        typer.echo(f"Note: {note}.")
    return prepared


def _words(sweep: Path, overrides: list[str], runs: Path, on: Place | None, cluster: Path | None) -> list[str]:
    """What to type behind the program's name to go on with a run."""
    chosen = [word for override in overrides for word in ("--set", override)]
    elsewhere = [] if runs == Path("runs") else ["--runs", str(runs)]
    place = [*(["--on", on.value] if on else []), *(["--cluster", str(cluster)] if cluster else [])]
    return ["tune", str(sweep), *chosen, *elsewhere, *place]


def _command(words: list[str]) -> str:
    return shlex.join(["fishray", *words])


def _print_dry_run(
    sweep: "Sweep",
    prepared: "Prepared | None",
    path: Path,
    words: list[str] | None,
    console: "Console",
    *,
    probes: bool,
) -> int:
    """Say what would run, and with words for `tune` on Slurm, what would be submitted; gives the exit status."""
    from fishray.cli import slurm
    from fishray.cli.forecasting import no_forecast, print_forecast
    from fishray.cli.printing import print_plan, print_without_data
    from fishray.tuning.plan import describe
    from hpc.slurm import Slurm

    if prepared:
        print_plan(describe(prepared), console)
        if words is None and probes:
            print_forecast(prepared, console)
    else:
        print_without_data(sweep, console)
    if words is not None:
        typer.echo("\n" + "\n".join([*slurm.describe_workers(sweep), no_forecast(words[1])]))
        if not slurm.print_jobs(sweep, path, words, Slurm(), console):
            typer.echo("\nNothing was started. Slurm would refuse it; when that is mended, look again.")
            return 1
    typer.echo("\nNothing was started. Leave out --dry-run to run it.")
    return 0


def _run(
    prepared: "Prepared", path: Path, command: str, console: "Console", workers: "RayOnSlurm | None" = None
) -> int:
    """Run a sweep under its view, and say what to type next; gives the exit status."""
    import signal

    from fishray.cli.driver_job import queue_again
    from fishray.report.live import LiveView
    from fishray.runs import Run
    from fishray.trackers import open_trackers
    from fishray.tuning.interruption import Interruption
    from fishray.tuning.sweep import run_sweep

    with Interruption() as interruption:
        try:
            past = list(Run(path).journal)
            with (
                LiveView(console, prepared.sweep) as view,
                open_trackers(path, prepared.sweep, past, view.say) as trackers,
            ):
                view.catch_up(past)
                watchers = (view.on_event, trackers.on_event)
                status = run_sweep(prepared, path, watchers, interruption, command, workers).state().status
        except KeyboardInterrupt:
            status = "interrupted"
        except (StorageError, ResourceError, HpcError) as error:
            raise type(error)(f"{error}; what is saved is whole. When that is mended, go on: {command}") from error
    if status == "interrupted":
        typer.echo(f"Stopped; what was trained is kept. Go on: {command}")
        if workers and interruption.signal is signal.SIGUSR1:
            queue_again()
        return interruption.exit_status
    typer.echo(f"{'Every trial failed. ' if status == 'failed' else ''}Next: {_command(['report', str(path)])}")
    return 1 if status == "failed" else 0


def _print_epoch(score: object) -> bool:
    from fishray.training import Score

    if not isinstance(score, Score):
        raise TypeError(type(score).__name__)
    by_fold = " ".join(f"{fold['auc']:.4f}" for fold in score.folds)
    typer.echo(
        f"epoch {score.epoch:>3}  loss {score.loss:.4f}  validation AUC {score.validation_auc:.4f}  "
        f"{f'({by_fold})  ' if by_fold else ''}"
        f"{score.labels_per_s:,.0f} labels/s{'  COLLAPSED' if score.collapsed else ''}"
    )
    return True


def _print_overfit(step: int, loss: float, auc: float) -> None:
    typer.echo(f"step {step:>4}  loss {loss:.4f}  training AUC {auc:.3f}")
