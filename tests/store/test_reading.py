from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zarr

from fishray.errors import StoreError
from fishray.store import new_recording, open_store, writing

ORIGIN = {"fps": 25.0, "source": "fish.mp4", "source_sha256": "ab", "settings": {"size": None}, "fishray": "0.1.0"}


def frames_of(count, height=4, width=6):
    return np.random.default_rng(count).integers(0, 256, (count, height, width), dtype=np.uint8)


def write(path, name="tank", count=5, **origin):
    with new_recording(path, name, ORIGIN | origin) as writer:
        writer.append(frames_of(count))
        writer.finish(np.arange(count - 1) / 8)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tank.zarr"


def test_what_is_written_is_read(path):
    write(path)
    recording = open_store(path).recording("tank")
    assert (recording.name, recording.fps, recording.frame_count, recording.frame_size) == ("tank", 25.0, 5, (4, 6))
    assert recording.speed.dtype == np.float64
    assert recording.speed.tolist() == [0, 1 / 8, 2 / 8, 3 / 8]
    assert np.array_equal(recording.read_frames(0, 5), frames_of(5))
    assert np.array_equal(recording.read_frames(2, 4), frames_of(5)[2:4])
    assert recording.attributes == {"complete": True, **ORIGIN}


def test_frames_are_chunked_by_look_back_in_shards_of_whole_chunks(path):
    write(path)
    array = zarr.open_array(path / "tank" / "frames", mode="r")
    assert array.chunks == (120, 4, 6)
    assert array.shards[0] % 120 == 0
    assert 127 * 2**20 < np.prod(array.shards) <= 128 * 2**20


@pytest.mark.parametrize("block", [1, 100, 250, 601])
def test_frames_appended_in_blocks_fill_whole_shards(path, monkeypatch, block):
    monkeypatch.setattr(writing, "SHARD_BYTES", 2 * 120 * 4 * 6)  # 240 frames
    frames_thw = frames_of(601)
    with new_recording(path, "tank", ORIGIN) as writer:
        for start in range(0, 601, block):
            writer.append(frames_thw[start : start + block])
        writer.finish(np.zeros(600))
    assert np.array_equal(open_store(path).recording("tank").read_frames(0, 601), frames_thw)
    assert len([file for file in (path / "tank" / "frames" / "c").rglob("*") if file.is_file()]) == 3


def test_speed_alone_stands_for_one_frame_more(path):
    with new_recording(path, "series", ORIGIN) as writer:
        writer.finish(np.array([0.5, 0.25]))
    recording = open_store(path).recording("series")
    assert (recording.frame_count, recording.frame_size) == (3, None)
    with pytest.raises(StoreError, match="series holds speed alone"):
        recording.read_frames(0, 1)


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2), (0, 6)])
def test_frames_outside_a_recording_are_an_error(path, start, stop):
    write(path)
    with pytest.raises(IndexError):
        open_store(path).recording("tank").read_frames(start, stop)


def test_speeds_must_go_with_the_frames(path):
    def write_too_few():
        with new_recording(path, "tank", ORIGIN) as writer:
            writer.append(frames_of(5))
            writer.finish(np.zeros(3))

    with pytest.raises(ValueError, match="3 speeds do not go with 5 frames"):
        write_too_few()
    assert not path.exists()


def test_names_are_in_natural_order(path):
    for name in ("tank10", "tank2", "day-1_b", "7"):
        write(path, name)
    assert open_store(path).names == ("7", "day-1_b", "tank2", "tank10")


def test_an_unknown_name_is_answered_with_those_there(path):
    write(path, "tank-1")
    write(path, "mouse")
    with pytest.raises(StoreError, match=r"no recording tank1 in .* holds mouse, tank-1; did you mean tank-1\?"):
        open_store(path).recording("tank1")


def test_a_missing_store_says_how_to_make_it(path):
    with pytest.raises(StoreError, match=r"no store at .*; make it: fishray ingest VIDEO --store .*tank\.zarr"):
        open_store(path)


@pytest.mark.parametrize("kind", ["file", "empty folder", "damaged", "other group", "array"])
def test_anything_else_is_no_store(path, kind):
    if kind == "file":
        path.write_bytes(b"video")
    elif kind == "array":
        zarr.create_array(path, shape=(1,), dtype="u1")
    elif kind == "other group":
        zarr.create_group(path, attributes={"format": "other/1"})
    else:
        path.mkdir()
        if kind == "damaged":
            (path / "zarr.json").write_text("{")
    with pytest.raises(StoreError, match="is not a fishray store"):
        open_store(path)
    with pytest.raises(StoreError, match="is not a fishray store"):
        write(path)


def test_a_newer_format_asks_for_an_upgrade(path):
    zarr.create_group(path, attributes={"format": "fishray/2"})
    with pytest.raises(StoreError, match=r"fishray/2.*upgrade"):
        open_store(path)


def test_a_name_that_is_taken_is_refused_and_nothing_changes(path):
    write(path)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(StoreError, match=r"recording tank is already there in .*; choose another with --name"):
        write(path, count=9)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "tank.1"])
def test_names_that_are_no_plain_words_are_refused(path, name):
    with pytest.raises(StoreError, match="choose letters, digits, - and _ with --name"):
        write(path, name)
    assert not path.exists()


def test_an_interrupted_recording_leaves_the_others_byte_equal(path):
    def interrupt():
        with new_recording(path, "second", ORIGIN) as writer:
            writer.append(frames_of(7))
            raise KeyboardInterrupt

    write(path)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    assert not (path / "second").exists()


def test_a_failure_spares_what_another_ingest_put_into_the_new_store(path):
    with new_recording(path, "first", ORIGIN):  # ends without finish
        write(path, "second")
    assert open_store(path).names == ("second",)
    assert not (path / "first").exists()


def test_ingests_that_begin_at_once_make_one_store(tmp_path):
    for attempt in range(5):
        path = tmp_path / f"{attempt}.zarr"
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number, path=path: write(path, f"tank-{number}"), range(8)))
        assert len(open_store(path).names) == 8
    assert sorted(each.name for each in tmp_path.iterdir()) == [f"{attempt}.zarr" for attempt in range(5)]


def test_a_full_disk_is_one_line_for_a_person(path, monkeypatch):
    def no_space(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zarr, "create_group", no_space)
    with pytest.raises(StoreError, match=r"cannot be written: No space left on device; free space"):
        write(path)


def test_a_fingerprint_depends_on_neither_path_nor_order(path, tmp_path):
    for name in ("a", "b"):
        write(path, name)
    for name in ("b", "a"):
        write(tmp_path / "copy.zarr", name)
    store, copy = open_store(path), open_store(tmp_path / "copy.zarr")
    assert store.fingerprint(["a", "b"]) == copy.fingerprint(["b", "a"])
    assert len(store.fingerprint(["a"])) == 64


@pytest.mark.parametrize(
    "change", [{"fps": 30.0}, {"source_sha256": "cd"}, {"settings": {"size": [2, 2]}}, {"count": 6}]
)
def test_a_fingerprint_changes_with_the_content(path, tmp_path, change):
    write(path)
    write(tmp_path / "changed.zarr", **change)
    assert open_store(path).fingerprint(["tank"]) != open_store(tmp_path / "changed.zarr").fingerprint(["tank"])


def test_a_fingerprint_ignores_what_was_not_chosen(path):
    write(path, "a")
    before = open_store(path).fingerprint(["a"])
    write(path, "b")
    assert open_store(path).fingerprint(["a"]) == before != open_store(path).fingerprint(["a", "b"])
