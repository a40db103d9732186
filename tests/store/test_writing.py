import numpy as np
import pytest

from fishray.errors import StoreError
from fishray.store import RecordingWriter, existing_recording, new_recording, open_store, writing
from fishray.store.writing import claim, clear, unfinished_path

ORIGIN = {"fps": 25.0, "source": "fish.mp4", "source_sha256": "ab", "settings": {"size": None}, "fishray": "0.1.0"}
SHARD = 240
"""Frames of 4 x 6 pixels in a shard of these tests."""
FRAMES_THW = np.random.default_rng(0).integers(0, 256, (3 * SHARD - 50, 4, 6), dtype=np.uint8)
SPEED = (np.arange(len(FRAMES_THW) - 1) / 8).tolist()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tank.zarr"


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(writing, "SHARD_BYTES", SHARD * 4 * 6)


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def begin(path, **origin):
    claim(path, "tank")
    return RecordingWriter(path, "tank", ORIGIN | origin)


def append(writer, start, stop):
    """One frame after another, each with the speed that ends at it."""
    for position in range(start, stop):
        writer.append(FRAMES_THW[position][None], SPEED[position - 1 : position] if position else [])


def finish(writer, path):
    writer.finish(writer.speed)
    clear(path, "tank", made=False)


@pytest.fixture
def undisturbed(tmp_path):
    path = tmp_path / "whole.zarr"
    writer = begin(path)
    append(writer, 0, len(FRAMES_THW))
    finish(writer, path)
    assert np.array_equal(open_store(path).recording("tank").read_frames(0, len(FRAMES_THW)), FRAMES_THW)
    return contents(path)


@pytest.mark.parametrize(
    ("written", "kept"), [(0, 0), (1, 0), (SHARD - 1, 0), (SHARD, SHARD), (SHARD + 1, SHARD), (2 * SHARD, 2 * SHARD)]
)
def test_a_second_writer_goes_on_after_the_last_whole_shard(path, undisturbed, written, kept):
    append(begin(path), 0, written)
    writer = begin(path)
    assert (writer.frame_count, writer.speed.tolist()) == (kept, SPEED[: max(0, kept - 1)])
    append(writer, kept, len(FRAMES_THW))
    finish(writer, path)
    assert contents(path) == undisturbed


def test_what_was_written_after_the_last_speeds_is_thrown_away(path, undisturbed):
    append(begin(path), 0, 2 * SHARD)
    folder = unfinished_path(path, "tank")
    with (folder / "speed").open("r+b") as speeds:  # killed while it wrote the speeds of the second shard
        speeds.truncate(8 * (2 * SHARD - 2) + 3)
    (folder / "recording" / "frames" / "c" / "1" / "0" / "0.abc.partial").write_bytes(b"a third shard")
    writer = begin(path)
    assert writer.frame_count == SHARD
    assert not (folder / "recording" / "frames" / "c" / "1").exists() or not list(folder.rglob("c/1/0/*"))
    append(writer, SHARD, len(FRAMES_THW))
    finish(writer, path)
    assert contents(path) == undisturbed


def test_a_kill_while_it_is_finished_is_gone_on_with(path, undisturbed, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    writer = begin(path)
    append(writer, 0, len(FRAMES_THW))
    with monkeypatch.context() as killed:
        killed.setattr(writing, "sync", die)
        with pytest.raises(KeyboardInterrupt):
            writer.finish(writer.speed)
    writer = begin(path)
    assert writer.frame_count == 2 * SHARD
    append(writer, 2 * SHARD, len(FRAMES_THW))
    finish(writer, path)
    assert contents(path) == undisturbed


def test_what_is_noted_is_there_for_who_goes_on(path):
    background_hw = np.array([[1, 2, 3]], np.uint8)
    writer = begin(path)
    writer.add_array("background", background_hw)
    writer.annotate(estimates={"inverted": True})
    writer = begin(path)
    assert not writer.replaced
    assert writer.attributes["estimates"] == {"inverted": True}
    assert np.array_equal(writer.read_array("background"), background_hw)


@pytest.mark.parametrize("fault", ["another source", "other settings", "torn"])
def test_what_was_begun_otherwise_is_begun_anew(path, undisturbed, fault):
    other = {"another source": {"source_sha256": "cd"}, "other settings": {"settings": {"size": [2, 3]}}}
    append(begin(path, **other.get(fault, {})), 0, SHARD)
    if fault == "torn":
        (unfinished_path(path, "tank") / "recording" / "zarr.json").write_bytes(b"")
    writer = begin(path)
    assert (writer.replaced, writer.frame_count) == (True, 0)
    append(writer, 0, len(FRAMES_THW))
    finish(writer, path)
    assert contents(path) == undisturbed


def test_black_shards_are_gone_on_after_like_any_other(path):  # which zarr does not write
    for stop in (SHARD + 1, 2 * SHARD + 1, 2 * SHARD + 2):
        writer = begin(path)
        for position in range(writer.frame_count, stop):
            writer.append(np.zeros((1, 4, 6), np.uint8), [0.0] if position else [])
    finish(writer, path)
    recording = open_store(path).recording("tank")
    assert recording.frame_count == 2 * SHARD + 2
    assert not recording.read_frames(0, recording.frame_count).any()


def test_frames_without_speeds_are_begun_anew(path):
    begin(path).append(FRAMES_THW)
    assert begin(path).frame_count == 0


def test_what_is_unfinished_is_invisible(path):
    with new_recording(path, "other", ORIGIN) as writer:
        writer.finish(np.zeros(3))
    append(begin(path), 0, 2 * SHARD)
    assert open_store(path).names == ("other",)
    assert existing_recording(path, "tank") is None


def test_a_new_recording_replaces_what_was_begun(path):
    append(begin(path), 0, 2 * SHARD)
    with new_recording(path, "tank", ORIGIN) as writer:
        writer.append(FRAMES_THW[:3])
        writer.finish(np.zeros(2))
    assert open_store(path).recording("tank").frame_count == 3
    assert [each.name for each in path.iterdir() if each.name != "zarr.json"] == ["tank"]


def test_what_an_earlier_fishray_left_incomplete_is_replaced(path):
    with new_recording(path, "other", ORIGIN) as writer:
        writer.finish(np.zeros(3))
    (path / "tank").mkdir()
    (path / "tank" / "zarr.json").write_text('{"zarr_format":3,"node_type":"group","attributes":{"complete":false}}')
    with new_recording(path, "tank", ORIGIN) as writer:
        writer.finish(np.zeros(2))
    assert open_store(path).names == ("other", "tank")


def test_a_full_disk_keeps_what_is_there(path, monkeypatch):
    def no_space(*_, **__):
        raise OSError(28, "No space left on device")

    writer = begin(path)
    append(writer, 0, SHARD)
    with monkeypatch.context() as full:
        full.setattr(RecordingWriter, "_write_shard", no_space)
        with pytest.raises(StoreError, match=r"cannot be written: No space left on device; free space there"):
            append(writer, SHARD, 2 * SHARD)
    assert begin(path).frame_count == SHARD
