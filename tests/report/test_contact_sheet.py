import hashlib

import numpy as np
import pytest
from PIL import Image

from fishray.config.sweep import LabelSettings
from fishray.ingest.writing import ingest
from fishray.report.contact_sheet import RawFrames, draw_sheet, moments, raw_frames
from fishray.store import new_recording, open_store

FPS = 10.0


@pytest.fixture
def folder_of(tmp_path):
    """Save frames as images."""

    def save(frames_thw, name="film"):
        folder = tmp_path / name
        folder.mkdir()
        for number, frame_hw in enumerate(frames_thw):
            Image.fromarray(frame_hw).save(folder / f"{number}.png")
        return folder

    return save


def film(frames=120, seed=0):
    """Frames of one grey level each, which tells which frame they are, and some noise."""
    rng = np.random.default_rng(seed)
    return (np.arange(frames)[:, None, None] + rng.integers(0, 9, (frames, 24, 32))).astype(np.uint8)


def ignore(done, total):
    pass


def test_moments_are_calm_and_fast_in_turn_and_go_forward():
    speed = np.tile([1.0] * 90 + [5.0] * 10, 6)  # six equal parts, each with both
    positions = moments(speed, FPS)
    assert speed[positions].tolist() == [1, 5, 1, 5, 1, 5]
    assert (positions // 100).tolist() == [0, 1, 2, 3, 4, 5]


def test_moments_lie_in_the_first_ten_minutes():
    assert moments(np.random.default_rng(0).random(100_000), FPS).max() < 6000


@pytest.mark.parametrize("speeds", [1, 3, 7])
def test_a_short_recording_has_fewer_moments(speeds):
    positions = moments(np.ones(speeds), FPS)
    assert 1 <= len(positions) <= 6
    assert positions.max() < speeds


def test_raw_frames_are_those_that_the_recording_was_made_from(tmp_path, folder_of):
    frames_thw = film()
    recording = ingest(folder_of(frames_thw), tmp_path / "tank.zarr")
    raw = raw_frames(recording, [tmp_path / "elsewhere", tmp_path / "film"], np.array([3, 50, 119]), ignore)
    assert np.array_equal(np.stack(raw.frames), frames_thw[[3, 50, 119]])
    assert raw.missing == ""


def test_another_source_of_the_same_name_is_not_shown(tmp_path, folder_of):
    recording = ingest(folder_of(film()), tmp_path / "tank.zarr")
    (tmp_path / "other").mkdir()
    folder_of(film(seed=1), "other/film")
    raw = raw_frames(recording, [tmp_path / "other" / "film"], np.array([3]), ignore)
    assert raw.frames == ()
    assert "film is not what this recording was made from; say where that is with --source" in raw.missing


def test_a_source_that_is_gone_is_told(tmp_path, folder_of):
    recording = ingest(folder_of(film()), tmp_path / "tank.zarr")
    raw = raw_frames(recording, [tmp_path / "gone"], np.array([3]), ignore)
    assert raw.missing == "film is not there; say where it is with --source"


def test_a_source_that_cannot_be_read_is_told(tmp_path, folder_of):
    recording = ingest(folder_of(film()), tmp_path / "tank.zarr")
    (tmp_path / "film.mp4").write_text("a letter")
    raw = raw_frames(recording, [tmp_path / "film.mp4"], np.array([3]), ignore)
    assert "film.mp4 cannot be read as a video" in raw.missing


@pytest.fixture
def drawn(tmp_path):
    """Draw a recording and give the size and digest of the picture."""

    def draw(recording, raw):
        path = tmp_path / "sheet.png"
        labels = LabelSettings(horizon=10)
        draw_sheet(path, recording, labels, 0.001, raw, moments(recording.speed, recording.fps))
        with Image.open(path) as image:
            image.load()
            return image.size, hashlib.sha256(image.tobytes()).hexdigest()

    return draw


def test_a_sheet_has_a_row_of_pictures_more_with_its_source(tmp_path, folder_of, drawn):
    recording = ingest(folder_of(film()), tmp_path / "tank.zarr")
    positions = moments(recording.speed, recording.fps)
    raw = raw_frames(recording, [tmp_path / "film"], positions, ignore)
    (width, with_source), _ = drawn(recording, raw)
    (same_width, without), _ = drawn(recording, RawFrames(missing="gone"))
    assert same_width == width
    assert with_source > without


def test_a_series_of_speeds_has_its_speeds_drawn(tmp_path, drawn):
    origin = {"fps": FPS, "source": "speed.npy", "source_sha256": "ab", "settings": {}, "fishray": "0"}
    speed = np.random.default_rng(0).random(400)
    for name, values in (("one", speed), ("two", speed[::-1])):
        with new_recording(tmp_path / "tank.zarr", name, origin) as writer:
            writer.finish(values)
    store = open_store(tmp_path / "tank.zarr")
    raw = raw_frames(store.recording("one"), [tmp_path / "speed.npy"], np.array([3]), ignore)
    assert raw.missing == "speed.npy is a series of speeds"
    (size, one), (same_size, two) = (drawn(store.recording(name), raw) for name in ("one", "two"))
    assert size == same_size
    assert one != two


def test_two_frames_are_enough_for_a_sheet(tmp_path, folder_of, drawn):
    recording = ingest(folder_of(film(2)), tmp_path / "tank.zarr")
    size, _ = drawn(recording, RawFrames())
    assert min(size) > 300
