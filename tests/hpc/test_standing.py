"""How a worker stands: by its own words, then by the queue, then by what Ray sees."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc.cluster import Worker
from hpc.slurm import Slurm
from hpc.standing import LOST_S, standing
from hpc.worker import WorkerRecord

JUST_NOW, LONG_AGO = 0.0, LOST_S + 1
UNJOINED = None

SUBMITTED = Worker("4711", "pending")
NOTED = WorkerRecord("4711", "pending", "", 0, "", inf)


def said(state, reason=""):
    """What the worker itself has said last."""
    return WorkerRecord("4711", state, "n7", 99, "10.77.0.17", 5000.0, reason)


def queued(state, reason="", node="n7"):
    """What the queue says of it."""
    waits = state in ("PENDING", "CONFIGURING")
    line = f"4711|{state}|N/A|{'' if waits else node}|{reason or 'None'}|/home/ada/runs/small/cluster"
    (job,) = Slurm(lambda *_: line).queue()
    return job


QUEUE = {
    "waits": queued("PENDING", "Priority"),
    "boots": queued("CONFIGURING"),
    "runs": queued("RUNNING"),
    "completes": queued("COMPLETING"),
    "done": queued("COMPLETED"),
    "cancelled": queued("CANCELLED"),
    "node failed": queued("NODE_FAIL"),
    "is not there": None,
}


@pytest.mark.parametrize(
    ("own", "queue", "unseen_s", "state", "reason"),
    [
        # it has ended, by its own words: whatever anybody else says
        (said("ended", "SIGTERM"), "runs", JUST_NOW, "ended", "SIGTERM"),
        (said("ended", "no driver any more"), "completes", LONG_AGO, "ended", "no driver any more"),
        (said("failed", "Ray does not start here"), "cancelled", LONG_AGO, "failed", "Ray does not start here"),
        (said("ended", "SIGUSR2"), "is not there", UNJOINED, "ended", "SIGUSR2"),
        # the queue says that its job has ended: whatever Ray still sees, and whatever it said before
        (said("running"), "cancelled", JUST_NOW, "lost", "CANCELLED"),
        (said("running"), "node failed", LONG_AGO, "lost", "NODE_FAIL"),
        (said("draining", "SIGUSR2"), "node failed", JUST_NOW, "lost", "NODE_FAIL"),
        (said("joining"), "cancelled", UNJOINED, "lost", "CANCELLED"),
        (NOTED, "cancelled", UNJOINED, "lost", "CANCELLED"),
        (None, "cancelled", UNJOINED, "lost", "CANCELLED"),
        # it leaves: Ray may see it to its end, or not any more
        (said("draining", "SIGUSR2"), "runs", JUST_NOW, "draining", "SIGUSR2"),
        (said("draining", "SIGTERM"), "completes", LONG_AGO, "draining", "SIGTERM"),
        (said("draining", "SIGUSR2"), "is not there", UNJOINED, "draining", "SIGUSR2"),
        # Ray sees it, or has seen it
        (said("running"), "runs", JUST_NOW, "running", ""),
        (said("running"), "runs", LOST_S - 1, "running", ""),
        (said("running"), "runs", LONG_AGO, "lost", "Ray sees it no more"),
        (said("running"), "is not there", JUST_NOW, "running", ""),
        (said("joining"), "runs", LONG_AGO, "joining", ""),  # its raylet was lost, and another one starts
        (said("running"), "done", JUST_NOW, "ended", "COMPLETED"),
        (None, "runs", JUST_NOW, "running", ""),  # its words are slower on their way than Ray's
        (NOTED, "waits", JUST_NOW, "running", ""),  # and so is the queue
        (said("joining"), "runs", JUST_NOW, "running", ""),
        # granted, but Ray has not seen it yet
        (said("joining"), "runs", UNJOINED, "joining", ""),
        (said("running"), "runs", UNJOINED, "joining", ""),
        (said("joining"), "waits", UNJOINED, "joining", ""),  # the queue was asked before
        (said("joining"), "is not there", UNJOINED, "joining", ""),
        (NOTED, "runs", UNJOINED, "joining", ""),
        (None, "runs", UNJOINED, "joining", ""),
        (None, "completes", UNJOINED, "joining", ""),
        # it waits
        (NOTED, "waits", UNJOINED, "pending", "Priority"),
        (None, "waits", UNJOINED, "pending", "Priority"),
        (NOTED, "boots", UNJOINED, "pending", ""),
        (NOTED, "is not there", UNJOINED, "pending", ""),
        (None, "is not there", UNJOINED, "pending", ""),
    ],
)
def test_its_own_words_come_before_the_queue_and_the_queue_before_ray(own, queue, unseen_s, state, reason):
    found = standing(own, QUEUE[queue], SUBMITTED, unseen_s)
    assert (found.job_id, found.state, found.reason) == ("4711", state, reason)


def test_a_worker_that_rays_eyes_come_back_to_runs_again():
    blinked = standing(said("running"), QUEUE["runs"], Worker("4711", "running", "", "n7"), LOST_S - 0.1)
    assert standing(said("running"), QUEUE["runs"], blinked, 0.0).state == "running"


def test_a_reason_to_wait_is_forgotten_once_it_runs():
    waits = standing(NOTED, QUEUE["waits"], SUBMITTED, UNJOINED)
    assert waits.reason == "Priority"
    assert standing(said("joining"), QUEUE["runs"], waits, UNJOINED).reason == ""


def test_a_reason_to_wait_stays_while_the_queue_is_silent():
    waits = standing(NOTED, QUEUE["waits"], SUBMITTED, UNJOINED)
    assert standing(NOTED, None, waits, UNJOINED) == waits


@pytest.mark.parametrize(
    ("own", "queue", "last", "node"),
    [
        (said("running"), queued("RUNNING", node="n8"), "n6", "n8"),
        (said("running"), None, "n6", "n7"),
        (said("running"), queued("PENDING"), "n6", "n7"),
        (None, None, "n6", "n6"),
        (NOTED, None, "n6", "n6"),
    ],
)
def test_its_node_is_the_queues_or_its_own_or_that_of_before(own, queue, last, node):
    assert standing(own, queue, Worker("4711", "joining", node=last), UNJOINED).node == node


@pytest.mark.parametrize(
    ("queue_s", "own_s", "end_s"), [(4000.0, 5000.0, 4000.0), (6000.0, 5000.0, 5000.0), (inf, 5000.0, 5000.0)]
)
def test_its_node_ends_at_the_earlier_of_what_the_queue_and_it_say(queue_s, own_s, end_s):
    job, own = replace(QUEUE["runs"], end_s=queue_s), replace(said("running"), end_s=own_s)
    assert standing(own, job, SUBMITTED, JUST_NOW).end_s == end_s
    assert standing(NOTED, job, SUBMITTED, JUST_NOW).end_s == queue_s
    assert standing(own, None, SUBMITTED, JUST_NOW).end_s == own_s
    assert standing(None, None, SUBMITTED, JUST_NOW).end_s == inf


owns = st.sampled_from([None, NOTED, *(said(state, "why") for state in ("joining", "running", "draining", "ended"))])
jobs = st.sampled_from(list(QUEUE.values()))
states = st.sampled_from(["pending", "joining", "running", "draining"])


@given(owns, jobs, states, st.sampled_from([UNJOINED, JUST_NOW, LONG_AGO]))
def test_looking_twice_shows_the_same(own, queue, state, unseen_s):
    once = standing(own, queue, Worker("4711", state), unseen_s)
    assert standing(own, queue, once, unseen_s) == once


@given(owns, jobs, states, st.sampled_from([UNJOINED, JUST_NOW, LONG_AGO]))
def test_a_worker_takes_work_only_if_its_job_has_not_ended_and_it_does_not_leave(own, queue, state, unseen_s):
    found = standing(own, queue, Worker("4711", state), unseen_s)
    if found.state in ("pending", "joining", "running"):
        assert queue is None or queue.is_active
        assert own is None or own.state not in ("draining", "ended")
