"""A folder in which tests start real commands, and find what those left behind."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

START_S, END_S = 400, 150
"""Bounds for a loaded machine; a start takes about 20 s and an end about 3 s."""


@dataclass
class Desk:
    """A folder to work in, with a home and a scratch of its own, by which every process begun there is known."""

    folder: Path
    scratch: Path
    """Short, because Ray keeps sockets in it, and their paths may have 107 bytes at most."""
    started: list = field(default_factory=list)

    def start(self, *words, before=(), **variables):
        """Begin a command in a session and process group of its own, as a login does.

        Parameters
        ----------
        before
            A command that starts it, such as taskset.
        variables
            Added to its environment.
        """
        environment = self.environment()
        with (self.folder / "log.txt").open("ab") as log:
            command = [*before, Path(sys.executable).with_name("fishray"), *words]
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment | variables, stdout=log, stderr=log, start_new_session=True
            )
        self.started.append(process)
        return process

    def environment(self):
        """What its commands find around them."""
        environment = os.environ | {"TMPDIR": str(self.scratch), "HOME": str(self.folder / "home"), "COLUMNS": "120"}
        for name in ("RAY_AUTH_TOKEN_PATH", "PYTEST_CURRENT_TEST"):  # by the latter, mlflow behaves better than it is
            environment.pop(name, None)
        return environment

    def log(self):
        """The end of what the commands have said."""
        return (self.folder / "log.txt").read_text(errors="replace")[-2000:]

    def processes(self):
        """Every process that was begun here and still runs, also those that left their parent."""
        mark, found = f"TMPDIR={self.scratch}".encode(), []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    def leftovers(self):
        """What is in scratch and home besides empty folders."""
        places = [self.scratch, self.folder / "home"]
        return [path for place in places for path in place.rglob("*") if not path.is_dir()]

    def clear(self):
        for process in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for process in self.started:
            process.wait(END_S)
        shutil.rmtree(self.scratch)


@contextmanager
def desk_in(folder):
    """A desk in an empty folder; its processes and its scratch are gone afterwards."""
    (folder / "home").mkdir()
    desk = Desk(folder, Path(tempfile.mkdtemp(prefix="f", dir="/tmp")))
    try:
        yield desk
    finally:
        desk.clear()


def wait_for(condition, process, desk):
    """Wait until something holds, while a process runs."""
    until_s = time.monotonic() + START_S
    while not condition():
        assert process.poll() is None, desk.log()
        assert time.monotonic() < until_s, desk.log()
        time.sleep(0.05)


def wait_until_none_is_left(desk):
    until_s = time.monotonic() + END_S
    while desk.processes() and time.monotonic() < until_s:
        time.sleep(0.05)
    return desk.processes()
