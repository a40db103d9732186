"""Looks at a machine, and through a job of its own at a compute node, for what keeps a cluster of ours from working.

    python -m hpc.doctor FOLDER

is what that job runs: it answers, in FOLDER, the questions that `examine_node` has put there.
"""

import io
import json
import math
import os
import resource
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

from hpc import checks
from hpc.checks import Checkup, Finding, Need, Request, Room, Torch, failure, ok, warning
from hpc.errors import ClusterError, HpcError, SlurmError
from hpc.files import private_directory, read_json, write_json
from hpc.packing import pack_environment
from hpc.ray_cluster import LOOPBACK, address_of_this_node, room_for_sockets
from hpc.settings import ClusterSettings
from hpc.slurm import RunCommand, Slurm, run_command
from hpc.submission import PACKED, driver_script, submit_worker, worker_script
from hpc.times import parse_time
from hpc.worker import JOBS, granted_here

PACKAGES = ("ray", "submitit", "torch")

PROBE = """
import json, time
begun_s = time.monotonic()
import torch
found = {"version": torch.__version__, "cuda": torch.version.cuda, "import_s": time.monotonic() - begun_s, "gpus": []}
try:
    for index in range(torch.cuda.device_count()):
        torch.ones(1, device=f"cuda:{index}").sum().item()  # a GPU that is listed may still be of no use
        device = torch.cuda.get_device_properties(index)
        found["gpus"].append([device.name, device.total_memory])
except Exception as error:
    found["fault"] = str(error).splitlines()[0]
print(json.dumps(found))
"""
"""What a Python of its own says of torch, so that whoever asks holds neither it nor a GPU."""

PROBE_TIMEOUT_S = 300.0
ASK_TIMEOUT_S = 20.0
JOB_TIME_S = 600
"""A short job is begun sooner."""
QUEUE_EVERY_S, LOOK_EVERY_S = 5.0, 0.5
UNLISTED_S = 30.0
"""How long the queue may take to list a job that it has accepted."""
LATE_S = 15.0
"""How long shared storage may take to show what a job has written."""
LEAVING_S = 20.0
LOG_LINES = 6

ASKED, ANSWER, SETUP_LOG = "asked.json", "answer.json", "setup"
"""In the folder of an examination: the questions, what the job found, what failed of the lines of shell before it."""


@dataclass(frozen=True)
class Said:
    """What a command said."""

    status: int
    output: str
    errors: str = ""


Ask = Callable[[Sequence[str], float], Said]
"""Runs a command for at most so long [s]."""


def ask(command: Sequence[str], timeout_s: float = ASK_TIMEOUT_S) -> Said:
    """Run a command, whatever becomes of it; 127: it is not there, 124: it took too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except OSError as error:
        return Said(127, "", str(error))
    except subprocess.TimeoutExpired:
        return Said(124, "", f"{command[0]} took more than {timeout_s:.0f} s")
    return Said(done.returncode, done.stdout, done.stderr)


def examine_here(runs: Path, gpus: int, need: Need, probe: str = PROBE, ask: Ask = ask) -> Checkup:
    """Look at this machine, as the one where everything is to run.

    Parameters
    ----------
    runs
        Where results are going to be written.
    gpus
        GPUs that are there.
    """
    scratch = Path(tempfile.gettempdir())
    usable = len(os.sched_getaffinity(0))
    torch = ask_torch(ask, probe)
    findings = [
        checks.check_versions(_versions()),
        ok(f"{usable} of {os.cpu_count() or usable} CPUs are ours"),
        *checks.check_torch(torch, gpus, "here", packed=False),
        *checks.check_driver(ask(["nvidia-smi"], ASK_TIMEOUT_S).output, torch.cuda),
        *_examine_storage(runs, need, ask),
        *_examine_disk(scratch, packed=False),
        *_examine_system(as_worker=False),
        _examine_port(lambda: LOOPBACK),
        *checks.check_tokens(_secrets(runs)),
    ]
    return Checkup("this machine", tuple(findings))


def examine_login_node(
    settings: ClusterSettings, runs: Path, need: Need, run: RunCommand = run_command, ask: Ask = ask
) -> Checkup:
    """Look at this machine, as the one from which jobs are submitted, and at what its Slurm says."""
    slurm, storage = list(_examine_slurm(settings, run)), list(_examine_storage(runs, need, ask))
    findings = [
        checks.check_versions(_versions()),
        *slurm,
        *storage,
        *_examine_system(as_worker=False),
        _examine_port(lambda: address_of_this_node(Slurm(run), settings.interface)),
        *checks.check_tokens(_secrets(runs)),
    ]
    blocked = any(finding.level == "failure" for finding in (*slurm, *storage))
    return Checkup("login node", tuple(findings), blocked)


def examine_node(
    settings: ClusterSettings,
    runs: Path,
    *,
    wait_s: float,
    tell: Callable[[str], None],
    probe: str = PROBE,
    slurm: Slurm | None = None,
) -> Checkup:
    """Look at a compute node, by a short job that is otherwise submitted as a worker is.

    The job is cancelled when it is not waited for any more, and its files are removed.

    Parameters
    ----------
    wait_s
        How long it may wait in the queue [s].
    tell
        Told what is waited for, whenever that changes.
    """
    slurm = slurm or Slurm()
    node, findings = "", list[Finding]()
    try:
        with _visit(runs) as folder, Listener.open(slurm, settings.interface) as listener:
            asked = {
                "settings": settings.model_dump(mode="json"),
                "runs": str(runs),
                "probe": probe,
                "address": listener.address,
                "word": listener.word,
            }
            write_json(folder / ASKED, asked)
            if settings.environment == "packed":
                tell("the environment is packed")
                pack_environment(Path(sys.prefix), folder / PACKED)
            with redirect_stderr(io.StringIO()):  # submitit passes on what the error says that it raises
                job_id = submit_worker(_short(settings, folder), folder, "doctor", answer, folder)
            try:
                node, findings = _await(job_id, folder, listener, slurm, wait_s, tell)
            finally:
                _end(job_id, slurm)
    except HpcError as error:
        findings = [failure(f"no job can be submitted as a worker is: {error}", "mend it in the cluster block")]
    except OSError as error:
        findings = [failure(f"not examined: {runs} cannot be written ({error.strerror})")]
    request = checks.requests_of(settings)[0]
    return Checkup(f"compute node{f' {node}' if node else ''} (asked {request})", tuple(findings))


# In the job


def answer(folder: Path) -> None:
    """Look at the node that this job is on, and write what was found."""
    asked = read_json(folder / ASKED)
    if asked is None:
        raise ClusterError(f"{folder} holds no questions")
    settings = ClusterSettings.model_validate_json(json.dumps(asked["settings"]))
    findings = examine_worker(settings, folder, asked["runs"], asked["probe"])
    if asked["address"]:
        _show_up(asked["address"], asked["word"])
    found = {
        "node": socket.gethostname(),
        "findings": [asdict(finding) for finding in findings],
        "clock_s": ahead_of_storage_s(folder),
    }
    write_json(folder / ANSWER, found)


def examine_worker(
    settings: ClusterSettings, folder: Path, runs: str, probe: str = PROBE, ask: Ask = ask
) -> list[Finding]:
    """Look at the node of a worker's job.

    Parameters
    ----------
    folder
        Where runs are written.
    runs
        What that is called by whoever asks.
    """
    packed = settings.environment == "packed"
    granted = granted_here()
    usable, machine = len(os.sched_getaffinity(0)), os.cpu_count() or 1
    torch = ask_torch(ask, probe)
    nvidia_smi = ask(["nvidia-smi"], ASK_TIMEOUT_S).output if settings.gpus else ""
    return [
        *checks.check_granted(checks.requests_of(settings)[0], granted, usable, machine),
        *checks.check_torch(torch, granted["gpus"], "granted", packed),
        *checks.check_driver(nvidia_smi, torch.cuda),
        *_examine_writing(folder, runs),
        *_examine_disk(settings.scratch, packed),
        *_examine_home(),
        *_examine_system(as_worker=True),
        _examine_port(lambda: address_of_this_node(Slurm())),
        *checks.check_tokens(_secrets(folder)),
    ]


def ask_torch(ask: Ask, probe: str) -> Torch:
    """Have a Python of its own import torch and use every GPU."""
    said = ask([sys.executable, "-c", probe], PROBE_TIMEOUT_S)
    with suppress(ValueError, IndexError, TypeError):
        found = json.loads(said.output.splitlines()[-1])
        gpus = tuple((str(name), float(memory)) for name, memory in found.pop("gpus"))
        return Torch(**found, gpus=gpus)
    return Torch(fault=(said.errors.strip().splitlines() or [f"status {said.status}"])[-1])


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


# On the side that waits for it


class Listener:
    """Waits for a compute node to show up at a port of this node's.

    Attributes
    ----------
    address
        ``host:port``; empty where this node has no address that others could reach.
    word
        What it must say.
    """

    def __init__(self, host: str):
        self.word = secrets.token_hex(16)
        self.arrived = threading.Event()
        self._socket = socket.create_server((host, 0)) if host else None
        self.address = f"{host}:{self._socket.getsockname()[1]}" if self._socket else ""
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)

    @classmethod
    def open(cls, slurm: Slurm, interface: str | None) -> Self:
        """Listen where workers would reach a driver on this node."""
        try:
            return cls(address_of_this_node(slurm, interface))
        except (HpcError, OSError):
            return cls("")

    def __enter__(self) -> Self:
        if self._socket:
            self._socket.settimeout(LOOK_EVERY_S)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket:
            self._socket.close()
            self._thread.join()

    def _listen(self) -> None:
        while self._socket and self._socket.fileno() >= 0:
            with suppress(OSError):
                connection, _ = self._socket.accept()
                with connection:
                    connection.settimeout(ASK_TIMEOUT_S)
                    if secrets.compare_digest(connection.recv(len(self.word)), self.word.encode()):
                        self.arrived.set()


def _short(settings: ClusterSettings, folder: Path) -> ClusterSettings:
    """A worker's settings, for a job that is over soon and notes which lines of its setup fail."""
    time_s = int(min(JOB_TIME_S, parse_time(settings.time)))
    note = 'echo "$? $BASH_COMMAND" >> "$HPC_SETUP_LOG"'
    before = (f"HPC_SETUP_LOG={shlex.quote(str(folder / SETUP_LOG))}", f"trap '{note}' ERR EXIT")
    return settings.model_copy(
        update={
            "time": f"{-(-time_s // 60)}",
            "notice_s": min(settings.notice_s, 30),
            "setup": (*before, *settings.setup, "trap - ERR EXIT") if settings.setup else (),
        }
    )


def _await(
    job_id: str, folder: Path, listener: Listener, slurm: Slurm, wait_s: float, tell: Callable[[str], None]
) -> tuple[str, list[Finding]]:
    """Wait for a job's answer; gives its node, and what was found."""
    begun_s = time.monotonic()
    read_s, job, told, state, ended_s = -math.inf, None, "", "", math.inf
    while True:
        now_s = time.monotonic()
        os.scandir(folder).close()  # so that storage that remembers what a folder held looks again
        found = read_json(folder / ANSWER)
        if found:
            return found["node"], _completed(found, folder, listener)
        if now_s - read_s > QUEUE_EVERY_S:
            read_s = now_s
            with suppress(SlurmError):  # a controller that is busy answers later
                job = slurm.job(job_id)
                unlisted = job is None and (state or now_s - begun_s > UNLISTED_S)
                if (unlisted or (job and not job.is_active)) and math.isinf(ended_s):
                    ended_s = now_s
                state = job.state if job else state
        if now_s - ended_s > LATE_S or (ended_s < math.inf and (folder / SETUP_LOG).exists()):
            return job.node if job else "", _unanswered(job_id, state, folder)
        if job and job.is_pending and now_s - begun_s > wait_s:
            return "", [checks.check_wait(job_id, job.reason, wait_s)]
        doing = "asked for" if job is None else f"runs on {job.node}"
        if job and job.is_pending:
            doing = f"waits in the queue{f' ({job.reason})' if job.reason else ''}"
        if doing != told:
            tell(f"job {job_id} {doing}")
            told = doing
        time.sleep(LOOK_EVERY_S)


def _completed(found: Mapping[str, Any], folder: Path, listener: Listener) -> list[Finding]:
    """What the job found, and what can be seen from here alone."""
    findings = [Finding(**each) for each in found["findings"]]
    if listener.address:
        drives = "SLURM_JOB_ID" in os.environ
        findings.append(checks.check_connection(listener.address, listener.arrived.is_set(), drives))
    findings += checks.check_clocks(found["clock_s"] - ahead_of_storage_s(folder))
    return [*_failed_setup(folder), *findings]


def _unanswered(job_id: str, state: str, folder: Path) -> list[Finding]:
    """Why a job may have ended without an answer."""
    if failed := _failed_setup(folder):
        return failed
    log = folder / JOBS / f"{job_id}_0_log.out"
    ended = f"job {job_id} ended without an answer ({state or 'the queue has it no more'})"
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        remedy = "put runs on storage that every node sees: --runs FOLDER"
        return [failure(f"{ended} and without a log: does its node see {folder.parent}?", remedy)]
    said = " · ".join(lines[-LOG_LINES:]) or "its log is empty"
    remedy = "mend it in the cluster block (setup, python)"
    if "No such file" in said and sys.executable in said:
        remedy = f"have {sys.prefix} on storage that every node sees, or name another: cluster: {{python: …}}"
    return [failure(f"{ended}: {said}", remedy)]


def _failed_setup(folder: Path) -> list[Finding]:
    with suppress(OSError):
        return checks.check_setup((folder / SETUP_LOG).read_text(errors="replace").splitlines())
    return []


def _end(job_id: str, slurm: Slurm) -> None:
    """Cancel a job if it is still there, and see it gone: what it writes last would stay."""
    until_s = time.monotonic() + LEAVING_S
    with suppress(SlurmError):
        while (job := slurm.job(job_id)) and job.is_active and time.monotonic() < until_s:
            slurm.cancel([job_id])
            time.sleep(LOOK_EVERY_S)


def _show_up(address: str, word: str) -> None:
    host, _, port = address.rpartition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=ASK_TIMEOUT_S) as connection:
        connection.sendall(word.encode())
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)  # until it was read


# What either side looks at


def _examine_slurm(settings: ClusterSettings, run: RunCommand) -> Iterable[Finding]:
    """What Slurm offers, and whether jobs of ours could ever run there."""
    try:
        config = checks.parse_config(run(["scontrol", "show", "config"], ""))
        listed = run(["sinfo", "--exact", "--noheader", "--all", f"--format={checks.PARTITION_FORMAT}"], "")
    except SlurmError as error:
        yield failure(f"Slurm does not answer: {error}", "is this a machine of the cluster? if not: --on local")
        return
    partitions = checks.parse_partitions(listed)
    yield checks.check_slurm(config, partitions)
    for request in checks.requests_of(settings):
        found = checks.check_request(request, partitions)
        if not any(finding.level == "failure" for finding in found):  # else sbatch says the same, less well
            found += checks.check_test_only(request, _refusal(request, settings, run))
        yield from found
    accounting = True
    try:
        run(["sacct", "--noheader", "--allocations", "--starttime=now", "--format=State"], "")
    except SlurmError:
        accounting = False
    yield from checks.check_accounting(accounting)
    if accounting:
        with suppress(SlurmError, KeyError):
            user = f"user={os.environ['USER']}"
            limits = ["sacctmgr", "--noheader", "--parsable2", "show", "assoc", user]
            lines = run([*limits, "format=Account,MaxJobs,MaxSubmitJobs"], "")
            yield from checks.check_job_limit(lines, settings.account, settings.workers.max + 1)


def _refusal(request: Request, settings: ClusterSettings, run: RunCommand) -> str | None:
    """What Slurm says against a job of ours; None: nothing."""
    with tempfile.TemporaryDirectory() as folder:
        if request.key == "cluster":
            script = worker_script(settings, Path(folder), "doctor")
        else:
            log = Path(folder) / "log"
            script = driver_script(settings.driver, "doctor", "doctor", log, settings.notice_s, "true", settings.setup)
        try:
            run(["sbatch", "--test-only"], script)
        except SlurmError as error:
            return str(error)
    return None


def _examine_storage(runs: Path, need: Need, ask: Ask) -> Iterator[Finding]:
    """Whether results can be written, and have room."""
    try:
        with _visit(runs) as folder:
            if fault := writing_fault(folder):
                yield failure(f"{runs}: {fault}", "put runs elsewhere: --runs FOLDER")
            else:
                yield from checks.check_room(_room(runs, folder, ask), need)
    except OSError as error:
        yield failure(f"{runs} cannot be written ({error.strerror})", "put runs elsewhere: --runs FOLDER")


def _examine_writing(folder: Path, runs: str) -> Iterator[Finding]:
    """Whether a compute node can write what the login node sees: that it can be read there, its answer shows."""
    if fault := writing_fault(folder):
        yield failure(
            f"{folder.parent} from there: {fault}", "put runs on storage that every node writes: --runs FOLDER"
        )
    else:
        yield ok(f"{runs} can be written from there, moves are whole")


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


def _room(runs: Path, folder: Path, ask: Ask) -> Room:
    found = os.statvfs(folder)
    device, point, kind = mount_of(folder, Path("/proc/self/mounts").read_text())
    if kind == "lustre":
        said = ask(["lfs", "quota", "-q", "-u", str(os.getuid()), point], ASK_TIMEOUT_S).output
        quota = checks.parse_quota(said)
    else:
        quota = checks.parse_quota(ask(["quota", "--no-wrap", "--raw-grace"], ASK_TIMEOUT_S).output, device)
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


def _examine_disk(scratch: Path, packed: bool) -> Iterator[Finding]:
    """Whether a directory of this node's own can be used, and has room."""
    fault, free_bytes = "", 0.0
    try:
        with tempfile.TemporaryFile(dir=scratch) as file:
            file.write(b"0")
        free_bytes = shutil.disk_usage(scratch).free
    except OSError as error:
        fault = error.strerror or str(error)
    yield checks.check_scratch(scratch, fault, free_bytes, packed)
    yield from checks.check_sockets(scratch, room_for_sockets(scratch))


def _examine_home() -> Iterator[Finding]:
    """Whether the user's home and the folder for temporary files are there."""
    home = Path(os.environ.get("HOME", "/nonexistent"))
    if not os.access(home, os.W_OK):
        yield warning(f"home {home} cannot be written there: caches of torch and others go there")
    chosen = os.environ.get("TMPDIR")
    if chosen and not os.access(chosen, os.W_OK):
        remedy = 'cluster: {setup: ["unset TMPDIR"]}'
        yield warning(f"TMPDIR {chosen} cannot be written there, {tempfile.gettempdir()} is used instead", remedy)


def _examine_system(as_worker: bool) -> Iterator[Finding]:
    """What the kernel lets us have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_files = _limit(soft if as_worker else hard)  # Ray raises it itself, in the process that begins it
    yield from checks.check_limits(open_files, _limit(resource.getrlimit(resource.RLIMIT_NPROC)[0]))
    shared = os.statvfs("/dev/shm")
    yield checks.check_shared_memory(shared.f_bavail * shared.f_frsize)
    umask = os.umask(0o077)
    os.umask(umask)
    yield from checks.check_umask(umask)


def _limit(number: int) -> float:
    return math.inf if number == resource.RLIM_INFINITY else float(number)


def _examine_port(address: Callable[[], str]) -> Finding:
    """Whether this node has an address where others can reach a free port."""
    try:
        host = address()
        with socket.create_server((host, 0)):
            return ok(f"{host} has free ports")
    except HpcError as error:
        text, _, remedy = str(error).partition("; ")
        return failure(text, remedy)
    except OSError as error:
        return failure(f"no port can be had ({error.strerror})", "another network: cluster: {interface: eth0}")


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"Python": ".".join(map(str, sys.version_info[:3]))}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _secrets(runs: Path) -> dict[Path, int]:
    """Access modes of the secrets by which processes join a Ray: the one that Ray makes by itself, and our own."""
    paths = [Path("~/.ray/auth_token").expanduser(), *runs.glob("*/cluster/token")]
    return {path: path.stat().st_mode for path in paths if path.exists()}


@contextmanager
def _visit(runs: Path) -> Iterator[Path]:
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


if __name__ == "__main__":
    answer(Path(sys.argv[1]))
