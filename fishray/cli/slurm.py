"""Sweeps on Slurm: what is submitted from a login node, what would be, and `stop`."""

import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fishray.cli.driver_job import (
    DriverNote,
    cluster_folder,
    cluster_settings,
    driver_jobs,
    driver_script,
    log_path,
    refuse_driven,
    wait_until_unused,
)
from fishray.cli.following import WhileWaiting, command, follow, say, waiting
from fishray.cli.runs import RunPath
from fishray.errors import RunError, SettingError
from hpc.errors import SlurmError

if TYPE_CHECKING:
    from rich.console import Console

    from fishray.config.sweep import Sweep
    from fishray.tuning.node import Node
    from hpc.demand import Size, Wanted
    from hpc.slurm import QueuedJob, Slurm

LOOK_EVERY_S = 2.0
APART_S = 1.0
"""Between two signals that are to be two."""
AT_ONCE_S = 20.0
"""How long a driver may take that puts away what it has."""
GONE_S = 60.0
"""How long a cancelled driver may take to be gone; Slurm kills it 30 s after it was told, by default."""


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(stop)


def stop(
    run: RunPath,
    wait_s: Annotated[
        float, typer.Option("--wait", help="Seconds that the running epochs have to end.", min=0, metavar="SECONDS")
    ] = 60.0,
) -> None:
    """Stop a sweep that runs on Slurm, and cancel its jobs; the run can be gone on with.

    Its driver is asked first, and ends with the running epochs. Then every job of this run is cancelled, and no other.
    A driver that still waits in the queue is cancelled at once.

    \b
      fishray stop runs/small
      fishray stop runs/small --wait 0
    """
    from rich.console import Console

    from hpc.slurm import Slurm

    for line in stop_run(run, wait_s, Slurm(), Console()):
        typer.echo(line)


def stop_run(path: Path, wait_s: float, slurm: "Slurm", console: "Console") -> list[str]:
    """End every job of a run; in words, what was done and how to go on.

    Raises
    ------
    RunError
        If there is no run, or if it runs outside of Slurm.
    """
    from fishray.report.wording import plural
    from fishray.runs import Run
    from hpc.workers import close_cluster, cluster_jobs

    folder = cluster_folder(path)
    run = Run(path) if folder.is_dir() else Run.open(path)
    note, holder = DriverNote.read(folder), run.holder()
    drivers, workers = driver_jobs(folder, slurm), cluster_jobs(folder, slurm)
    if holder and not drivers and not (note and note.is_of(holder)):
        raise RunError(f"{path} runs outside of Slurm, on {holder}; stop it there: Ctrl-C, or kill -TERM {holder.pid}")
    with waiting(console) as tell:
        _end_drivers(folder, drivers, wait_s, slurm, tell)
        if workers:
            tell("Ending its workers")
        close_cluster(folder, slurm)
    state = run.standing()
    ended = [f"its driver (job {job.job_id})" for job in drivers] + [plural(len(workers), "worker")] * bool(workers)
    if not ended and state.status == "finished":
        return [f"{path} has finished: there is nothing to stop. Next: {command('report', path)}"]
    lines = [f"{path}: ended {' and '.join(ended)}" if ended else f"{path} does not run: there is nothing to stop"]
    if left := [*driver_jobs(folder, slurm), *cluster_jobs(folder, slurm)]:
        lines.append(f"{plural(len(left), 'job')} of it will be gone when Slurm has killed what runs there")
    if state.status != "finished":
        go_on = state.facts.get("command") or (note.command if note else "") or "fishray tune SWEEP.yaml"
        lines.append(f"{'What was trained is kept. ' if state.facts else ''}Go on: {go_on}")
    return lines


def check(sweep: "Sweep") -> None:
    """Refuse, before anything is submitted, what could never start; for a sweep whose tank is yet to be simulated.

    Raises
    ------
    ResourceError, SettingError
        Saying what is wrong and what to do.
    """
    from fishray.trackers import check_trackers
    from fishray.tuning.node import check_resources
    from fishray.tuning.searchers import check_searcher

    check_resources(sweep, worker_node(sweep))
    check_trackers(sweep)
    check_searcher(sweep)


def worker_node(sweep: "Sweep") -> "Node":
    """What every worker of a sweep has."""
    from fishray.tuning.node import Node

    cluster = cluster_settings(sweep)
    return Node(cluster.cpus, ("",) * cluster.gpus, cluster.workers.max)


def there_is_slurm() -> bool:
    """Whether jobs can be submitted from this machine."""
    return shutil.which("sbatch") is not None


def refuse_without_slurm(locally: str) -> None:
    """Refuse to submit where nothing can be submitted.

    Parameters
    ----------
    locally
        What to type to run the sweep on this machine.

    Raises
    ------
    SettingError
        Saying so.
    """
    if not there_is_slurm():
        raise SettingError(
            f"there is no Slurm here (no sbatch), where this sweep's workers are to be; run it on this machine alone: "
            f"{locally}"
        )


def refuse_if_driven(path: Path) -> None:
    """Refuse to start what a job drives already, or will, and wait for the lease of one that was killed.

    Where the queue cannot be asked, the lease must do.

    Raises
    ------
    RunError
        Naming the job.
    """
    from fishray.runs import Run
    from hpc.slurm import Slurm

    if (note := DriverNote.read(cluster_folder(path))) and there_is_slurm():
        with suppress(SlurmError):
            refuse_driven(path, Slurm())
            if (holder := Run(path).holder()) and note.is_of(holder):
                wait_until_unused(path, Slurm())


def submit_and_follow(sweep: "Sweep", path: Path, words: list[str], slurm: "Slurm", console: "Console") -> int:
    """Submit the driver's job, and show its view until it ends or Ctrl-C; gives the exit status.

    Parameters
    ----------
    words
        The command line of `tune`, without the program.
    """
    from fishray.runs import Run
    from hpc.files import private_directory
    from hpc.submission import worker_script

    refuse_driven(path, slurm)
    try:
        slurm.test(worker_script(cluster_settings(sweep), cluster_folder(path), f"fishray-{sweep.name}"))
    except SlurmError as error:  # nodes that are down now may come back
        typer.echo(f"warning: Slurm says of a worker: {error}; look closer: {command('doctor', *words[1:])}")
    folder = private_directory(cluster_folder(Run.claim(path).path))  # an --output without a folder ends a job at once
    job_id = slurm.submit(driver_script(sweep, path, words))
    DriverNote(job_id, command(*words), log=str(log_path(folder, job_id))).write(folder)
    typer.echo(f"The driver is job {job_id}. Ctrl-C leaves it alone: the sweep goes on.")
    return follow(path, job_id, slurm, console)


def print_jobs(sweep: "Sweep", path: Path, words: list[str], slurm: "Slurm", console: "Console") -> bool:
    """Show exactly what would be submitted, and what Slurm says of it; gives whether it has nothing against it."""
    from hpc.submission import worker_script

    jobs = {
        "The driver's job": driver_script(sweep, path, words),
        "Each worker's job": worker_script(cluster_settings(sweep), cluster_folder(path), f"fishray-{sweep.name}"),
    }
    is_welcome = True
    for title, script in jobs.items():
        say(console, f"\n{title}:")
        say(console, "\n".join(f"  {line}".rstrip() for line in script.splitlines()))
        try:
            answer = slurm.test(script) if there_is_slurm() else "there is no Slurm here to ask"
        except SlurmError as error:
            answer, is_welcome = str(error), False
        say(console, f"  → {answer}")
    return is_welcome


def describe_workers(sweep: "Sweep") -> list[str]:
    """How many workers a sweep would ask for, what each of them is, and how many trials it holds at once."""
    from itertools import islice

    from fishray.report.wording import plural
    from fishray.tuning.crew import FORESIGHT
    from fishray.tuning.seats import share_of
    from fishray.tuning.space import plan_order
    from hpc.demand import Size, workers_needed

    cluster = cluster_settings(sweep)
    size, most = Size(cluster.cpus, cluster.gpus), cluster.workers.max
    shares = {name: share_of(family.resources, cluster.gpus) for name, family in sweep.families.items()}
    demand = [shares[name] for name, _ in islice(plan_order(sweep), FORESIGHT)]
    first = max(cluster.workers.min, workers_needed(demand, size, most))
    gpus = plural(cluster.gpus, "GPU") if cluster.gpus else "no GPU"
    each = f"{plural(cluster.cpus, 'CPU')}, {gpus}, {cluster.memory_gb:g} GB, for {cluster.time}"
    on_worker = {name: _at_once(share, size) for name, share in shares.items()}
    on_gpu = {
        name: min(_at_once({"gpus": share["gpus"]}, Size(0, 1)), on_worker[name])
        for name, share in shares.items()
        if 0 < share["gpus"] <= 1
    }
    lines = [f" workers        {first} at first, {most} at most; each with {each}"]
    lines += [f" on a worker    {_counts(on_worker)}"]
    return lines + [f" on one GPU     {_counts(on_gpu)}"] * bool(on_gpu)


def _at_once(share: "Wanted", size: "Size") -> int:
    """How many trials that take as much fit into a size."""
    count = 0
    while size.holds([share] * (count + 1)):
        count += 1
    return count


def _counts(trials: dict[str, int]) -> str:
    from fishray.report.wording import plural

    return " or ".join(f"{plural(count, 'trial')} of {name}" for name, count in trials.items()) + " at once"


def _end_drivers(folder: Path, drivers: list["QueuedJob"], wait_s: float, slurm: "Slurm", tell: WhileWaiting) -> None:
    """Ask the drivers of a run to end, then to end at once, then cancel them, and see them gone.

    One that lives may submit a worker yet, and one that was killed keeps the next waiting for its lease.
    """
    slurm.cancel([job.job_id for job in drivers if job.is_pending])
    at_work = [job.job_id for job in drivers if not job.is_pending]

    def wait(within_s: float) -> None:
        nonlocal at_work
        until_s = time.monotonic() + within_s
        while at_work and time.monotonic() < until_s:
            time.sleep(min(LOOK_EVERY_S, within_s))
            at_work = [job.job_id for job in driver_jobs(folder, slurm)]

    patient = f"ends with the running epochs, within {wait_s:g} s" if wait_s else "ends at once"
    for within_s, words in ((max(wait_s, APART_S), patient), (AT_ONCE_S, "ends at once")):
        for job_id in at_work:
            tell(f"Job {job_id} {words}")
            with suppress(SlurmError):  # it has just ended
                slurm.signal(job_id, "INT", batch=True)
        wait(within_s)
    if at_work:
        tell(f"Cancelling job {' and '.join(at_work)}")
        slurm.cancel(at_work)
        wait(GONE_S)
