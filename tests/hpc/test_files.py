import errno
import os
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpc.files import make_token, private_directory, read_json, write_json

UMASKS = [0o000, 0o022, 0o077]


@pytest.fixture
def umask():
    """Set this process's umask."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.fixture
def modes(monkeypatch):
    """Modes of files at the moment when something is first written to them."""
    seen = []
    write_text = Path.write_text

    def look_first(path, text):
        seen.append(path.stat().st_mode & 0o777)
        return write_text(path, text)

    monkeypatch.setattr(Path, "write_text", look_first)
    return seen


@pytest.fixture
def full_disk(monkeypatch):
    """While it is entered, nothing can be written."""

    @contextmanager
    def fill():
        def fail(path, text):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_text", fail)
            yield

    return fill


@pytest.mark.parametrize("mask", UMASKS)
def test_a_token_is_readable_to_its_owner_alone_from_its_first_byte_on(tmp_path, umask, modes, mask):
    umask(mask)
    make_token(tmp_path / "token")
    assert modes == [0o600]
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["token"]


def test_a_token_cannot_be_guessed(tmp_path):
    make_token(tmp_path / "one")
    make_token(tmp_path / "other")
    one, other = (tmp_path / "one").read_text(), (tmp_path / "other").read_text()
    assert len(bytes.fromhex(one)) == 32
    assert one != other


def test_a_token_that_is_there_stays(tmp_path):  # workers that wait for another driver know it
    make_token(tmp_path / "token")
    before = (tmp_path / "token").read_text()
    make_token(tmp_path / "token")
    assert (tmp_path / "token").read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["token"]


def test_on_a_full_disk_there_is_no_token_rather_than_an_empty_one(tmp_path, full_disk):
    with full_disk(), pytest.raises(OSError, match="No space left"):
        make_token(tmp_path / "token")
    assert list(tmp_path.iterdir()) == []
    make_token(tmp_path / "token")
    assert (tmp_path / "token").read_text()


@pytest.mark.parametrize("mask", UMASKS)
def test_a_written_value_is_readable_to_its_owner_alone(tmp_path, umask, modes, mask):
    umask(mask)
    write_json(tmp_path / "head.json", {"address": "10.77.0.11:6379"})
    assert modes == [0o600]
    assert (tmp_path / "head.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "value", [{}, {"end_s": float("inf"), "node": "zoë", "gpus": 2}, {"nested": {"list": [1, None]}}]
)
def test_what_is_written_is_read(tmp_path, value):
    write_json(tmp_path / "a.json", {"old": "value", "longer": "than the new one" * 9})
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_on_a_full_disk_the_old_value_stays_and_nothing_else_is_left(tmp_path, full_disk):
    write_json(tmp_path / "a.json", {"generation": 1})
    with full_disk(), pytest.raises(OSError, match="No space left"):
        write_json(tmp_path / "a.json", {"generation": 2})
    assert read_json(tmp_path / "a.json") == {"generation": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_whoever_reads_while_it_is_written_sees_a_whole_value(tmp_path):
    path, rounds = tmp_path / "a.json", 300
    write_json(path, {"round": 0, "filling": []})

    def write():
        for number in range(1, rounds + 1):
            write_json(path, {"round": number, "filling": [number] * 2_000})

    writer = threading.Thread(target=write)
    writer.start()
    seen = [read_json(path)]
    while seen[-1]["round"] < rounds:
        seen.append(read_json(path))
        assert seen[-1] is not None
        assert set(seen[-1]["filling"]) <= {seen[-1]["round"]}
    writer.join()
    numbers = [value["round"] for value in seen]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"generation": 1, "addr', b"[1, 2]", b"7", b"null", b'"head"', b"\xff\xfe{}", b"{}}"]
)
def test_what_is_torn_or_no_mapping_is_nothing(tmp_path, content):
    (tmp_path / "head.json").write_bytes(content)
    assert read_json(tmp_path / "head.json") is None


def test_what_is_not_there_is_nothing(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert read_json(tmp_path / "head.json") is None
    assert read_json(tmp_path / "no-folder" / "head.json") is None
    assert read_json(tmp_path / "file" / "head.json") is None
    assert read_json(tmp_path / "link") is None
    assert read_json(tmp_path) is None


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.EACCES])
def test_what_storage_cannot_give_just_now_is_nothing(tmp_path, monkeypatch, number):  # NFS, while another replaces it
    def fail(path):
        raise OSError(number, os.strerror(number))

    write_json(tmp_path / "head.json", {"generation": 1})
    monkeypatch.setattr(Path, "read_text", fail)
    assert read_json(tmp_path / "head.json") is None


@pytest.mark.parametrize("mask", UMASKS)
def test_a_private_directory_is_open_to_its_owner_alone(tmp_path, umask, mask):
    umask(mask)
    path = private_directory(tmp_path / "runs" / "small" / "cluster")
    assert path.stat().st_mode & 0o777 == 0o700
    assert private_directory(path) == path
