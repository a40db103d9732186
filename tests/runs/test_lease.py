"""Who may write a run: real processes, and a lease file of another machine."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, replace

import pytest

from fishray.errors import RunError
from fishray.files import umask
from fishray.runs import Journal, Lease, leased
from fishray.runs.directory import UMASKS
from fishray.runs.lease import SILENT_S, Holder, is_alive, last_holder, lease_path, silence_s
from fishray.tuning.recorder import Recorder

HOLD = """
import sys
from pathlib import Path
from fishray.errors import RunError
from fishray.runs import Lease
try:
    lease = Lease(Path(sys.argv[1]))
except RunError as error:
    print(error, flush=True)
    sys.exit(2)
print(lease.generation, flush=True)
sys.stdin.read()
lease.release()
"""
"""Holds a lease until its input ends."""

RACE = """
import os, sys
from pathlib import Path
from fishray.runs import Lease

folder, racers = Path(sys.argv[1]), int(sys.argv[2])
start, go = os.pipe()
children = []
for racer in range(racers):
    pid = os.fork()
    if pid == 0:
        os.close(go)
        os.read(start, 1)  # its end is the signal, to all at once
        try:
            lease = Lease(folder)
            (folder / f"won-{racer}").write_text(str(lease.generation))
            while len(list(folder.glob("won-*")) + list(folder.glob("lost-*"))) < racers:
                pass
            lease.check()
        except BaseException as error:
            (folder / f"lost-{racer}").write_text(f"{type(error).__name__}: {error}")
        os._exit(0)
    children.append(pid)
os.close(start)
os.close(go)
sys.exit(any(os.waitpid(pid, 0)[1] for pid in children))
"""
"""So many processes want one lease; the winner holds it until all others have lost."""


@contextmanager
def holder(run_path):
    """Another process that holds a run's lease."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, run_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        process.generation = int(process.stdout.readline())
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate()


@pytest.fixture
def path(tmp_path):
    return tmp_path


@pytest.fixture
def elsewhere(path):
    """The lease of a process on another machine, which was heard of just now."""
    far = replace(Holder.this_process(1), host="node-7", pid=4711, machine="another boot pid:[1]", started="1")
    lease_path(path, 1).write_text(json.dumps(asdict(far)))
    return far


def fall_silent(path, seconds, generation=1):
    """Let a holder have been heard of so long ago."""
    then_s = time.time() - seconds
    os.utime(lease_path(path, generation), (then_s, then_s))


def test_a_second_holder_is_refused_with_the_host_and_process_of_the_first(path):
    with holder(path) as other:
        with pytest.raises(RunError, match=rf"is in use on {socket.gethostname()}, process {other.pid}; see it: "):
            Lease(path)
        assert last_holder(path).pid == other.pid
    assert sorted(each.name for each in path.iterdir()) == ["lease-1"]


def test_one_process_holds_a_run_once(path):
    with leased(path), pytest.raises(RunError, match=f"process {os.getpid()}"):
        Lease(path)


def test_a_holder_that_was_killed_is_replaced_at_once_on_the_same_machine(path):
    with holder(path) as other:
        other.kill()
        other.wait()
        with leased(path) as lease:
            assert lease.generation == other.generation + 1


def test_a_killed_holder_that_nobody_has_waited_for_is_gone_too(path):
    with holder(path) as other:
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # a zombie from now on
        with leased(path) as lease:
            assert lease.generation == 2


def test_a_holder_that_stands_still_is_alive_on_the_same_machine_however_long(path):
    with holder(path) as other:
        other.send_signal(signal.SIGSTOP)
        fall_silent(path, 100 * SILENT_S)
        with pytest.raises(RunError, match=f"process {other.pid}"):
            Lease(path)


def test_a_later_process_of_the_same_number_is_not_the_holder(path):
    before = replace(Holder.this_process(1), started="12345")
    lease_path(path, 1).write_text(json.dumps(asdict(before)))
    assert not is_alive(path, before)
    with leased(path) as lease:
        assert lease.generation == 2


@pytest.mark.parametrize(("silence", "alive"), [(0, True), (SILENT_S - 5, True), (SILENT_S + 5, False)])
def test_a_holder_on_another_machine_is_alive_while_it_is_heard_of(path, elsewhere, silence, alive):
    fall_silent(path, silence)
    assert is_alive(path, elsewhere) == alive
    assert silence_s(path, elsewhere) == pytest.approx(silence, abs=3)
    if alive:
        with pytest.raises(RunError, match=r"is in use on node-7, process 4711; .* try again in \d+ s"):
            Lease(path)
    else:
        with leased(path) as lease:
            assert lease.generation == 2


def test_a_holder_on_another_machine_that_released_it_is_gone_at_once(path, elsewhere):
    lease_path(path, 1).write_text(json.dumps(asdict(replace(elsewhere, released=True))))
    with leased(path) as lease:
        assert lease.generation == 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 3}'])
def test_a_lease_that_is_not_written_yet_counts_until_it_has_been_silent(path, content):
    lease_path(path, 3).write_text(content)
    with pytest.raises(RunError, match="is in use on a host that has not said its name"):
        Lease(path)
    fall_silent(path, SILENT_S + 5, generation=3)
    with leased(path) as lease:
        assert lease.generation == 4


def test_generations_count_up_and_one_file_is_left(path):
    for generation in (1, 2, 3):
        with leased(path) as lease:
            assert lease.generation == generation
            assert (last_holder(path).pid, last_holder(path).released) == (os.getpid(), False)
        assert last_holder(path).released
    assert [each.name for each in path.iterdir()] == ["lease-3"]


def test_nobody_holds_a_run_that_nobody_ever_held(path):
    assert last_holder(path) is None
    (path / "lease-notes").touch()
    assert last_holder(path) is None


def overtake(path, generation=2):
    lease_path(path, generation).write_text(
        json.dumps(asdict(replace(Holder.this_process(generation), host="node-8", pid=12)))
    )


def test_a_holder_that_was_overtaken_is_told_by_whom(path):
    with leased(path) as lease:
        lease.check()
        overtake(path)
        with pytest.raises(RunError, match=r"was taken over by another process \(node-8, process 12\)"):
            lease.check()


def test_a_holder_that_was_overtaken_does_not_release_what_is_not_its_own(path):
    with leased(path):
        overtake(path)
        before = lease_path(path, 2).read_bytes()
    assert lease_path(path, 2).read_bytes() == before
    assert not json.loads(lease_path(path, 1).read_text())["released"]


def test_a_holder_that_was_overtaken_writes_nothing_and_tells_nobody(path):
    told = []
    with leased(path) as lease:
        record = Recorder(Journal(path / "journal.jsonl"), lease)
        record.watchers.append(told.append)
        record("sweep")
        overtake(path)
        before = (path / "journal.jsonl").read_bytes()
        with pytest.raises(RunError, match="nothing more is written here"):
            record("finish", status="finished")
    assert (path / "journal.jsonl").read_bytes() == before
    assert [each["event"] for each in told] == ["sweep"]


def test_who_records_mends_a_torn_line_first_and_writes_its_generation(path):
    journal = Journal(path / "journal.jsonl")
    journal.append("sweep")
    with journal.path.open("ab") as file:
        file.write(b'{"time":3,"ev')
    with leased(path) as lease:
        Recorder(journal, lease)("finish", status="finished")
    assert [(each["event"], each["generation"]) for each in journal] == [("sweep", 0), ("finish", 1)]


@pytest.mark.parametrize(("access", "mode"), [("owner", 0o600), ("group", 0o640)])
def test_the_lease_is_for_those_who_may_read_the_run(path, access, mode):
    with umask(UMASKS[access]), leased(path) as lease:
        assert lease_path(path, 1).stat().st_mode & 0o777 == mode
        lease.release()
        assert lease_path(path, 1).stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("before", ["nobody", "somebody dead", "somebody who released it"])
def test_of_eight_processes_that_want_one_lease_exactly_one_gets_it(path, before):
    for round_number in range(6):
        run_path = path / str(round_number)
        run_path.mkdir()
        if before != "nobody":
            with leased(run_path) as lease:
                dead = replace(lease.holder, started="12345")
            if before == "somebody dead":
                lease_path(run_path, 1).write_text(json.dumps(asdict(dead)))
        subprocess.run([sys.executable, "-c", RACE, run_path, "8"], check=True)
        won, lost = list(run_path.glob("won-*")), list(run_path.glob("lost-*"))
        assert (len(won), len(lost)) == (1, 7)
        assert won[0].read_text() == ("1" if before == "nobody" else "2")
        told = [each.read_text() for each in lost]
        assert [text for text in told if not re.match("RunError: .*( is in use on | taken by another)", text)] == []
        assert len(list(run_path.glob("lease-*"))) == 1
