"""Kills a command in the middle of writing something; every Python process that has this folder on its path loads it.

FISHRAY_FAULT says where and at which time, as ``checkpoint-write:3``; FISHRAY_FAULT_COUNTER names a file that grows by
a byte each time, in whichever process: the command's own, or one of Ray's workers. FISHRAY_SEGFAULT and
FISHRAY_NO_MEMORY name trials whose every process dies so when it saves. FISHRAY_HOLD names a file: while it is there,
trials that have an epoch wait within the next, so that whoever looks at a sweep finds it in mid-course. FISHRAY_PAUSE
says how long every epoch waits [s], as for a GPU, so that a sweep takes its time and little of the machine.
"""

import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

TORN = {
    "checkpoint-write": (r"checkpoint\.part", 0.5),
    "best-write": (r"best\.part", 0.5),
    "sweep-yaml": (r"sweep\.yaml\.part", 0.5),
    "lease-create": (r"lease-\d+-.*\.part", 0.5),
}
"""While a file is written: its name, and the share of it that gets to the disk."""

TOLD = {
    "journal-exchange": b'"action":"exploit"',
    "journal-end": b'"event":"end"',
    "journal-scoring": b'"event":"scoring"',
}
"""Once the journal holds an event: what to know it by."""

CUT = {"journal-write": b"", "exchange-write": b'"action":"exploit"'}
"""While events are written to the journal, of which the first half gets to the disk: what to know them by."""

INTO = {"store-write": "tank.zarr", "predictions-write": "predictions.zarr.part"}
"""Before a file gets its place somewhere below a folder: the folder's name."""

SYNC, WRITE, REPLACE, RENAME = os.fsync, os.write, os.replace, os.rename

fault, _, number = os.environ.get("FISHRAY_FAULT", "").partition(":")
written = b""


def is_due():
    """Count this time, and say whether it is the one."""
    counter = os.open(os.environ["FISHRAY_FAULT_COUNTER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    WRITE(counter, b".")
    size = os.fstat(counter).st_size
    os.close(counter)
    return size == int(number)


def die():
    """Kill the command and Ray with it; a worker of Ray's is in their session, but has a process group of its own."""
    os.killpg(os.getsid(0), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def path_of(descriptor):
    with suppress(OSError):
        return Path(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115  (not a path, a name)
    return Path()


def lose_the_process(checkpoint):
    """Do to a trial's process what a defect in a library does, or a machine without memory."""
    trial = checkpoint.parts[-3]
    if trial in os.environ.get("FISHRAY_SEGFAULT", ""):
        os.kill(os.getpid(), signal.SIGSEGV)
    if trial in os.environ.get("FISHRAY_NO_MEMORY", ""):
        raise MemoryError("cannot allocate 3 GiB")


def wait_within_the_epoch(checkpoint):
    time.sleep(float(os.environ.get("FISHRAY_PAUSE", "0")))
    held = os.environ.get("FISHRAY_HOLD")
    while held and Path(held).exists() and checkpoint.with_name("checkpoint").exists():
        time.sleep(0.1)


def sync(descriptor):
    path = path_of(descriptor)
    if path.name == "checkpoint.part":
        lose_the_process(path)
        wait_within_the_epoch(path)
    if fault in TORN:
        name, share = TORN[fault]
        if re.fullmatch(name, path.name) and is_due():
            os.truncate(path, int(share * path.stat().st_size))
            die()
    is_journal = path.name == "journal.jsonl"
    if fault == "journal-sync" and is_journal and is_due():
        die()
    SYNC(descriptor)
    if fault in TOLD and is_journal and TOLD[fault] in written and is_due():
        die()


def write(descriptor, content):
    global written
    if path_of(descriptor).name == "journal.jsonl":
        written = bytes(content)
        if fault in CUT and CUT[fault] in written and is_due():
            WRITE(descriptor, written[: len(written) // 2])
            die()
    return WRITE(descriptor, content)


def replace(source, target, **options):
    if fault in INTO and INTO[fault] in Path(target).parts and is_due():
        die()
    REPLACE(source, target, **options)
    if fault == "checkpoint-rename" and Path(target).name == "checkpoint.previous" and is_due():
        die()


def rename(source, target, **options):
    if fault == "predictions-rename" and Path(target).name == "predictions.zarr" and is_due():
        die()
    RENAME(source, target, **options)


if any(name.startswith("FISHRAY_") for name in os.environ):
    os.fsync = sync
if fault:
    known = {*TORN, *TOLD, *CUT, *INTO, "journal-sync", "checkpoint-rename", "predictions-rename"}
    if fault not in known:
        raise SystemExit(f"FISHRAY_FAULT: {fault} is none of {', '.join(sorted(known))}")
    os.fsync, os.write, os.replace, os.rename = sync, write, replace, rename
