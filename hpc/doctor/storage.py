"""Disks: the shared one where runs are written, and a node's own."""

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hpc.doctor.asking import ASK_TIMEOUT_S, Ask
from hpc.doctor.findings import GB, Finding, failure, ok, size, warning
from hpc.files import private_directory
from hpc.ray_cluster import room_for_sockets

LEAST_FILES = 1000
LEAST_BYTES = 2 * GB
PACKED_BYTES = 8 * GB
"""An environment with torch for CUDA 13 has 7 GB."""


@dataclass(frozen=True)
class Room:
    """What is left where runs are written."""

    where: str
    kind: str
    """Of file system."""
    free_bytes: float
    free_files: int | None
    """None where the file system has no limit, or does not tell."""
    quota: tuple[int, int] | None = None
    """Files used and allowed."""


@dataclass(frozen=True)
class Need:
    """What a program is going to write."""

    files: int
    what: str
    """a sweep of 500 trials."""


def examine_storage(runs: Path, need: Need, ask: Ask) -> Iterator[Finding]:
    """Whether results can be written, and have room."""
    try:
        with visit(runs) as folder:
            if fault := writing_fault(folder):
                yield failure(f"{runs}: {fault}", "put runs elsewhere: --runs FOLDER")
            else:
                yield from check_room(_room(runs, folder, ask), need)
    except OSError as error:
        yield failure(f"{runs} cannot be written ({error.strerror})", "put runs elsewhere: --runs FOLDER")


def examine_writing(folder: Path, runs: str) -> Iterator[Finding]:
    """Whether a compute node can write what the login node sees: that it can be read there, its answer shows."""
    if fault := writing_fault(folder):
        yield failure(f"{runs} from there: {fault}", "put runs on storage that every node writes: --runs FOLDER")
    else:
        yield ok(f"{runs} can be written from there, moves are whole")


def examine_disk(scratch: Path, setting: str, packed: bool) -> Iterator[Finding]:
    """Whether a directory of this node's own can be used, and has room.

    Parameters
    ----------
    setting
        How another is chosen.
    packed
        Whether an environment is unpacked there.
    """
    fault, free_bytes = "", 0.0
    try:
        with tempfile.TemporaryFile(dir=scratch) as file:
            file.write(b"0")
        free_bytes = shutil.disk_usage(scratch).free
    except OSError as error:
        fault = error.strerror or str(error)
    yield check_scratch(scratch, fault, free_bytes, setting, packed)
    yield from check_sockets(scratch, room_for_sockets(scratch), setting)


def examine_home() -> Iterator[Finding]:
    """Whether the user's home and the folder for temporary files are there."""
    home = Path(os.environ.get("HOME", "/nonexistent"))
    if not os.access(home, os.W_OK):
        yield warning(f"home {home} cannot be written there: caches of torch and others go there")
    chosen = os.environ.get("TMPDIR")
    if chosen and not os.access(chosen, os.W_OK):
        remedy = 'cluster: {setup: ["unset TMPDIR"]}'
        yield warning(f"TMPDIR {chosen} cannot be written there, {tempfile.gettempdir()} is used instead", remedy)


@contextmanager
def visit(runs: Path) -> Iterator[Path]:
    """A private folder where runs are written; nothing is left of it."""
    runs = runs.resolve()
    made = [path for path in (runs, *runs.parents) if not path.exists()]
    folder = runs / f".doctor-{secrets.token_hex(4)}"
    try:
        yield private_directory(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for path in made:
            with suppress(OSError):
                path.rmdir()


def writing_fault(folder: Path) -> str:
    """Write, move and link a file as runs do; gives what is wrong, or nothing."""
    first, second, linked = (folder / f".{name}-{secrets.token_hex(4)}" for name in ("first", "second", "linked"))
    try:
        first.write_bytes(b"before")
        with second.open("wb") as file:
            file.write(b"after")
            file.flush()
            os.fsync(file.fileno())
        second.replace(first)
        if first.read_bytes() != b"after" or second.exists():
            return "a file that is moved over another does not take its place at once"
        try:
            linked.hardlink_to(first)
        except OSError as error:
            return f"has no hard links ({error.strerror}), by which one of several drivers is chosen"
    except OSError as error:
        return f"cannot be written ({error.strerror})"
    finally:
        for path in (first, second, linked):
            with suppress(OSError):
                path.unlink(missing_ok=True)
    return ""


def ahead_of_storage_s(folder: Path) -> float:
    """How far this node's clock is ahead of the one of shared storage [s], by which two nodes can be compared."""
    path = folder / f".clock-{secrets.token_hex(4)}"
    try:
        with path.open("wb") as file:
            file.write(b"tick")
            file.flush()
            os.fsync(file.fileno())
            return time.time() - os.fstat(file.fileno()).st_mtime
    finally:
        path.unlink(missing_ok=True)


def _room(runs: Path, folder: Path, ask: Ask) -> Room:
    found = os.statvfs(folder)
    device, point, kind = mount_of(folder, Path("/proc/self/mounts").read_text())
    if kind == "lustre":
        said = ask(["lfs", "quota", "-q", "-u", str(os.getuid()), point], ASK_TIMEOUT_S).output
        quota = parse_quota(said)
    else:
        quota = parse_quota(ask(["quota", "--no-wrap", "--raw-grace"], ASK_TIMEOUT_S).output, device)
    files = found.f_favail if found.f_files else None
    return Room(str(runs), kind, found.f_bavail * found.f_frsize, files, quota)


def mount_of(path: Path, mounts: str) -> tuple[str, str, str]:
    """Device, mount point and kind of the file system that a path is on.

    Parameters
    ----------
    mounts
        What ``/proc/self/mounts`` says; of two on one point, the last one counts.
    """
    found = ("", "/", "unknown file system")
    for line in mounts.splitlines():
        device, point, kind = line.split()[:3]
        point = point.replace("\\040", " ")
        if path.resolve().is_relative_to(point) and len(point) >= len(found[1]):
            found = (device, point, kind)
    return found


def parse_quota(text: str, device: str | None = None) -> tuple[int, int] | None:
    """Files used and allowed, out of what ``quota`` or ``lfs quota`` prints; None without such a limit.

    Parameters
    ----------
    device
        Of the line to read; None: all lines are one.
    """
    lines = [" ".join(text.split())] if device is None else text.splitlines()
    for line in lines:
        fields = line.split()
        numbers = [field.rstrip("*") for field in fields[-8:]]
        if len(fields) < 8 or (device is not None and fields[0] != device):
            continue
        used, soft, hard = numbers[4:7]
        if used.isdecimal() and soft.isdecimal() and hard.isdecimal():
            limits = [limit for limit in (int(soft), int(hard)) if limit]
            return (int(used), min(limits)) if limits else None
    return None


def check_room(room: Room, need: Need) -> list[Finding]:
    """Whether what is going to be written has room, in bytes and in files."""
    elsewhere = "put runs where there is more room: --runs FOLDER"
    needs = f"{need.what} needs about {need.files:,}"
    found = []
    if room.quota:
        used, allowed = room.quota
        left = max(0, allowed - used)
        text = f"{room.where}: your quota has {left:,} of {allowed:,} files left; {needs}"
        found += [failure(text, elsewhere)] if left < need.files else []
        found += [warning(text, elsewhere)] if need.files <= left < 2 * need.files else []
    if room.free_files is not None and room.free_files < max(LEAST_FILES, need.files):
        found.append(failure(f"{room.where}: {room.free_files:,} files (inodes) free; {needs}", elsewhere))
    if room.free_bytes < LEAST_BYTES:
        found.append(warning(f"{room.where}: {size(room.free_bytes)} free", elsewhere))
    if found:
        return found
    files = "" if room.free_files is None else f", {room.free_files:,} files"
    return [ok(f"{room.where} ({room.kind}) can be written, moves are whole; {size(room.free_bytes)}{files} free")]


def check_scratch(path: Path, fault: str, free_bytes: float, setting: str, packed: bool) -> Finding:
    """Whether a node's own disk can be used.

    Parameters
    ----------
    fault
        What happened when it was written to; empty: nothing.
    setting, packed
        As for `examine_disk`.
    """
    elsewhere = f"another folder on the node's own disk: {setting}"
    if fault:
        return failure(f"scratch {path} cannot be used: {fault}", elsewhere)
    needed = PACKED_BYTES if packed else LEAST_BYTES
    if free_bytes < needed:
        why = ", an environment with torch takes about 7 GB" if packed else ""
        return warning(f"scratch {path}: {size(free_bytes)} free{why}", elsewhere)
    return ok(f"scratch {path} can be written, {size(free_bytes)} free")


def check_sockets(wanted: Path, used: Path, setting: str) -> list[Finding]:
    """Whether Ray's sockets have room in the path of a scratch directory: a socket's path may have 107 bytes."""
    if used == wanted:
        return []
    return [warning(f"{wanted} is too long a path for Ray's sockets, which go to {used}", f"a shorter one: {setting}")]
