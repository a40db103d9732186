"""A progress bar for work counted in frames; plain lines where there is no terminal."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from fishray.report.wording import rough_time

PLAIN_EVERY_S = 5.0

OnFrames = Callable[[str, int, int | None], None]


@contextmanager
def frame_progress(clock: Callable[[], float] = time.monotonic) -> Iterator[OnFrames]:
    """Give a function that is told what is being done, frames done and frames in all (None: unknown)."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain(console, clock)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("frames"), _RateColumn())
    with Progress(*columns, TimeRemainingColumn(compact=True), console=console, transient=True) as progress:
        tasks = {}

        def update(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield update


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed
        return Text(f"{rate:,.0f} frames/s" if rate else "")


@dataclass
class _Pace:
    """How fast a work goes, since it was first heard of."""

    began_s: float
    first: int
    shown_s: float

    def words(self, now_s: float, done: int, total: int | None) -> str:
        rate = (done - self.first) / (now_s - self.began_s) if now_s > self.began_s else 0
        left = f", ~{rough_time((total - done) / rate)} left" if rate and total and total > done else ""
        return f", {rate:,.0f} frames/s{left}" if rate else ""


def _plain(console: Console, clock: Callable[[], float]) -> OnFrames:
    paces: dict[str, _Pace] = {}
    ended = set()

    def update(what: str, done: int, total: int | None) -> None:
        now_s = clock()
        is_first = what not in paces
        pace = paces.setdefault(what, _Pace(now_s, done, now_s))
        due = is_first or now_s - pace.shown_s >= PLAIN_EVERY_S or done == total
        if due and what not in ended:
            count = f"{done:,} of {total:,}" if total else f"{done:,}"
            console.print(f"{what}: {count} frames{pace.words(now_s, done, total)}", highlight=False)
            pace.shown_s = now_s
            if done == total:
                ended.add(what)

    return update
