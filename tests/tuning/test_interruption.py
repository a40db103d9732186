"""Real signals to a real process."""

import signal
import subprocess
import sys

import pytest

from fishray.tuning.interruption import Interruption

WORK = """
import sys, time
from contextlib import nullcontext
from fishray.tuning.interruption import Interruption

with Interruption() as interruption:
    try:
        with interruption.deferred() if sys.argv[1] == "deferred" else nullcontext():
            print("ready", flush=True)
            while interruption.signal is None:
                time.sleep(0.01)
            print("noted", interruption.signal.name, flush=True)
            if sys.argv[2] == "goes on":
                time.sleep(30)
        if sys.argv[2] == "ends, then works":
            print("ended", flush=True)
            time.sleep(30)
    except KeyboardInterrupt:
        print("raised", flush=True)
    sys.exit(interruption.exit_status)
"""
"""Works until it has noted a signal; then it ends, or goes on so that it has to be asked twice."""

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 138}
SIGNALS = pytest.mark.parametrize("asked", STATUS, ids=lambda asked: asked.name)


@pytest.fixture
def work():
    """Start a process that works; what it says is read line by line."""
    started = []

    def start(*words):
        command = [sys.executable, "-c", WORK, *words]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "ready\n"
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@SIGNALS
def test_asked_once_while_deferred_it_is_noted_and_the_work_ends_by_itself(work, asked):
    process = work("deferred", "ends")
    process.send_signal(asked)
    assert process.stdout.readline() == f"noted {asked.name}\n"
    assert process.wait(60) == STATUS[asked]
    assert process.stdout.read() == ""


@SIGNALS
def test_asked_twice_it_raises_and_the_first_signal_gives_the_status(work, asked):
    process = work("deferred", "goes on")
    process.send_signal(asked)
    assert process.stdout.readline() == f"noted {asked.name}\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "raised\n"
    assert process.wait(60) == STATUS[asked]


@SIGNALS
def test_where_nothing_is_deferred_it_raises_at_once(work, asked):
    process = work("at once", "goes on")
    process.send_signal(asked)
    assert process.stdout.readline() == "raised\n"
    assert process.wait(60) == STATUS[asked]


def test_behind_what_was_deferred_one_more_signal_raises(work):
    process = work("deferred", "ends, then works")
    process.send_signal(signal.SIGTERM)
    assert [process.stdout.readline() for _ in range(2)] == ["noted SIGTERM\n", "ended\n"]
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "raised\n"
    assert process.wait(60) == 143


def test_the_handlers_before_are_there_again_afterwards():
    before = {each: signal.getsignal(each) for each in STATUS}
    with Interruption():
        assert [each for each in STATUS if signal.getsignal(each) == before[each]] == []
    assert {each: signal.getsignal(each) for each in STATUS} == before
