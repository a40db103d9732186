"""How a worker stands, from what it says itself, what the queue says and what Ray sees. Pure."""

from dataclasses import replace

from hpc.cluster import Worker
from hpc.slurm import QueuedJob
from hpc.worker import WorkerRecord

LOST_S = 15.0
"""A worker that Ray has not seen for this long is lost, whatever the queue says, unless it says that it joins again."""

TAKES_WORK = ("joining", "running")
IS_OVER = ("ended", "failed", "lost")


def standing(record: WorkerRecord | None, queued: QueuedJob | None, last: Worker, unseen_s: float | None) -> Worker:
    """How a worker stands: by what it says itself, then by the queue, then by what Ray sees.

    Parameters
    ----------
    last
        How it stood before.
    unseen_s
        How long Ray has not seen it [s]; None before it joined.
    """
    own = record if record and record.state != "pending" else None
    worker = replace(
        last,
        node=(queued.node if queued and queued.node else own.host if own else last.node),
        end_s=min(queued.end_s if queued else float("inf"), own.end_s if own else float("inf")),
    )
    if own and own.state in ("ended", "failed"):
        return replace(worker, state=own.state, reason=own.reason)
    if queued and not queued.is_active:
        state = "ended" if queued.state == "COMPLETED" else "lost"
        return replace(worker, state=state, reason=queued.state)
    if own and own.state == "draining":
        return replace(worker, state="draining", reason=own.reason)
    joins_again = own is not None and own.state == "joining" and unseen_s != 0
    if unseen_s is not None and not joins_again:
        lost = unseen_s > LOST_S
        return replace(worker, state="lost" if lost else "running", reason="Ray sees it no more" if lost else "")
    if own or (queued and not queued.is_pending):
        return replace(worker, state="joining", reason="")
    return replace(worker, state="pending", reason=queued.reason if queued else last.reason)
