"""Where there is room for a trial, on workers that come and go."""

from math import inf

import pytest

from fishray.config.sweep import Resources
from fishray.tuning.seats import Seats
from hpc.cluster import Joined

ONE_CPU = Resources(cpus=1, gpus=0)
HALF_A_GPU = Resources(cpus=1, gpus=0.6)


@pytest.fixture
def workers():
    """Two workers of two CPUs and two GPUs."""
    return {"worker-1": Joined("n1", 2, 2), "worker-2": Joined("n2", 2, 2)}


@pytest.fixture
def seats(workers):
    """Their seats, at second 1000."""
    return Seats(lambda: workers, lambda: 1000.0)


def fill(seats, wanted):
    """Take every place there is; where they are."""
    found = []
    while worker := seats.find(wanted):
        seats.take(f"trial-{len(found)}", worker, wanted)
        found.append(worker)
    return found


def test_trials_are_spread_over_workers(seats):
    assert fill(seats, ONE_CPU) == ["worker-1", "worker-2", "worker-1", "worker-2"]


def test_a_place_is_free_once_it_is_left(seats):
    fill(seats, ONE_CPU)
    seats.leave("trial-1")
    assert seats.find(ONE_CPU) == "worker-2"


def test_a_share_of_a_gpu_lies_on_one_gpu(seats):
    assert len(fill(seats, HALF_A_GPU)) == 4  # two GPUs of 0.6 each on either worker: 0.4 and 0.4 are no 0.6
    assert seats.find(ONE_CPU) is None


def test_auto_is_a_share_where_the_worker_has_gpus_and_none_where_it_has_not(workers, seats):
    workers["worker-1"] = Joined("n1", 9, 2)
    workers["worker-2"] = Joined("n2", 3, 0)
    assert sorted(fill(seats, Resources(cpus=1, gpus="auto"))) == ["worker-1"] * 8 + ["worker-2"] * 3


def test_a_worker_that_has_left_has_no_room_and_its_trials_keep_none_on_another(workers, seats):
    fill(seats, ONE_CPU)
    del workers["worker-1"]
    assert seats.find(ONE_CPU) is None
    assert seats.worker_of("trial-0") == "worker-1"
    seats.leave("trial-0")
    assert seats.find(ONE_CPU) is None


@pytest.mark.parametrize(("end_s", "found"), [(1009.9, None), (1010.1, "worker-1"), (inf, "worker-1")])
def test_no_worker_is_given_that_ends_before_the_trial_could_do_anything(workers, seats, end_s, found):
    workers["worker-1"] = Joined("n1", 2, 2, end_s)
    del workers["worker-2"]
    assert seats.find(ONE_CPU, within_s=10.0) == found
