import os
import signal
import subprocess
import sys
import threading

import pytest

from hpc.processes import children_of, command_of, descendants_of, kill, name_of

WITH_A_CHILD = "import subprocess; subprocess.run(['sleep', '60'])"


@pytest.fixture
def parent():
    """A process that has one of its own."""
    with subprocess.Popen([sys.executable, "-c", WITH_A_CHILD]) as process:
        while not descendants_of(process.pid):
            pass
        yield process
        kill([*descendants_of(process.pid), process.pid])


def test_children_of_children_are_descendants(parent):
    (child,) = children_of(parent.pid)
    assert {parent.pid, child} <= set(descendants_of(os.getpid()))
    assert parent.pid in children_of(os.getpid())
    assert child not in children_of(os.getpid())


def test_what_another_thread_has_started_is_a_child_as_well():
    started, over = [], threading.Event()

    def start():
        started.append(subprocess.Popen(["sleep", "60"]))
        over.wait()

    thread = threading.Thread(target=start)
    thread.start()
    while not started:
        pass
    assert started[0].pid in children_of(os.getpid())
    kill([started[0].pid])
    assert started[0].wait() == -signal.SIGKILL
    over.set()
    thread.join()


def test_a_process_that_has_ended_has_nothing_and_is_not_killed_again(parent):
    pids = [*descendants_of(parent.pid), parent.pid]
    kill(pids)
    parent.wait()
    kill([parent.pid])
    assert (children_of(parent.pid), command_of(parent.pid), name_of(parent.pid)) == ([], "", "")


def test_a_command_has_its_words_and_a_name(parent):
    assert WITH_A_CHILD in command_of(parent.pid).split("\0")
    (child,) = children_of(parent.pid)
    while name_of(child) != "sleep":
        pass
    assert command_of(child) == "sleep\x0060\x00"
