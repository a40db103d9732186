"""A Ray of our own whose workers are Slurm jobs: submitted as the demand asks, joined as they are granted."""

import shutil
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from hpc.cluster import Joined, Worker
from hpc.demand import Size, Wanted, plan_change, workers_needed
from hpc.errors import ClusterError, HpcError, SlurmError
from hpc.files import make_token, private_directory
from hpc.packing import pack_environment
from hpc.ray_cluster import RayNode, address_of_this_node, drain, ray_head, ray_nodes
from hpc.settings import ClusterSettings
from hpc.slurm import QueuedJob, Slurm
from hpc.standing import IS_OVER, TAKES_WORK, standing
from hpc.submission import PACKED, submit_worker
from hpc.worker import JOBS, TOKEN, WORKERS, Head, WorkerRecord, resource_of, work

LOOK_EVERY_S = 1.0
"""At what workers say of themselves, and at Ray."""
QUEUE_EVERY_S = 10.0
"""At the queue, which the whole site shares."""
RETRY_S = 15.0
"""Between a command of Slurm's that failed and the next."""
UNLISTED_S = 30.0
"""How long the queue may take to list a job that it has accepted."""
JOIN_S = 300.0
"""How long a worker may take to join: over a minute goes by where Ray is read from slow shared storage."""
REASON_EVERY_S = 300.0
"""Between two notes of why a worker waits: a queue changes its mind all the time."""
FAILURES = 3
"""Workers that end before they join, or submissions that are refused, one after another, before we give up."""
CLOSING_S = 30.0
LOG_LINES = 6

BROKEN = ("FAILED", "BOOT_FAIL", "OUT_OF_MEMORY", "TIMEOUT")
"""How the queue says that a job ended which could not even begin."""


@dataclass
class _Known:
    """What is remembered of a worker between two looks."""

    worker: Worker
    submitted_s: float
    changed_s: float
    """When it came to stand as it does."""
    seen_s: float | None = None
    """When Ray saw it last; None before it joined."""
    idle_since_s: float | None = None
    told: bool = False
    """Whether it was told to drain."""
    drains: bool = False
    """Whether Ray was."""


class RayOnSlurm:
    """A Ray head in this process, and workers that come and go by demand.

    Workers are looked after in a thread of their own. What goes wrong there is raised by the next `offer`.

    Parameters
    ----------
    settings
        What workers are, and how many there may be.
    folder
        Private to this cluster, on storage that every node sees. Workers that a driver left there are taken over.
    name
        What its jobs are called in the queue.

    Raises
    ------
    HpcError
        If there is no Slurm here, or no address that workers could reach.
    """

    def __init__(self, settings: ClusterSettings, folder: Path | str, name: str = "ray", slurm: Slurm | None = None):
        self.settings = settings
        self.folder = Path(folder).resolve()
        self.leaves_workers = False
        """Whether workers are to wait for another driver when this one ends."""
        self._name = name
        self._slurm = slurm or Slurm()
        self._size = Size(settings.cpus, settings.gpus)
        self._demand: Sequence[Wanted] = ()
        self._known: dict[str, _Known] = {}
        self._joined: dict[str, Joined] = {}
        self._released: set[str] = set()
        """Workers that are to drain, by Ray's name for them."""
        self._news: list[Worker] = []
        self._fault: HpcError | None = None
        self._failures = 0
        self._submit_after_s = 0.0
        self._queue: dict[str, QueuedJob] = {}
        self._queue_read_s = 0.0
        self._ask_after_s = 0.0
        self._needed_s = time.monotonic()
        """When every waiting job was needed last."""
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="workers", daemon=True)
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        for part in ("", WORKERS, JOBS):
            private_directory(self.folder / part)
        make_token(self.folder / TOKEN)
        if self.settings.environment == "packed":
            pack_environment(Path(sys.prefix), self.folder / PACKED)
        self._read_queue()
        with self._resources:
            last = Head.read(self.folder)
            address = address_of_this_node(self._slurm, self.settings.interface)
            scratch = self.settings.scratch
            head = self._resources.enter_context(ray_head(self.folder / TOKEN, address=address, scratch=scratch))
            self._head = Head((last.generation if last else 0) + 1, head)
            self._head.publish(self.folder)
            self._adopt()
            self._resources = self._resources.pop_all()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        with self._resources:
            if not self.leaves_workers:
                with suppress(HpcError, OSError):
                    close_cluster(self.folder, self._slurm, keep_logs=isinstance(error, HpcError))

    def offer(self, demand: Sequence[Wanted]) -> None:
        """Say what waits and runs: the ``cpus`` and ``gpus`` of each task.

        Raises
        ------
        HpcError
            If workers cannot be had.
        """
        if self._fault:
            raise self._fault
        with self._lock:
            self._demand = tuple(demand)

    def joined(self) -> dict[str, Joined]:
        """Workers that take work, by the resource that in Ray stands for being on one of them."""
        with self._lock:
            return dict(self._joined)

    def release(self, worker: str) -> None:
        """Hand a worker back when what runs there has ended; it is replaced if the demand asks for it."""
        with self._lock:
            self._joined.pop(worker, None)
            self._released.add(worker)

    def news(self) -> list[Worker]:
        """Workers whose standing has changed since this was asked last."""
        with self._lock:
            news, self._news = self._news, []
        return news

    def _watch(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            try:
                self._read_queue_if_due()
                self._look()
                self._change()
            except HpcError as error:
                self._fault = error
            except Exception as error:  # noqa: BLE001  (this thread has nobody else to tell)
                self._fault = ClusterError(f"workers are not looked after any more: {type(error).__name__}: {error}")
                self._over.set()

    def _read_queue_if_due(self) -> None:
        """Ask the queue; a controller that is busy or restarts answers later, and workers do without it."""
        if time.monotonic() < self._ask_after_s:
            return
        try:
            self._read_queue()
            self._ask_after_s = time.monotonic() + QUEUE_EVERY_S
        except SlurmError:
            self._ask_after_s = time.monotonic() + RETRY_S
        for job in self._queue.values():  # accepted by a controller whose answer never came
            if job.is_active and job.comment == str(self.folder) and job.job_id not in self._known:
                self._know(Worker(job.job_id, "pending", job.reason))

    def _look(self) -> None:
        """See how every worker stands."""
        records = WorkerRecord.read_all(self.folder)
        nodes = {name: node for node in ray_nodes() for name in node.resources if name.startswith(resource_of(""))}
        now_s = time.monotonic()
        for job_id, known in self._known.items():
            if known.worker.state in IS_OVER:
                continue
            node = nodes.get(resource_of(job_id))
            known.seen_s = now_s if node else known.seen_s
            unseen_s = None if known.seen_s is None else now_s - known.seen_s
            worker = standing(records.get(job_id), self._queue.get(job_id), known.worker, unseen_s)
            self._note(known, self._given_up(known, worker) or worker)
            if known.worker.state == "draining" and node and not known.drains:
                known.drains = True
                drain(node.node_id, known.worker.end_s - time.time())
        self._take_stock(nodes)

    def _given_up(self, known: _Known, worker: Worker) -> Worker | None:
        """The worker as one that is waited for no longer, if that is so."""
        if worker.state in IS_OVER:
            return None
        if worker.job_id not in self._queue and self._queue_read_s - known.submitted_s > UNLISTED_S:
            reason = self._slurm.final_state(worker.job_id) or "the queue has it no more"
            return replace(worker, state="ended" if reason == "COMPLETED" else "lost", reason=reason)
        joins_for_s = time.monotonic() - known.changed_s
        if worker.state == known.worker.state == "joining" and joins_for_s > JOIN_S:
            return replace(worker, state="failed", reason=f"it has not joined within {JOIN_S:.0f} s")
        return None

    def _note(self, known: _Known, worker: Worker) -> None:
        """Take over how a worker stands, tell of it, and do what follows."""
        last, joined_once, now_s = known.worker, known.seen_s is not None, time.monotonic()
        changed = (worker.state, worker.node) != (last.state, last.node)
        if not changed and (worker.reason == last.reason or now_s - known.changed_s < REASON_EVERY_S):
            known.worker = replace(worker, reason=last.reason)
            return
        known.worker, known.changed_s = worker, now_s
        with self._lock:
            self._news.append(worker)
        if worker.state == "running":
            self._failures = 0
        if worker.state in ("lost", "failed"):
            with suppress(SlurmError):
                self._slurm.cancel([worker.job_id])
        if not joined_once and (worker.state == "failed" or (worker.state == "lost" and worker.reason in BROKEN)):
            self._fail(
                ClusterError(f"worker {worker.job_id} ended before it joined ({worker.reason}): {self._log(worker)}")
            )

    def _take_stock(self, nodes: Mapping[str, RayNode]) -> None:
        """Note which workers take work, and which have none."""
        busy = _busy_nodes()
        joined = {}
        now_s = time.monotonic()
        for job_id, known in self._known.items():
            node = nodes.get(resource_of(job_id))
            if known.worker.state != "running" or node is None:
                continue
            cpus, gpus = (int(node.resources.get(kind, 0)) for kind in ("CPU", "GPU"))
            joined[resource_of(job_id)] = Joined(known.worker.node, cpus, gpus, known.worker.end_s)
            if node.node_id in busy:
                known.idle_since_s = None
            elif known.idle_since_s is None:
                known.idle_since_s = now_s
        with self._lock:
            self._joined = {name: each for name, each in joined.items() if name not in self._released}

    def _change(self) -> None:
        """Submit, withdraw and release workers as the demand asks."""
        with self._lock:
            demand = self._demand
        now_s = time.monotonic()
        alive = {job_id: known for job_id, known in self._known.items() if known.worker.state not in IS_OVER}
        pending = [job_id for job_id, known in alive.items() if known.worker.state == "pending"]
        running = [
            job_id
            for job_id, known in alive.items()
            if known.worker.state in TAKES_WORK and resource_of(job_id) not in self._released
        ]
        idle = [job_id for job_id in running if self._is_idle(alive[job_id], now_s)]
        count = self.settings.workers
        change = plan_change(workers_needed(demand, self._size, count.max), count.min, pending, running, idle)
        self._withdraw(change.withdraw, now_s)
        for job_id in change.release:
            self.release(resource_of(job_id))
        for job_id, known in alive.items():
            if resource_of(job_id) in self._released and not known.told:
                known.told = True
                with suppress(SlurmError):  # it has just ended
                    self._slurm.signal(job_id, "USR2")
        if now_s > self._submit_after_s:
            self._submit(change.submit)

    def _is_idle(self, known: _Known, now_s: float) -> bool:
        return known.idle_since_s is not None and now_s - known.idle_since_s > self.settings.idle_s

    def _withdraw(self, job_ids: Sequence[str], now_s: float) -> None:
        """Take jobs out of the queue that have not been needed for a while: others would wait from the start."""
        if not job_ids:
            self._needed_s = now_s
        elif now_s - self._needed_s > self.settings.idle_s:
            self._slurm.cancel(job_ids)
            for job_id in job_ids:
                self._note(self._known[job_id], replace(self._known[job_id].worker, state="ended", reason="withdrawn"))

    def _submit(self, count: int) -> None:
        """Submit some workers, until one is refused."""
        for _ in range(count):
            try:
                job_id = submit_worker(self.settings, self.folder, self._name, work, self.folder, self.settings)
            except SlurmError as error:
                self._submit_after_s = time.monotonic() + RETRY_S
                alive = any(known.worker.state not in IS_OVER for known in self._known.values())
                if not alive and not error.is_passing:  # else a limit of jobs per user, which some of ours may fill
                    self._fail(error)
                return
            WorkerRecord(job_id, "pending", "", 0, "", float("inf")).note_submission(self.folder)
            self._know(Worker(job_id, "pending"))

    def _know(self, worker: Worker) -> None:
        now_s = time.monotonic()
        self._known[worker.job_id] = _Known(worker, now_s, now_s)
        with self._lock:
            self._news.append(worker)

    def _adopt(self) -> None:
        """Take over the workers that an earlier driver has left, those among them that the queue still has."""
        ours = {job.job_id for job in self._queue.values() if job.comment == str(self.folder)}
        records = WorkerRecord.read_all(self.folder)
        ours |= {job_id for job_id, record in records.items() if record.state != "ended"}
        for job_id in sorted(ours, key=int):
            job = self._queue.get(job_id)
            if job and job.is_active:
                self._know(Worker(job_id, "pending" if job.is_pending else "joining", job.reason, job.node, job.end_s))
        for job_id in records.keys() - self._known.keys():
            (self.folder / WORKERS / f"{job_id}.json").unlink(missing_ok=True)

    def _read_queue(self) -> None:
        self._queue = {job.job_id: job for job in self._slurm.queue()}
        self._queue_read_s = time.monotonic()

    def _fail(self, error: HpcError) -> None:
        """Give up behind the last of several failures in a row."""
        self._failures += 1
        self._submit_after_s = time.monotonic() + RETRY_S
        if self._failures >= FAILURES:
            self._fault = error

    def _log(self, worker: Worker) -> str:
        """The last lines that a worker has written."""
        log = self.folder / JOBS / f"{worker.job_id}_0_log.out"
        with suppress(OSError):
            lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
            return " · ".join(lines[-LOG_LINES:]) + f" ({log})"
        return f"it left no log ({log})"


def cluster_jobs(folder: Path, slurm: Slurm) -> list[str]:
    """Jobs of a cluster that have not ended: those that carry its name, and those that it has noted."""
    noted = WorkerRecord.read_all(folder)
    return [
        job.job_id for job in slurm.queue() if job.is_active and (job.comment == str(folder) or job.job_id in noted)
    ]


def close_cluster(folder: Path, slurm: Slurm, *, keep_logs: bool = False) -> int:
    """End every worker of a cluster, see them gone, and remove what they had.

    Parameters
    ----------
    keep_logs
        Whether what they have written is still to be read.

    Returns
    -------
    How many there were.
    """
    if head := Head.read(folder):
        with suppress(OSError):  # storage that is full: they are cancelled all the same
            head.close(folder)
    jobs = cluster_jobs(folder, slurm)
    count, until_s = len(jobs), time.monotonic() + CLOSING_S
    while jobs and time.monotonic() < until_s:
        slurm.cancel(jobs)
        time.sleep(LOOK_EVERY_S)
        jobs = cluster_jobs(folder, slurm)
    if not jobs:
        for name in (WORKERS, *([] if keep_logs else [JOBS])):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in (TOKEN, PACKED):
            (folder / name).unlink(missing_ok=True)
    return count


def _busy_nodes() -> set[str]:
    """Ids of Ray's nodes where something runs."""
    from ray._private.state import available_resources_per_node, total_resources_per_node

    available = available_resources_per_node()
    return {
        node_id
        for node_id, total in total_resources_per_node().items()
        if any(available.get(node_id, {}).get(kind, 0) < total.get(kind, 0) for kind in ("CPU", "GPU"))
    }
