"""A progress bar for work counted in frames; plain lines where there is no terminal."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_EVERY_S = 5.0

OnFrames = Callable[[str, int, int | None], None]


@contextmanager
def frame_progress() -> Iterator[OnFrames]:
    """Give a function that is told what is being done, frames done and frames in all (None: unknown)."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("frames"))
    with Progress(*columns, TimeRemainingColumn(compact=True), console=console, transient=True) as progress:
        tasks = {}

        def update(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield update


def _plain(console: Console) -> OnFrames:
    shown: dict[str, float] = {}

    def update(what: str, done: int, total: int | None) -> None:
        now_s = time.monotonic()
        due = now_s - shown.get(what, -math.inf) >= PLAIN_EVERY_S
        if due or (done == total and shown[what] < math.inf):
            shown[what] = math.inf if done == total else now_s
            console.print(f"{what}: {done}{f' of {total}' if total else ''} frames", highlight=False)

    return update
