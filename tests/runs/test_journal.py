"""The journal: durable, append-only, read as it grows."""

import os
import resource
import subprocess
from contextlib import contextmanager

import numpy as np
import pytest

from fishray.errors import RunError, StorageError
from fishray.runs import Journal
from fishray.runs.journal import JournalReader


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal.jsonl")


def test_events_are_read_as_they_were_written(journal):
    written = [journal.append("attempt", trial="lstm-0000", attempt=1), journal.append("scoring", what="3 leaders")]
    assert list(journal) == written
    assert written[1]["event"] == "scoring"
    assert journal.path.read_bytes().count(b"\n") == 2


def test_numpy_numbers_become_plain_ones(journal):
    journal.append("result", epoch=np.int64(3), auc=np.float32(0.5), collapsed=np.bool_(True))
    (read,) = journal
    assert (read["epoch"], read["auc"], read["collapsed"]) == (3, 0.5, True)


def test_what_is_no_number_is_never_written(journal):
    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.append("result", auc=float("nan"))
    with pytest.raises(TypeError, match="set cannot be written to a journal"):
        journal.append("result", auc={1})
    assert not journal.path.exists()


TORN = [b'{"time":3,"event":"fin', b'{"time":3,"event":"finish"}', b"\0\0"]


def add(journal, content):
    """Write behind the end, as nobody should."""
    with journal.path.open("ab") as file:
        file.write(content)


def names(records):
    return [each["event"] for each in records]


@pytest.mark.parametrize("torn", TORN)
def test_a_last_line_without_its_end_is_ignored(journal, torn):
    journal.append("scoring", what="3 leaders")
    add(journal, torn)
    assert names(journal) == ["scoring"]


@pytest.mark.parametrize("torn", TORN)
def test_a_torn_line_is_cut_off_so_that_the_next_one_stands_for_itself(journal, torn):
    journal.append("scoring", what="3 leaders")
    whole = journal.path.read_bytes()
    add(journal, torn)
    journal.mend()
    assert journal.path.read_bytes() == whole
    journal.append("finish", status="finished")
    assert names(journal) == ["scoring", "finish"]


def test_mending_leaves_a_whole_journal_as_it_is_and_makes_none(journal):
    journal.mend()
    assert not journal.path.exists()
    journal.append_all([("scoring", {}), ("finish", {})])
    whole = journal.path.read_bytes()
    journal.mend()
    assert journal.path.read_bytes() == whole


def test_a_journal_that_is_one_torn_line_becomes_empty(journal):
    journal.path.write_bytes(b'{"time":3,"ev')
    journal.mend()
    assert journal.path.read_bytes() == b""
    assert list(journal) == []


def test_a_damaged_line_in_the_middle_is_named(journal):
    journal.append("scoring", what="3 leaders")
    with journal.path.open("ab") as file:
        file.write(b"\0\0\0\n")
    journal.append("finish", status="finished")
    with pytest.raises(RunError, match=r"journal\.jsonl is damaged at line 2: "):
        list(journal)


@pytest.mark.parametrize("content", [b"3\n", b"[]\n", b"{\n", b"\n"])
def test_a_line_that_is_no_event_is_named_with_its_number(journal, content):
    journal.append_all([("scoring", {}), ("scoring", {})])
    add(journal, content)
    with pytest.raises(RunError, match=r"journal\.jsonl is damaged at line 3: "):
        list(journal)


# Several events in one go


def test_several_events_are_written_in_one_go_and_are_on_disk_afterwards(journal, monkeypatch):
    calls = []
    for name in ("write", "fsync"):
        call = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *words, call=call, name=name: (calls.append(name), call(*words))[1])
    journal.append_all([("decision", {"rung": rung}) for rung in (1, 3, 9)])
    assert calls == ["write", "fsync", "fsync"]  # its bytes, then its name in the folder, for the journal is new
    calls.clear()
    journal.append_all([("decision", {"rung": rung}) for rung in (1, 3, 9)])
    assert calls == ["write", "fsync"]
    assert [each["rung"] for each in journal] == [1, 3, 9, 1, 3, 9]


def test_a_value_that_cannot_be_written_keeps_the_events_beside_it_back(journal):
    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.append_all([("scoring", {}), ("result", {"auc": float("inf")})])
    assert not journal.path.exists()


# Writers of different generations


def test_what_an_earlier_writer_still_wrote_behind_a_later_one_is_passed_over(journal):
    journal.append_all([("first", {})], generation=1)
    journal.append_all([("second", {})], generation=2)
    journal.append_all([("late", {}), ("later", {})], generation=1)
    journal.append_all([("third", {})], generation=2)
    assert names(journal) == ["first", "second", "third"]


def test_a_late_line_is_known_as_such_by_who_reads_on_from_before_it(journal):
    reader = JournalReader(journal.path)
    journal.append_all([("second", {})], generation=2)
    assert names(reader.read()) == ["second"]
    journal.append_all([("late", {})], generation=1)
    assert names(reader.read()) == []


# Storage that is full


@contextmanager
def files_of_at_most(size):
    """No file of this process grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 1, 150], ids=["no byte", "one byte", "the first of two lines"])
def test_an_append_that_fails_leaves_the_journal_byte_equal(journal, room):
    journal.append("scoring", what="3 leaders")
    before = journal.path.read_bytes()
    lines = [("decision", {"reason": "x" * 50})] * 2  # over 100 bytes each
    with (
        files_of_at_most(len(before) + room),
        pytest.raises(StorageError, match=r"journal\.jsonl cannot be written \(File too large\)"),
    ):
        journal.append_all(lines)
    assert journal.path.read_bytes() == before
    journal.append_all(lines)
    assert names(journal) == ["scoring", "decision", "decision"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this process may mount nothing")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_file_system_is_said_and_once_there_is_room_the_journal_goes_on(small_disk):
    journal = Journal(small_disk / "journal.jsonl")
    journal.append("scoring", what="3 leaders")
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(48 * 1024))
    before = journal.path.read_bytes()
    with pytest.raises(StorageError, match=r"journal\.jsonl cannot be written \(No space left on device\)"):
        journal.append_all([("decision", {"reason": "x" * 1000})] * 32)
    assert journal.path.read_bytes() == before
    ballast.unlink()
    journal.append("finish", status="finished")
    assert names(journal) == ["scoring", "finish"]


def test_a_journal_that_may_not_be_there_is_said(tmp_path):
    journal = Journal(tmp_path / "gone" / "journal.jsonl")
    with pytest.raises(StorageError, match=r"gone/journal\.jsonl cannot be written \(No such file or directory\)"):
        journal.append("scoring")


# Reading on


def test_a_reader_gives_each_event_once_as_the_journal_grows(journal):
    reader = JournalReader(journal.path)
    assert list(reader.read()) == []
    journal.append("sweep")
    assert names(reader.read()) == ["sweep"]
    assert names(reader.read()) == []
    journal.append_all([("scoring", {}), ("finish", {})])
    assert names(reader.read()) == ["scoring", "finish"]


def test_a_line_that_arrives_in_two_halves_is_given_once_it_is_whole(journal):
    reader = JournalReader(journal.path)
    journal.append("sweep")
    line = b'{"time":3.0,"event":"finish","status":"finished"}\n'
    add(journal, line[:20])
    assert names(reader.read()) == ["sweep"]
    assert names(reader.read()) == []
    add(journal, line[20:-1])
    assert names(reader.read()) == []
    add(journal, line[-1:])
    assert names(reader.read()) == ["finish"]


def test_a_reader_names_the_number_of_a_damaged_line_in_the_whole_journal(journal):
    reader = JournalReader(journal.path)
    journal.append_all([("sweep", {}), ("scoring", {})])
    assert len(list(reader.read())) == 2
    add(journal, b"?\n")
    with pytest.raises(RunError, match=r"is damaged at line 3: b'\?"):
        list(reader.read())


def test_a_torn_line_that_could_not_be_undone_is_cut_off_by_the_next_event(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append("sweep", name="one")
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole + b'{"time":1.0,"event":"resu' + b"x" * 100_000)  # longer than one look at its end
    journal.append("finish", status="interrupted", reason="")
    assert journal.path.read_bytes().startswith(whole)
    assert [each["event"] for each in journal] == ["sweep", "finish"]
