"""`doctor`: what keeps a sweep from running here, or on Slurm."""

import json
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fishray.cli.findings import print_findings
from fishray.cli.sweeps import Overrides, Place
from fishray.errors import SettingError

if TYPE_CHECKING:
    from rich.console import Console

    from hpc.doctor import Checkup, Need
    from hpc.settings import ClusterSettings

TRIALS = 100
"""Of a sweep that is not named."""
FILES_PER_TRIAL = 3


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(doctor)


def doctor(
    sweep: Annotated[
        Path | None, typer.Argument(help="The sweep that is to run; its cluster block is used.", metavar="SWEEP.yaml")
    ] = None,
    settings: Overrides = None,
    on: Annotated[
        Place | None, typer.Option(help="This machine, or workers on Slurm: the latter where there is a Slurm.")
    ] = None,
    cluster: Annotated[
        Path | None, typer.Option(help="A site's profile, under the sweep's cluster block.", metavar="SITE.yaml")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where runs are to live.")] = Path("runs"),
    wait_s: Annotated[
        float,
        typer.Option("--wait", help="Seconds that its job may wait in the queue.", min=0, metavar="SECONDS"),
    ] = 300.0,
) -> None:
    """Look for what keeps a sweep from running, and say what to do about it.

    Each line is ok, a warning or a failure, with a remedy behind the arrow. The exit status is 1 if there is a failure.

    Here it looks at Python, torch and the GPUs, CPUs, disks, limits and access rights. With --on slurm it looks at this
    node as the one from which jobs are submitted, and then submits a short job, otherwise the same as a worker's, to
    look at a compute node. Ctrl-C cancels it, and nothing is left of it.

    What fishray tune --on slurm needs:

    \b
      a partition   whose nodes have the cpus, gpus and memory_gb of the cluster
                    block, and which lets a job have its time
      storage       for runs (--runs), which this node and the compute nodes
                    write, with room for three files a trial
      Python        this one and its packages, at the same path on those nodes,
                    or another: cluster: {python: ...}; a torch for their driver
      a network     on which compute nodes reach one another over TCP
      scratch       on each node's own disk

    \b
      fishray doctor
      fishray doctor --on slurm
      fishray doctor sweeps/small.yaml --on slurm --cluster site.yaml
      fishray doctor sweeps/small.yaml --set cluster.partition=gpu --wait 3600
    """
    from rich.console import Console

    from fishray.report.wording import plural
    from hpc.doctor import Checkup, examine_here, examine_login_node, examine_node, warning

    console = Console()
    on_slurm = on is Place.slurm or (on is None and shutil.which("sbatch") is not None)
    worker, need = _load(sweep, list(settings or []), cluster, on_slurm)
    checkups = []
    try:
        with _ended_by_any_signal():
            if on_slurm:
                checkups.append(examine_login_node(worker, runs, need))
                print_checkup(checkups[0], console)
                if checkups[0].blocked:
                    checkups.append(Checkup("compute node", (warning("not examined: no job of ours could begin"),)))
                else:
                    with _waiting(console) as tell:
                        checkups.append(examine_node(worker, runs, wait_s=wait_s, tell=tell))
                print_checkup(checkups[1], console)
            else:
                with _waiting(console) as tell:
                    tell("importing torch")
                    checkups.append(examine_here(runs, _gpus(), need))
                print_checkup(checkups[0], console)
    except KeyboardInterrupt:
        typer.echo("\nStopped; nothing is left of it.")
        sys.exit(130)
    words = shlex.join(["fishray", *sys.argv[1:]])
    failures, warnings = (sum(each.count(level) for each in checkups) for level in ("failure", "warning"))
    if failures:
        typer.echo(f"\n{plural(failures, 'failure')}. When mended, look again: {words}")
        sys.exit(1)
    place = " --on slurm" if on_slurm else ""
    said = f"No failure, {plural(warnings, 'warning')}" if warnings else "Nothing is in the way"
    typer.echo(f"\n{said}. Next: fishray tune {sweep or 'sweeps/small.yaml'}{place}")


def print_checkup(checkup: "Checkup", console: "Console") -> None:
    """Show what was found in one place, each finding with its remedy behind an arrow."""
    from rich.text import Text

    console.print(Text(f" {checkup.place}", style="bold"), soft_wrap=True)
    print_findings([(finding.level, finding.text, finding.remedy) for finding in checkup.findings], console)


def _load(
    sweep: Path | None, overrides: list[str], cluster: Path | None, on_slurm: bool
) -> tuple["ClusterSettings", "Need"]:
    """What workers are, and how much a sweep is going to write."""
    from fishray.config.loader import load_profile, load_sweep
    from hpc.doctor import Need
    from hpc.settings import ClusterSettings

    profile = load_profile(cluster) if on_slurm or cluster else None
    if sweep is None:
        if overrides:
            raise SettingError("--set replaces settings of a sweep; name it: fishray doctor SWEEP.yaml --set KEY=VALUE")
        settings = ClusterSettings.model_validate_json(json.dumps(profile or {}))
        trials = TRIALS
    else:
        loaded = load_sweep(sweep, overrides, profile)
        settings = loaded.cluster or ClusterSettings()
        trials = sum(family.trials for family in loaded.families.values())
    return settings, Need(FILES_PER_TRIAL * trials, f"a sweep of {trials:,} trials")


def _gpus() -> int:
    from fishray.tuning.node import this_node

    return len(this_node().gpu_names)


@contextmanager
def _waiting(console: "Console") -> Iterator[Callable[[str], None]]:
    """Give a function that shows what is waited for; it passes on a terminal, and is a line in a log."""
    if not console.is_terminal:
        yield lambda text: console.print(f" … {text}", highlight=False, markup=False, soft_wrap=True)
        return
    with console.status("") as status:
        yield lambda text: status.update(f"{text} (Ctrl-C ends this)")


@contextmanager
def _ended_by_any_signal() -> Iterator[None]:
    """End as by Ctrl-C, so that no job stays in the queue, when a terminal is closed or somebody ends this."""
    kinds = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(kind, signal.default_int_handler) for kind in kinds]
    try:
        yield
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)
