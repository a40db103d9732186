"""Who may write a run: one process at a time, on whatever machine.

A lease is a file ``lease-<generation>`` in the run's directory. It gets its name by a hard link, or by exclusive
creation where there are none, and of those network file systems let only one succeed; their file locks are not relied
on. Its holder touches it every few seconds. Whoever comes and finds it released, its process gone (on the same
machine), or untouched for a minute by the storage's own clock, takes the next generation. A holder that was cut off and
comes back finds a later one and writes nothing more; what it had under way stands in the journal behind the later
generation's first line, and is passed over there.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from fishray.errors import RunError, StorageError
from fishray.files import storage_errors, sync, written_aside

LEASE = "lease-"
"""What the names of its files begin with."""
BEAT_S = 5.0
SILENT_S = 60.0
"""Behind this long without a beat a holder on another machine counts as gone."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a lease, or held it last."""

    generation: int
    host: str
    pid: int
    machine: str
    """Boot and process namespace: process ids mean something where it is the same."""
    started: str
    """When the process started, as the kernel says; tells it from a later one of the same number."""
    released: bool = False

    @classmethod
    def this_process(cls, generation: int) -> Self:
        """Describe this process."""
        pid = os.getpid()
        return cls(generation, socket.gethostname(), pid, _machine(), _start_of(pid))

    @property
    def has_died(self) -> bool:
        """Whether it is known to be gone, which only its own machine can know."""
        return self.machine == _machine() and _start_of(self.pid) != self.started

    def __str__(self) -> str:
        return f"{self.host}, process {self.pid}"


class Lease:
    """The right to write a run; beats in a thread of its own until it is released.

    Raises
    ------
    RunError
        If another process holds it; names host and process.
    """

    def __init__(self, run_path: Path):
        self._run_path = run_path
        self.holder = _take(run_path)
        self._path = lease_path(run_path, self.generation)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    @property
    def generation(self) -> int:
        """Counts the holders of this run."""
        return self.holder.generation

    def check(self) -> None:
        """Raise a RunError if another process has taken over, a StorageError if the run's directory is gone."""
        check_generation(self._run_path, self.generation)

    def release(self) -> None:
        """Let others write; what cannot be said for want of storage, the lack of beats will say."""
        self._over.set()
        self._thread.join()
        with suppress(RunError, StorageError, OSError):
            self.check()
            _write(self._path, replace(self.holder, released=True))

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            with suppress(OSError):  # storage that is gone may come back
                os.utime(self._path)


@contextmanager
def leased(run_path: Path) -> Iterator[Lease]:
    """Hold a run's lease."""
    lease = Lease(run_path)
    try:
        yield lease
    finally:
        lease.release()


def bury(run_path: Path, holder: Holder) -> None:
    """Note that a holder on another machine is gone, which its silence would tell only later."""
    with storage_errors(run_path):
        _write(lease_path(run_path, holder.generation), replace(holder, released=True))


def check_generation(run_path: Path, generation: int) -> None:
    """See that what works for a holder still may: its own process, and those that it has started.

    Raises
    ------
    RunError
        If another process has taken over.
    StorageError
        If the run's directory is gone.
    """
    newest = _newest_generation(run_path)
    if newest < generation:
        raise StorageError(f"{run_path} is gone, or was emptied")
    if newest > generation:
        later = _read(run_path, newest)
        raise RunError(
            f"{run_path} was taken over by another process{f' ({later})' if later else ''}, because this one had not "
            f"been heard of for {SILENT_S:.0f} s; nothing more is written here"
        )


def lease_path(run_path: Path, generation: int) -> Path:
    """The file of a generation's lease."""
    return run_path / f"{LEASE}{generation}"


def last_holder(run_path: Path) -> Holder | None:
    """Who holds a run's lease or held it last; None if nobody ever did."""
    return _read(run_path, _newest_generation(run_path))


def refuse_in_use(run_path: Path) -> None:
    """Raise a RunError that names host and process if a run is in use."""
    _latest_unused(run_path)


def is_alive(run_path: Path, holder: Holder) -> bool:
    """Whether a holder still runs; of one on another machine, whether it was heard of lately."""
    if holder.released:
        return False
    if holder.machine == _machine():
        return _start_of(holder.pid) == holder.started
    return silence_s(run_path, holder) < SILENT_S


def silence_s(run_path: Path, holder: Holder) -> float:
    """Time since a holder was last heard of [s], by the clock of the storage where that can be had."""
    try:
        beat_s = lease_path(run_path, holder.generation).stat().st_mtime
    except FileNotFoundError:
        return 0.0  # a later one has just come
    return max(0.0, _storage_time_s(run_path) - beat_s)


def _take(run_path: Path) -> Holder:
    mine = Holder.this_process(_latest_unused(run_path) + 1)
    with storage_errors(run_path):
        if not _create(lease_path(run_path, mine.generation), mine):
            raise RunError(f"{run_path} has just been taken by another process")
        for generation in _generations(run_path):
            if generation > mine.generation:  # it was older than we knew
                lease_path(run_path, mine.generation).unlink(missing_ok=True)
                raise RunError(f"{run_path} has just been taken by another process")
            if generation < mine.generation:
                lease_path(run_path, generation).unlink(missing_ok=True)
        for part in run_path.glob(f"{LEASE}*.part"):  # of one that died before it had its name, or came too late
            part.unlink(missing_ok=True)
    return mine


def _latest_unused(run_path: Path) -> int:
    """The latest generation, whose holder is gone; 0 before the first. A RunError if its holder lives."""
    while True:
        generation = _newest_generation(run_path)
        last = _read(run_path, generation)
        if last and is_alive(run_path, last):
            raise RunError(_in_use(run_path, last))
        if last or not generation:
            return generation
        # else somebody has just taken the next one, and removed this


def _create(path: Path, holder: Holder) -> bool:
    """Make a lease's file, whole from the beginning; False if another process was first."""
    part = path.with_name(f"{path.name}-{holder.host}-{holder.pid}.part")
    try:
        part.touch()
        part.write_text(json.dumps(asdict(holder)))
        sync(part)
        path.hardlink_to(part)
    except FileExistsError:
        return False
    except OSError:  # no second names on this storage, or a fault that comes again
        return _create_alone(path, holder)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return True


def _create_alone(path: Path, holder: Holder) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    try:
        path.write_text(json.dumps(asdict(holder)))
        sync(path)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return True


def _in_use(run_path: Path, holder: Holder) -> str:
    message = f"{run_path} is in use on {holder}"
    if holder.machine == _machine():
        return f"{message}; see it: fishray status {run_path} --follow"
    wait_s = SILENT_S - silence_s(run_path, holder)
    return f"{message}; see it: fishray status {run_path}; if that process is gone, try again in {wait_s:.0f} s"


def _generations(run_path: Path) -> list[int]:
    endings = [path.name.removeprefix(LEASE) for path in run_path.glob(f"{LEASE}*")]
    return [int(ending) for ending in endings if ending.isdecimal()]


def _newest_generation(run_path: Path) -> int:
    return max(_generations(run_path), default=0)


def _read(run_path: Path, generation: int) -> Holder | None:
    if not generation:
        return None
    path = lease_path(run_path, generation)
    try:
        return Holder(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):  # made, and not written yet: its time tells whether its maker lives
        return Holder(generation, "a host that has not said its name", 0, "", "")


def _write(path: Path, holder: Holder) -> None:
    with written_aside(path) as part:
        part.write_text(json.dumps(asdict(holder)))


def _storage_time_s(run_path: Path) -> float:
    """What the clock that stamps this directory's files says [s since 1970]; ours, where we may not write."""
    probe = run_path / f"{LEASE}probe-{os.getpid()}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def _machine() -> str:
    """The boot of this machine and this process's namespace of process ids."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115  (not a path, a name)
    return socket.gethostname()


def _start_of(pid: int) -> str:
    """Start time of a process in the kernel's ticks; empty if there is none, or a zombie."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else fields[18]
