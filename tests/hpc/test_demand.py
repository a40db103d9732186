from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc.demand import Change, Size, plan_change, workers_needed

CPU, TWO, FOUR = {"cpus": 1}, {"cpus": 2}, {"cpus": 4}
GPU, HALF, QUARTER, NINTH = ({"cpus": 1, "gpus": share} for share in (1, 0.5, 0.25, 1 / 9))

SHARES = (0, 0.1, 0.25, 1 / 3, 0.5, 0.6, 1, 2)
tasks = st.lists(st.fixed_dictionaries({"cpus": st.integers(1, 5), "gpus": st.sampled_from(SHARES)}), max_size=12)
sizes = st.builds(Size, cpus=st.integers(1, 8), gpus=st.integers(0, 3))


@pytest.mark.parametrize(
    ("size", "together", "fit"),
    [
        (Size(4, 0), [CPU] * 4, True),
        (Size(4, 0), [CPU] * 5, False),
        (Size(4, 0), [TWO, TWO], True),
        (Size(4, 0), [TWO, CPU, TWO], False),
        (Size(4, 0), [GPU], False),
        (Size(4, 2), [GPU, GPU], True),
        (Size(4, 2), [GPU, GPU, QUARTER], False),
        (Size(9, 1), [NINTH] * 9, True),  # as floats they are 1.0000000000000002
        (Size(4, 1), [QUARTER] * 4, True),
        (Size(5, 1), [QUARTER] * 5, False),
        (Size(4, 2), [HALF, HALF, GPU], True),
        (Size(4, 2), [{"gpus": 0.6}, {"gpus": 0.6}], True),
        (Size(4, 2), [{"gpus": 0.6}] * 3, False),  # 1.8 of 2 GPUs, but a share lies on one of them
        (Size(4, 2), [{"gpus": share} for share in (0.4, 0.4, 0.6, 0.6)], True),  # 0.6 + 0.4 on each
        (Size(4, 4), [{"gpus": 3}, GPU], True),
        (Size(4, 4), [{"gpus": 3}, GPU, QUARTER], False),
        (Size(1, 0), [], True),
    ],
)
def test_tasks_fit_on_a_worker_together(size, together, fit):
    assert size.holds(together) == fit


@pytest.mark.parametrize(
    ("demand", "size", "limit", "needed"),
    [
        ([], Size(4, 0), 8, 0),
        ([CPU], Size(4, 0), 8, 1),
        ([CPU] * 8, Size(4, 0), 8, 2),
        ([CPU] * 9, Size(4, 0), 8, 3),
        ([CPU] * 9, Size(4, 0), 2, 2),
        ([CPU] * 9, Size(4, 0), 0, 0),
        ([QUARTER] * 8, Size(8, 1), 8, 2),
        ([QUARTER] * 8, Size(2, 1), 8, 4),  # the CPUs are what is short
        ([FOUR, CPU, FOUR, CPU], Size(5, 0), 8, 2),  # the small ones go where there is room
        ([FOUR, FOUR], Size(2, 0), 8, 0),  # no worker would ever hold them
        ([FOUR, CPU], Size(2, 0), 8, 1),
        ([GPU] * 4, Size(4, 0), 8, 0),
    ],
)
def test_workers_are_as_many_as_the_demand_fills_up_to_the_limit(demand, size, limit, needed):
    assert workers_needed(demand, size, limit) == needed


@given(tasks, sizes, st.integers(0, 6))
def test_no_more_workers_are_needed_than_there_are_tasks_that_fit_nor_than_the_limit(demand, size, limit):
    fitting = [task for task in demand if size.holds([task])]
    assert min(limit, bool(fitting)) <= workers_needed(demand, size, limit) <= min(limit, len(fitting))


@given(tasks, sizes)
def test_below_the_limit_the_workers_have_what_the_tasks_ask_for(demand, size):
    fitting = [task for task in demand if size.holds([task])]
    needed = workers_needed(demand, size, len(demand))
    assert needed >= ceil(sum(task["cpus"] for task in fitting) / size.cpus)
    assert needed * size.gpus >= sum(task["gpus"] for task in fitting) - 1e-6


@given(tasks, sizes)
def test_one_worker_is_enough_only_if_it_holds_everything(demand, size):
    fitting = [task for task in demand if size.holds([task])]
    assert size.holds(fitting) or workers_needed(demand, size, len(demand)) > 1


@given(tasks, sizes, st.integers(0, 6))
def test_a_limit_only_cuts_off(demand, size, limit):
    assert workers_needed(demand, size, limit) == min(limit, workers_needed(demand, size, len(demand)))


@pytest.mark.parametrize(
    ("needed", "least", "change"),
    [
        (4, 0, Change()),
        (6, 0, Change(submit=2)),
        (3, 0, Change(withdraw=("12",))),
        (2, 0, Change(withdraw=("12", "11"))),
        (1, 0, Change(withdraw=("12", "11"), release=("1",))),
        (0, 0, Change(withdraw=("12", "11"), release=("1",))),  # the other one works
        (0, 2, Change(withdraw=("12", "11"))),
        (0, 5, Change(submit=1)),
    ],
)
def test_of_two_that_wait_and_two_that_run_the_newest_that_waits_goes_first(needed, least, change):
    assert plan_change(needed, least, pending=["11", "12"], running=["1", "2"], idle=["1"]) == change


def test_workers_that_only_just_have_no_work_stay():
    assert plan_change(0, 0, pending=[], running=["1", "2"], idle=[]) == Change()


@st.composite
def crews(draw):
    """Jobs that wait, workers that run, and those of them that are idle."""
    names = [str(number) for number in range(draw(st.integers(0, 8)))]
    cut = draw(st.integers(0, len(names)))
    running = names[:cut]
    idle = draw(st.lists(st.sampled_from(running), unique=True)) if running else []
    return names[cut:], running, idle


@given(crews(), st.integers(0, 8), st.integers(0, 8))
def test_a_change_leads_to_what_is_needed_and_never_below(crew, needed, least):
    pending, running, idle = crew
    change = plan_change(needed, least, pending, running, idle)
    have, wanted = len(pending) + len(running), max(needed, least)
    after = have + change.submit - len(change.withdraw) - len(change.release)
    assert after >= wanted
    assert after == wanted or len(change.release) == len(idle)  # but for those that work
    assert not change.submit or not (change.withdraw or change.release)


@given(crews(), st.integers(0, 8), st.integers(0, 8))
def test_only_what_waits_is_withdrawn_and_only_what_is_idle_released_the_former_first(crew, needed, least):
    pending, running, idle = crew
    change = plan_change(needed, least, pending, running, idle)
    assert list(change.withdraw) == pending[::-1][: len(change.withdraw)]
    assert list(change.release) == idle[: len(change.release)]
    assert not change.release or len(change.withdraw) == len(pending)


@given(crews(), st.integers(0, 8), st.integers(0, 8))
def test_once_a_change_is_made_nothing_more_is_to_change(crew, needed, least):
    pending, running, idle = crew
    change = plan_change(needed, least, pending, running, idle)
    pending = [job for job in pending if job not in change.withdraw] + [f"new-{n}" for n in range(change.submit)]
    running = [job for job in running if job not in change.release]
    idle = [job for job in idle if job not in change.release]
    assert plan_change(needed, least, pending, running, idle) == Change()
