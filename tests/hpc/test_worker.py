import json
import socket
from math import inf

import pytest

from hpc.files import write_json
from hpc.worker import HEAD, WORKERS, Head, WorkerRecord, answers, granted_here, resource_of

RECORD = WorkerRecord("4711", "running", "n7", 99, "10.77.0.17", 1_800_000_000.0)


@pytest.fixture
def folder(tmp_path):
    """A cluster's."""
    (tmp_path / WORKERS).mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("environment", "cpus", "gpus", "memory_mb"),
    [
        ({}, 1, 0, None),
        ({"SLURM_CPUS_PER_TASK": "8", "SLURM_CPUS_ON_NODE": "64"}, 8, 0, None),
        ({"SLURM_CPUS_ON_NODE": "64"}, 64, 0, None),
        ({"SLURM_MEM_PER_NODE": "16384"}, 1, 0, 16384),
        ({"SLURM_MEM_PER_NODE": "0"}, 1, 0, None),  # --mem=0: all of the node's
        ({"SLURM_MEM_PER_NODE": "all"}, 1, 0, None),
        ({"SLURM_GPUS_ON_NODE": "2", "CUDA_VISIBLE_DEVICES": "0,1"}, 1, 2, None),
        ({"SLURM_GPUS_ON_NODE": "2"}, 1, 2, None),
        ({"CUDA_VISIBLE_DEVICES": "0,3"}, 1, 2, None),  # asked for by --gres, on a Slurm that does not count
        ({"CUDA_VISIBLE_DEVICES": "GPU-5c1d,MIG-77f0"}, 1, 2, None),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, 1, 0, None),
        ({"CUDA_VISIBLE_DEVICES": ""}, 1, 0, None),
    ],
)
def test_a_worker_offers_what_slurm_has_granted(environment, cpus, gpus, memory_mb):
    memory_bytes = None if memory_mb is None else memory_mb * 2**20
    assert granted_here(environment) == {"cpus": cpus, "gpus": gpus, "memory_bytes": memory_bytes}


def test_what_was_granted_is_read_from_this_process_by_default(monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    assert granted_here()["cpus"] == 3


def test_a_head_is_found_once_it_is_published(tmp_path):
    assert Head.read(tmp_path) is None
    Head(1, "10.77.0.11:6379").publish(tmp_path)
    assert Head.read(tmp_path) == Head(1, "10.77.0.11:6379", closed=False)
    Head(2, "10.77.0.12:6380").publish(tmp_path)
    assert Head.read(tmp_path) == Head(2, "10.77.0.12:6380")


def test_a_head_that_is_closed_stays_where_it_was(tmp_path):
    head = Head(3, "10.77.0.11:6379")
    head.close(tmp_path)
    assert Head.read(tmp_path) == Head(3, "10.77.0.11:6379", closed=True)
    assert not head.closed


@pytest.mark.parametrize("content", ["", "{", '{"generation": 1, "addr', "[]"])
def test_a_head_that_cannot_be_read_whole_is_none(tmp_path, content):
    (tmp_path / HEAD).write_text(content)
    assert Head.read(tmp_path) is None


@pytest.mark.parametrize("end_s", [1_800_000_000.5, inf])
def test_what_a_worker_says_is_read_by_its_job(folder, end_s):
    one = WorkerRecord("4711", "draining", "n7", 99, "10.77.0.17", end_s, reason="SIGUSR2")
    other = WorkerRecord("4712", "joining", "n8", 98, "10.77.0.18", end_s)
    one.write(folder)
    other.write(folder)
    assert WorkerRecord.read_all(folder) == {"4711": one, "4712": other}


def test_a_worker_that_speaks_again_is_heard_with_its_last_words(folder):
    RECORD.write(folder)
    ended = WorkerRecord("4711", "ended", "n7", 99, "10.77.0.17", RECORD.end_s, reason="SIGTERM")
    ended.write(folder)
    assert WorkerRecord.read_all(folder) == {"4711": ended}


def test_a_submission_is_noted_until_the_worker_speaks_and_never_afterwards(folder):
    noted = WorkerRecord("4711", "pending", "", 0, "", inf)
    noted.note_submission(folder)
    assert WorkerRecord.read_all(folder) == {"4711": noted}
    RECORD.write(folder)
    noted.note_submission(folder)  # the worker was granted before its submission could be noted
    assert WorkerRecord.read_all(folder) == {"4711": RECORD}


def test_what_is_torn_or_half_written_beside_others_hides_none_of_them(folder):
    RECORD.write(folder)
    (folder / WORKERS / "4712.json").write_text('{"job_id": "47')
    (folder / WORKERS / ".4713.json.0a1b2c3d.part").write_text(json.dumps({"job_id": "4713"}))
    (folder / WORKERS / "notes.txt").write_text("mine")
    write_json(folder / WORKERS / "4714.json", {})
    assert WorkerRecord.read_all(folder) == {"4711": RECORD}


def test_nobody_has_said_anything_where_there_is_no_folder(tmp_path):
    assert WorkerRecord.read_all(tmp_path) == {}


def test_every_worker_has_a_resource_of_its_own():
    assert (resource_of("4711"), resource_of("")) == ("worker-4711", "worker-")


def test_whoever_listens_answers_and_nobody_else():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert answers(address)
    assert not answers(address)
    assert not answers("nowhere.invalid:6379")
