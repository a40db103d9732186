"""How a sweep stands that a Slurm job drives, or is to drive: shown once, or until it ends."""

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fishray.cli.driver_job import DriverNote, cluster_folder, driver_jobs, whereabouts
from fishray.errors import RunError
from hpc.errors import SlurmError

if TYPE_CHECKING:
    from rich.console import Console

    from fishray.runs import Run
    from hpc.slurm import QueuedJob, Slurm

LOOK_EVERY_S = 1.0
"""At the run's directory."""
QUEUE_EVERY_S, LONGEST_S, SLOWER = 2.0, 30.0, 1.3
"""At the queue, which the whole site shares: less and less often."""
LOG_LINES = 5

WhileWaiting = Callable[[str], None]
"""Shows what is waited for."""


def show(path: Path, slurm: "Slurm", console: "Console", *, follows: bool = False) -> int:
    """Show how a run stands that has, or had, a job as its driver.

    Returns
    -------
    The exit status.

    Raises
    ------
    RunError
        If its driver ended before it began.
    """
    from fishray.report.live import follow_run, print_next, print_status
    from fishray.runs import Run
    from fishray.runs.directory import SWEEP

    run, folder, is_begun = Run(path), cluster_folder(path), (path / SWEEP).exists()
    note = DriverNote.read(folder)
    try:
        job = next(iter(driver_jobs(folder, slurm)), None)
    except SlurmError as error:
        say(console, f"The queue cannot be asked: {error}")
        job = None
    if job and follows:
        return follow(path, job.job_id, slurm, console)
    if job and is_begun:
        _print_view(run, console)
        say(console, f"{_standing(run, job)}\n{next_words(path)}")
    elif job:
        say(console, f"{path} has not begun: its driver, job {job.job_id}, {whereabouts(job)}\n{next_words(path)}")
    elif not is_begun:
        raise RunError("\n".join([f"{path} has not begun", *(_last_words(path, note, slurm) if note else [])]))
    elif note and _has_died(run, note):
        _print_view(run, console, is_dead=True)
        for line in _last_words(path, note, slurm):
            say(console, line)
    elif follows:
        print_next(run, follow_run(run, console), console)
    else:
        print_status(run, console)
    return 0


def follow(path: Path, job_id: str, slurm: "Slurm", console: "Console") -> int:
    """Show a run from the moment that its driver begins, and again when that was queued again.

    Returns
    -------
    The exit status: 0 when it finished, and when the person leaves with Ctrl-C.
    """
    from fishray.report.live import follow_run, print_next
    from fishray.runs import Run
    from fishray.runs.state import GOING_ON

    run, seen = Run(path), False
    try:
        while _await_driver(run, job_id, slurm, console, again=seen):
            state, seen = follow_run(run, console), True
            if state.status in GOING_ON:
                raise KeyboardInterrupt  # which the view has taken
            if state.status in ("finished", "failed"):
                break
    except KeyboardInterrupt:
        say(console, f"The sweep goes on.\n{next_words(path)}")
        return 0
    note = DriverNote.read(cluster_folder(path)) or DriverNote(job_id)
    state, begun = run.standing(), seen or bool(note.host)
    if begun and not seen:  # it was over between two looks
        _print_view(run, console)
    if not begun or state.status == "died":
        for line in _last_words(path, note, slurm):
            say(console, line)
        return 1
    if state.status == "interrupted":
        say(console, f"It was {state.last}" if state.last.startswith("stopped") else f"It stopped: {state.last}")
    print_next(run, state, console)
    return 0 if state.status == "finished" else 1


def next_words(path: Path) -> str:
    """What to type to see a sweep that goes on, or to stop it."""
    return f"See it: {command('status', path)} --follow · stop it: {command('stop', path)}"


def command(*words: str | Path) -> str:
    """A command line of ours, to be pasted into a shell."""
    return shlex.join(["fishray", *map(str, words)])


def say(console: "Console", text: str) -> None:
    """Print a line as it is, which a terminal may break anywhere."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def waiting(console: "Console", suffix: str = "") -> Iterator[WhileWaiting]:
    """Give a function that shows what is waited for: in passing on a terminal, a line for each other thing in a log."""
    last = ""

    def tell(text: str) -> None:
        nonlocal last
        if text != last:
            say(console, text)
        last = text

    if not console.is_terminal:
        yield tell
        return
    with console.status("") as status:
        yield lambda text: status.update(f"{text}{suffix}")


def _await_driver(run: "Run", job_id: str, slurm: "Slurm", console: "Console", *, again: bool) -> bool:
    """Wait until a driver is at work; False if its job has ended.

    Parameters
    ----------
    again
        Whether it was at work before: it ends, or is queued again.
    """
    from fishray.runs.state import GOING_ON

    every_s, ask_s = QUEUE_EVERY_S, 0.0
    with waiting(console, " · Ctrl-C leaves it alone") as tell:
        while not (run.holder() and run.state().status in GOING_ON):
            if time.monotonic() >= ask_s:
                try:
                    job = slurm.job(job_id)
                    if job is None or not job.is_active:
                        return False
                    again &= not job.is_pending
                    tell(f"Job {job_id} {whereabouts(job) if job.is_pending else 'ends' if again else 'starts'}")
                except SlurmError as error:
                    if not error.is_passing:
                        raise
                ask_s = time.monotonic() + every_s
                every_s = min(every_s * SLOWER, LONGEST_S)
            time.sleep(LOOK_EVERY_S)
    return True


def _has_died(run: "Run", note: DriverNote) -> bool:
    """Whether the driver that came last, whose job is over, ended without a word in the journal."""
    if holder := run.holder():
        return note.is_of(holder)
    if not note.host:
        return True
    state = run.standing()
    return state.status == "died" and (state.facts.get("host"), state.facts.get("pid")) == (note.host, note.pid)


def _standing(run: "Run", job: "QueuedJob") -> str:
    """Where the driver of a run is that has begun."""
    if job.is_pending or run.holder() is None:
        return f"Its driver, job {job.job_id}, {whereabouts(job)}"
    return f"It runs as job {job.job_id}{f' on {job.node}' if job.node else ''}"


def _last_words(path: Path, note: DriverNote, slurm: "Slurm") -> list[str]:
    """What became of a driver's job that is over without a word in the journal, and what to do."""
    from fishray.report.wording import plural
    from hpc.workers import cluster_jobs

    state, workers = "", 0
    with suppress(SlurmError):
        job = slurm.job(note.job_id)
        state = job.state if job else slurm.final_state(note.job_id)
        workers = len(cluster_jobs(cluster_folder(path), slurm))
    lines: list[str] = []
    with suppress(OSError):
        text = Path(note.log).read_text(errors="replace")
        lines = [line for line in text.splitlines() if line.strip()][-LOG_LINES:]
    begun = "has ended" if note.host else "ended before the sweep began"
    where = f"; the end of its log, {note.log}:" if lines else ""
    said = [f"Its driver, job {note.job_id}, {begun}{f' ({state})' if state else ''}{where}"]
    said += [f"  {line}" for line in lines]
    if workers:
        said.append(f"{plural(workers, 'worker')} of it may wait for the next; to end that: {command('stop', path)}")
    return [*said, f"Go on: {note.command or 'fishray tune SWEEP.yaml'}"]


def _print_view(run: "Run", console: "Console", *, is_dead: bool = False) -> None:
    from fishray.report.live import render

    state = run.standing()
    if is_dead:
        state.mark_dead()
    console.print(render(state, run.resolved()[0], time.time(), console.width))
