"""Sweeps on Slurm: `tune --on slurm` as seen from a login node and from within the driver's job, and `stop`."""

import os
import shlex
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fishray.cli.runs import RunPath
from fishray.errors import RunError
from hpc.errors import HpcError, SlurmError

if TYPE_CHECKING:
    from rich.console import Console

    from fishray.config.sweep import Sweep
    from fishray.tuning.node import Node
    from hpc.settings import ClusterSettings
    from hpc.slurm import Slurm
    from hpc.workers import RayOnSlurm

DRIVER = "driver.json"
"""In a run's cluster folder: the job that drives it."""

LOOK_EVERY_S = 2.0


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

    \b
      fishray stop runs/small
      fishray stop runs/small --wait 0
    """
    from fishray.report.wording import plural
    from fishray.runs import Run
    from hpc.slurm import Slurm
    from hpc.worker import Head
    from hpc.workers import cluster_jobs

    opened, slurm = Run.open(run), Slurm()
    folder = _folder(run)
    driver = _driver_job(folder, slurm)
    if driver is None and (holder := opened.holder()):
        raise RunError(f"{run} runs outside of Slurm, on {holder}; stop it there: Ctrl-C, or kill -TERM {holder.pid}")
    if driver:
        with suppress(SlurmError):  # it may wait in the queue, where there is nothing to signal
            slurm.signal(driver, "TERM", batch=True)
        until = time.monotonic() + wait_s
        while time.monotonic() < until and opened.holder() and _driver_job(folder, slurm):
            time.sleep(LOOK_EVERY_S)
        slurm.cancel([driver])
    if head := Head.read(folder):
        head.close(folder)
    workers = cluster_jobs(folder, slurm)
    slurm.cancel(workers)
    gone = [*(["its driver"] if driver else []), *([plural(len(workers), "worker")] if workers else [])]
    typer.echo(f"{run}: " + (f"cancelled {' and '.join(gone)}" if gone else "no job of it was left"))
    state = opened.standing()
    if state.status != "finished":
        typer.echo(f"Go on: {state.facts.get('command', 'fishray tune SWEEP.yaml')}")


def check(sweep: "Sweep") -> None:
    """Refuse, before anything is submitted, what no worker could ever run.

    Raises
    ------
    ResourceError, SettingError
        Saying what is wrong and what to do.
    """
    from fishray.tuning.node import check_resources

    check_resources(sweep, worker_node(sweep))


def worker_node(sweep: "Sweep") -> "Node":
    """What every worker of a sweep has."""
    from fishray.tuning.node import Node

    cluster = _settings(sweep)
    return Node(cluster.cpus, ("",) * cluster.gpus, cluster.workers.max)


def is_driver() -> bool:
    """Whether this process is to drive the sweep itself: it runs within a Slurm job."""
    return "SLURM_JOB_ID" in os.environ


def wait_until_unused(path: Path) -> None:
    """Wait for the driver before us, which a node that died may have taken with it, to be given up.

    Raises
    ------
    RunError
        If it lives.
    """
    from fishray.runs.lease import SILENT_S, refuse_in_use

    until = time.monotonic() + SILENT_S + LOOK_EVERY_S
    told = False
    while path.exists():
        try:
            refuse_in_use(path)
        except RunError as error:
            if time.monotonic() > until:
                raise
            if not told:
                typer.echo(f"{error}; waiting for that")
            told = True
            time.sleep(LOOK_EVERY_S)
        else:
            return


def open_workers(sweep: "Sweep", path: Path) -> "RayOnSlurm":
    """The workers of a sweep, driven by this process, which notes its own job for `stop`."""
    from fishray.runs import Run
    from hpc.files import private_directory, write_json
    from hpc.workers import RayOnSlurm

    folder = private_directory(_folder(Run.claim(path).path))
    write_json(folder / DRIVER, {"job_id": os.environ["SLURM_JOB_ID"]})
    return RayOnSlurm(_settings(sweep), folder, f"fishray-{sweep.name}")


def queue_again() -> None:
    """Have this job start again from its beginning, because its time is over."""
    from hpc.slurm import Slurm

    try:
        Slurm().requeue(os.environ["SLURM_JOB_ID"])
    except HpcError as error:
        typer.echo(f"This job cannot be queued again ({error}); submit it once more")


def submit_and_follow(sweep: "Sweep", path: Path, words: list[str], console: "Console") -> int:
    """Submit the driver's job from a login node, and show its view until it ends or Ctrl-C; gives the exit status."""
    from fishray.runs import Run
    from hpc.files import private_directory, write_json
    from hpc.slurm import Slurm

    slurm = Slurm()
    folder = _folder(Run.claim(path).path)
    if running := _driver_job(folder, slurm):
        raise RunError(f"{path} is driven by job {running}; see it: fishray status {path} --follow")
    private_directory(folder)
    job_id = slurm.submit(driver_script(sweep, path, words))
    write_json(folder / DRIVER, {"job_id": job_id})
    typer.echo(f"The driver is job {job_id}. Ctrl-C leaves it alone: the sweep goes on.")
    try:
        return _follow(path, job_id, slurm, console)
    except KeyboardInterrupt:
        typer.echo(f"\nThe sweep goes on. See it: fishray status {path} --follow · stop it: fishray stop {path}")
        return 0


def driver_script(sweep: "Sweep", path: Path, words: list[str]) -> str:
    """The job script of a sweep's driver.

    Parameters
    ----------
    words
        The command line of `tune`, without the program.
    """
    from hpc.submission import driver_script as script

    cluster = _settings(sweep)
    log = _folder(path) / "driver-%j.log"
    command = shlex.join([str(Path(sys.executable).with_name("fishray")), *words])
    name = f"fishray-{sweep.name}"
    return script(cluster.driver, name, f"driver of {_folder(path)}", log, cluster.notice_s, command, cluster.setup)


def print_jobs(sweep: "Sweep", path: Path, words: list[str], console: "Console") -> None:
    """Show exactly what would be submitted, and what Slurm says of it."""
    from hpc.slurm import Slurm
    from hpc.submission import worker_script

    slurm, cluster = Slurm(), _settings(sweep)
    driver = driver_script(sweep, path, words)
    worker = worker_script(cluster, _folder(path), f"fishray-{sweep.name}")
    for title, script in (("The driver's job", driver), ("Each worker's job", worker)):
        console.print(f"\n{title}:", highlight=False)
        console.print(
            "\n".join(f"  {line}" for line in script.splitlines()), highlight=False, markup=False, soft_wrap=True
        )
        console.print(f"  → {slurm.test(script)}", highlight=False, markup=False, soft_wrap=True)


def _settings(sweep: "Sweep") -> "ClusterSettings":
    from hpc.settings import ClusterSettings

    return sweep.cluster or ClusterSettings()


def _folder(path: Path) -> Path:
    from fishray.runs.directory import CLUSTER

    return path.resolve() / CLUSTER


def _driver_job(folder: Path, slurm: "Slurm") -> str | None:
    """The job that drives a run, if it has not ended; a job of the same number that is none of ours is none."""
    from hpc.files import read_json

    noted = read_json(folder / DRIVER)
    if noted is None:
        return None
    job = slurm.job(noted["job_id"])
    return noted["job_id"] if job and job.is_active else None


def _follow(path: Path, job_id: str, slurm: "Slurm", console: "Console") -> int:
    """Show a run from the moment that its driver begins."""
    from fishray.report.live import follow_run
    from fishray.runs import Run

    reason = None
    while True:
        run = Run(path)
        if Run.is_at(path) and run.holder() and run.state().status:
            break
        job = slurm.job(job_id)
        if job is None or not job.is_active:
            typer.echo(f"Job {job_id} ended before the sweep began; its log: {_folder(path) / f'driver-{job_id}.log'}")
            return 1
        if job.reason != reason:
            reason = job.reason
            typer.echo(f"The driver waits in the queue ({reason})" if job.is_pending else "The driver starts")
        time.sleep(LOOK_EVERY_S)
    follow_run(run, console)
    return 0
